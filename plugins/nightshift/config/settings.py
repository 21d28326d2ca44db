"""Where things are: folders, URIs and servers of this deployment, read from the ``[nightshift]`` section."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Lookup", "Settings"]

Lookup = Callable[[str], str | None]

PROJECT = Path(__file__).resolve().parents[3]


def _from_environment(option: str) -> str | None:
    return os.environ.get(f"AIRFLOW__NIGHTSHIFT__{option.upper()}")


@dataclass(frozen=True, slots=True)
class Settings:
    """One deployment.

    Every field is an option of the ``[nightshift]`` section of ``airflow.cfg``, so also an environment
    variable ``AIRFLOW__NIGHTSHIFT__<OPTION>``. The defaults keep all state under ``var/``.
    """

    project: Path
    home: Path
    landing_uri: str
    lake_uri: str
    landing_conn_id: str
    lake_conn_id: str
    mlflow_tracking_uri: str
    pipelines_dir: Path
    expectations_dir: Path
    jobs_dir: Path
    jobs_home: Path
    staging: Path
    ui_url: str

    @classmethod
    def from_lookup(cls, lookup: Lookup) -> Settings:
        """Settings from any source of options; an option that is absent or empty takes its default."""
        project = Path(lookup("project") or PROJECT)
        home = Path(lookup("home") or project / "var")
        return cls(
            project=project,
            home=home,
            landing_uri=lookup("landing_uri") or (home / "landing").as_uri(),
            lake_uri=lookup("lake_uri") or (home / "lake").as_uri(),
            landing_conn_id=lookup("landing_conn_id") or "",
            lake_conn_id=lookup("lake_conn_id") or "",
            mlflow_tracking_uri=lookup("mlflow_tracking_uri") or "http://127.0.0.1:5000",
            pipelines_dir=Path(lookup("pipelines_dir") or project / "include" / "pipelines"),
            expectations_dir=Path(lookup("expectations_dir") or project / "include" / "expectations"),
            jobs_dir=Path(lookup("jobs_dir") or project / "include"),
            jobs_home=Path(lookup("jobs_home") or home / "jobs"),
            staging=Path(lookup("staging") or home / "staging"),
            ui_url=(lookup("ui_url") or "http://127.0.0.1:8080").rstrip("/"),
        )

    @classmethod
    def from_environment(cls) -> Settings:
        """Settings for programs that run without Airflow: the command line, a notebook, a test."""
        return cls.from_lookup(_from_environment)
