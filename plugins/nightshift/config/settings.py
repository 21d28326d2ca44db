"""Where things are: folders, URIs and servers of this deployment, read from the ``[nightshift]`` section."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from nightshift.errors import ConfigError

__all__ = ["SAGEMAKER_OPTIONS", "Lookup", "Settings"]

Lookup = Callable[[str], str | None]

PROJECT = Path(__file__).resolve().parents[3]

SAGEMAKER_OPTIONS = (
    "role_arn",
    "jobs_uri",
    "image",
    "serve_image",
    "kms_key_id",
    "subnets",
    "security_group_ids",
    "network_isolation",
    "encrypt_traffic",
    "volume_gib",
    "script_mode",
    "poll_s",
    "late_s",
    "keep_alive_s",
    "retry_attempts",
    "debugger_image",
    "debugger_rules",
    "profiler",
    "tags",
    "prices",
    "max_concurrent_transforms",
    "monitor_image",
)
"""Options ``sagemaker_<name>``: what the connection's extra does not say, or says otherwise."""


def _from_environment(option: str) -> str | None:
    port = os.environ.get("MLFLOW_PORT")
    default = f"http://127.0.0.1:{port}" if option == "mlflow_tracking_uri" and port else None
    return os.environ.get(f"AIRFLOW__NIGHTSHIFT__{option.upper()}") or default


def _address(option: str, text: str) -> str:
    """An address that goes into logs, pages and records: nothing to sign in with may be in it."""
    if "@" in urlsplit(text).netloc:
        raise ConfigError(
            f"[nightshift] {option} has a name or a password in it",
            fix="take it out; MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    return text.rstrip("/")


def _number(option: str, text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        raise ConfigError(f"[nightshift] {option} is {text!r}, which is not a number") from None


@dataclass(frozen=True, slots=True)
class Settings:
    """One deployment.

    Every field is an option of the ``[nightshift]`` section of ``airflow.cfg``, so also an environment
    variable ``AIRFLOW__NIGHTSHIFT__<OPTION>``. The defaults keep all state under ``var/``.

    :param deployment: the name that jobs carry as a tag; deployments that share a cloud account need
        different ones, because each stops what runs under its own name and no task waits for.
    :param local_usd_per_hour: what an hour of a job on this machine is worth.
    :param platform: where every pipeline runs, whatever its file says; empty: where its file says.
    :param loopback: the loopback cloud that the embedded stack brings along; empty: none.
    :param sagemaker_conn_id: the connection that signs in to AWS for jobs; ``sagemaker`` holds the options
        ``sagemaker_<name>`` that are set, by name.
    :param glue_database: where the lake's tables are shown to Athena; empty: nowhere.
    :param lake_formation_tags: for those tables, as ``key=value,…``.
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
    deployment: str
    local_usd_per_hour: float
    platform: str = ""
    loopback: str = ""
    sagemaker_conn_id: str = "aws_default"
    sagemaker: Mapping[str, str] = field(default_factory=dict)
    glue_database: str = ""
    lake_formation_tags: str = ""

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
            mlflow_tracking_uri=_address(
                "mlflow_tracking_uri", lookup("mlflow_tracking_uri") or "http://127.0.0.1:5000"
            ),
            pipelines_dir=Path(lookup("pipelines_dir") or project / "include" / "pipelines"),
            expectations_dir=Path(lookup("expectations_dir") or project / "include" / "expectations"),
            jobs_dir=Path(lookup("jobs_dir") or project / "include"),
            jobs_home=Path(lookup("jobs_home") or home / "jobs"),
            staging=Path(lookup("staging") or home / "staging"),
            ui_url=_address("ui_url", lookup("ui_url") or "http://127.0.0.1:8080"),
            deployment=lookup("deployment") or "nightshift",
            local_usd_per_hour=_number("local_usd_per_hour", lookup("local_usd_per_hour")),
            platform=lookup("platform") or "",
            loopback=lookup("loopback") or "",
            sagemaker_conn_id=lookup("sagemaker_conn_id") or "aws_default",
            sagemaker={
                name: text for name in SAGEMAKER_OPTIONS if (text := lookup(f"sagemaker_{name}")) is not None
            },
            glue_database=lookup("glue_database") or "",
            lake_formation_tags=lookup("lake_formation_tags") or "",
        )

    @classmethod
    def from_environment(cls) -> Settings:
        """Settings for programs that run without Airflow: the command line, a notebook, a test.

        ``MLFLOW_PORT`` says where this machine's MLflow listens, as it does for ``make``.
        """
        return cls.from_lookup(_from_environment)
