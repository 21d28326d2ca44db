"""This deployment's settings, from Airflow's own configuration."""

from __future__ import annotations

from nightshift.config.settings import Settings

__all__ = ["current_settings"]


def current_settings() -> Settings:
    """The ``[nightshift]`` section of ``airflow.cfg``, or its environment variables."""
    from airflow.sdk.configuration import conf

    return Settings.from_lookup(lambda option: conf.get("nightshift", option, fallback=None))
