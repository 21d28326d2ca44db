"""The one way to MLflow: a client that gives up in seconds, and its errors turned into ours."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nightshift.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

__all__ = ["but_not_if_there", "connect", "speaking_to"]

# MLflow's own defaults hang for minutes on a dead server (7 tries, 120 s each). They are settings of the
# whole process, so these only fill in what the deployment has not said.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_CONNECT_S = 3
_ANSWER_S = 15


def connect(uri: str) -> MlflowClient:
    """A client of the MLflow server at ``uri``, after one look whether it is there.

    :raises RegistryError: when nothing answers at ``uri``, in seconds.
    """
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(
        logging.WARNING
    )  # it tells its progress on stderr: errors, to Airflow
    if urlsplit(uri).scheme in ("http", "https"):
        _look(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _look(uri: str) -> None:
    import requests

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=(_CONNECT_S, _ANSWER_S))
    except requests.exceptions.SSLError:
        return  # there is a server; whether to trust it is for MLflow's own settings to say
    except requests.exceptions.RequestException as error:
        raise RegistryError(
            f"MLflow does not answer at {uri} ({type(error).__name__})",
            fix="start it ('make up' on this machine), or point [nightshift] mlflow_tracking_uri, "
            "AIRFLOW__NIGHTSHIFT__MLFLOW_TRACKING_URI, at a server that runs",
        ) from error


@contextmanager
def speaking_to(uri: str, about: str) -> Iterator[None]:
    """Turn what MLflow raises while we ask it ``about`` something into our error.

    :raises RegistryError: with MLflow's own reason, or that of the way to its files.
    """
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except RequestException as error:  # artifacts come and go without MLflow's own errors
        raise RegistryError(
            f"MLflow at {uri} failed {about}: {type(error).__name__}: {error}",
            fix="a retry cures a server that was busy; else look at the server's log",
        ) from error
    except MlflowException as error:
        raise RegistryError(
            f"MLflow at {uri} refused {about}: {error.message}",
            fix="read the reason; a retry cures a server that was restarting, not one that says no",
        ) from error


@contextmanager
def but_not_if_there() -> Iterator[None]:
    """Let a creation pass when another writer made the same thing a moment ago."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
