"""The two loopback ports of a stack: which, whether they are free, and who has them if not."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HOST", "Ports", "free_port"]

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where Airflow's api-server and MLflow listen."""

    airflow: int = 8080
    mlflow: int = 5000

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Ports:
        """``AIRFLOW_PORT`` and ``MLFLOW_PORT``, else 8080 and 5000.

        :raises ConfigError: when one is no port number.
        """
        return cls(
            airflow=_port(environment, "AIRFLOW_PORT", cls().airflow),
            mlflow=_port(environment, "MLFLOW_PORT", cls().mlflow),
        )

    def check_free(self) -> None:
        """:raises ConfigError: when a port is taken; names who has it and how to choose another."""
        if self.airflow == self.mlflow:
            raise ConfigError(f"Airflow and MLflow cannot share port {self.airflow}", fix="set AIRFLOW_PORT")
        for variable, port, what in (
            ("AIRFLOW_PORT", self.airflow, "Airflow"),
            ("MLFLOW_PORT", self.mlflow, "MLflow"),
        ):
            if not _is_free(port):
                owner = _owner(port)
                raise ConfigError(
                    f"port {port} of {HOST}, meant for {what}, is taken{f' by {owner}' if owner else ''}",
                    fix=f"end that program, or choose another port, e.g. {variable}={free_port()}",
                )


def free_port() -> int:
    """A loopback port that nobody has right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _port(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError(f"{variable}={text!r} is not a port", fix="give a number from 1 to 65535")
    return int(text)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _owner(port: int) -> str | None:
    """``"nginx (process 812)"``, where the system lets us see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            here = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,)
            if here and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        return None
    return None
