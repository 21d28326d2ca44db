"""A real MLflow server for the test session: SQLite and artifacts in a temporary folder, loopback only."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.fakes.process import answers, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["mlflow_at", "mlflow_server"]

_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves a process of 270 MB
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@contextmanager
def mlflow_at(folder: Path, port: int) -> Iterator[str]:
    """A server on that port with its state in ``folder``, for the length of a ``with``; its tracking URI."""
    uri = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", folder / "artifacts", "--workers", "1"),
    ]
    ready = partial(answers, f"{uri}/health")
    log = folder / "server.log"
    with running(command, ready=ready, log=log, environment=_ENVIRONMENT, folder=folder, timeout_s=120):
        yield uri


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tracking URI of a running server."""
    with mlflow_at(tmp_path_factory.mktemp("mlflow"), free_port()) as uri:
        yield uri
