"""Registers with Airflow what Nightshift adds to it: links on tasks and pages in the UI."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from nightshift.operators.base import MlflowLink, ValidationReportLink
from nightshift.ui.app import app

__all__ = ["NightshiftPlugin"]


class NightshiftPlugin(AirflowPlugin):
    """The one plugin of this project."""

    name = "nightshift"
    operator_extra_links = (MlflowLink(), ValidationReportLink())
    fastapi_apps = ({"app": app, "url_prefix": "/nightshift", "name": "Nightshift"},)
