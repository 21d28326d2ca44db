"""Registers with Airflow what Nightshift adds to it."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from nightshift.notifiers.deadline import NightBegan
from nightshift.operators.base import BackfillLink, EndpointLink, GateLink, MlflowLink, ValidationReportLink
from nightshift.scheduling.pools import PoolMaker
from nightshift.scheduling.priority import NightFirst
from nightshift.scheduling.timetable import NightTimetable
from nightshift.ui.app import app

__all__ = ["NightshiftPlugin"]


class NightshiftPlugin(AirflowPlugin):
    """The one plugin of this project."""

    name = "nightshift"
    deadline_references = (NightBegan,)
    listeners = (PoolMaker(),)
    timetables = (NightTimetable,)
    priority_weight_strategies = (NightFirst,)
    operator_extra_links = (BackfillLink(), EndpointLink(), GateLink(), MlflowLink(), ValidationReportLink())
    fastapi_apps = ({"app": app, "url_prefix": "/nightshift", "name": "Nightshift"},)
