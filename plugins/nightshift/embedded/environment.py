"""The environment of every process of the embedded stack: Airflow, MLflow and ``[nightshift]`` settings."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from nightshift.embedded.ports import HOST, Ports
from nightshift.embedded.secrets import secret
from nightshift.executors import WARM_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nightshift.config.settings import Settings

__all__ = ["stack_environment"]


def stack_environment(settings: Settings, airflow_url: str, mlflow_url: str, ports: Ports) -> dict[str, str]:
    """All variables of ours; the secrets are made at the first call."""
    return {
        **_airflow(settings.home, settings.project, airflow_url, ports),
        **_executor(settings.home),
        **_pace(),
        **_lineage(settings),
        **_nightshift(settings, airflow_url, mlflow_url),
        **_libraries(settings, mlflow_url),
    }


def _airflow(home: Path, project: Path, url: str, ports: Ports) -> dict[str, str]:
    secrets = home / "secrets"
    return {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(project / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": secret(secrets, "fernet_key"),
        "AIRFLOW__CORE__AUTH_MANAGER": (
            "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
        ),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # loopback only
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(ports.airflow),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__INSTANCE_NAME": "Nightshift",
        "AIRFLOW__API__SECRET_KEY": secret(secrets, "api_secret_key"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secret(secrets, "jwt_secret", size=64),
        # A busy machine may hold the one writer of SQLite for longer than its five seconds. Not much more:
        # Airflow's server sometimes waits for a lock that a request of its own holds, and stands still then.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow' / 'airflow.db'}?timeout=15",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "airflow" / "logs"),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": _logging_level(),
    }


def _logging_level() -> str:
    """The caller's own; never WARNING, which is the command line's and would hide the lines of jobs."""
    level = os.environ.get("AIRFLOW__LOGGING__LOGGING_LEVEL", "INFO")
    return "INFO" if level == "WARNING" else level


def _executor(home: Path) -> dict[str, str]:
    """Warm by default; ``NIGHTSHIFT_WARM=0`` takes Airflow's own LocalExecutor."""
    slots = str(min(16, max(4, 2 * (os.cpu_count() or 1))))
    if os.environ.get("NIGHTSHIFT_WARM", "1").lower() in ("0", "false", "no", "off"):
        return {"AIRFLOW__CORE__EXECUTOR": "LocalExecutor", "AIRFLOW__CORE__PARALLELISM": slots}
    return {
        "AIRFLOW__CORE__EXECUTOR": "nightshift.executors.warm.WarmLocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": slots,
        WARM_FILE: str(home / "run" / "warm.json"),
    }


def _pace() -> dict[str, str]:
    """A night is a chain of short tasks: what Airflow waits between them is most of what it adds."""
    return {
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "60",
        # A supervisor may notice the end of its task a heartbeat late: five seconds of a slot by default.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }


def _lineage(settings: Settings) -> dict[str, str]:
    """OpenLineage events into a file, unless the caller's own environment says where to."""
    folder = settings.home / "lineage"
    folder.mkdir(parents=True, exist_ok=True)  # the client opens the file, and makes no folder
    transport = {"type": "file", "log_file_path": str(folder / "events.jsonl"), "append": True}
    options = {
        "TRANSPORT": json.dumps(transport),
        "NAMESPACE": settings.deployment,
        # A fork of a task that has the libraries loaded costs more than the event, and shares its socket.
        "EXECUTE_IN_THREAD": "True",
        "EXECUTION_TIMEOUT": "5",
        # The reaper looks every ten minutes and reads no data.
        "EMISSION_POLICY": json.dumps([{"scope": {"dag_id": "reap_orphans"}, "controls": {"emit": False}}]),
    }
    ours = {f"AIRFLOW__OPENLINEAGE__{name}": value for name, value in options.items()}
    return {name: value for name, value in ours.items() if name not in os.environ}


def _nightshift(settings: Settings, airflow_url: str, mlflow_url: str) -> dict[str, str]:
    options: Mapping[str, object] = {
        "project": settings.project,
        "home": settings.home,
        "landing_uri": settings.landing_uri,
        "lake_uri": settings.lake_uri,
        "landing_conn_id": settings.landing_conn_id,
        "lake_conn_id": settings.lake_conn_id,
        "mlflow_tracking_uri": mlflow_url,
        "pipelines_dir": settings.pipelines_dir,
        "expectations_dir": settings.expectations_dir,
        "jobs_dir": settings.jobs_dir,
        "jobs_home": settings.jobs_home,
        "staging": settings.staging,
        "deployment": settings.deployment,
        "local_usd_per_hour": settings.local_usd_per_hour,
        "ui_url": airflow_url,
        "platform": settings.platform,
        "loopback": settings.loopback,
        "sagemaker_conn_id": settings.sagemaker_conn_id,
        **{f"sagemaker_{name}": text for name, text in settings.sagemaker.items()},
        "glue_database": settings.glue_database,
        "lake_formation_tags": settings.lake_formation_tags,
    }
    return {f"AIRFLOW__NIGHTSHIFT__{name.upper()}": str(value) for name, value in options.items()}


def _libraries(settings: Settings, mlflow_url: str) -> dict[str, str]:
    """Importable from any folder, quiet, and calling nobody outside this machine."""
    own = [str(settings.project / "plugins"), str(settings.jobs_dir)]
    inherited = [
        part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part not in own
    ]
    return {
        "PYTHONPATH": os.pathsep.join(own + inherited),
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",  # process titles must not overwrite the environment: the stack is found by it
        "MPLBACKEND": "Agg",
        "MLFLOW_TRACKING_URI": mlflow_url,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
