"""A real MLflow server for the test session: SQLite and artifacts in a temporary folder, loopback only."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.fakes.process import answers, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["mlflow_server"]

_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves a process of 270 MB
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tracking URI of a running server."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    uri = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", folder / "artifacts", "--workers", "1"),
    ]
    ready = partial(answers, f"{uri}/health")
    with running(
        command,
        ready=ready,
        log=folder / "server.log",
        environment=_ENVIRONMENT,
        folder=folder,
        timeout_s=120,
    ):
        yield uri
