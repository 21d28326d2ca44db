"""A StatsD server: what really arrives over UDP from Airflow's own metrics."""

from __future__ import annotations

import os
import select
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["StatsdListener", "listening"]


class StatsdListener:
    """Takes lines on loopback; UDP between two sockets of one machine keeps order and is at once there."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def lines(self) -> list[str]:
        """Our lines that have arrived since the last call, without Airflow's prefix."""
        found: list[str] = []
        while select.select([self._socket], [], [], 0)[0]:
            found += self._socket.recv(65536).decode().splitlines()
        ours = "airflow.nightshift."
        return [line.removeprefix("airflow.") for line in found if line.startswith(ours)]

    def close(self) -> None:
        """No more lines are taken."""
        self._socket.close()


@contextmanager
def listening() -> Iterator[StatsdListener]:
    """Airflow tells its metrics here, set up as it sets them up in a task's process."""
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

    listener = StatsdListener()
    options = {"STATSD_ON": "True", "STATSD_PORT": str(listener.port), "STATSD_INFLUXDB_ENABLED": "True"}
    options |= {"STATSD_HOST": "127.0.0.1"}
    try:
        with patch.dict(os.environ, {f"AIRFLOW__METRICS__{name}": value for name, value in options.items()}):
            stats.initialize(factory=get_stats_factory(), export_legacy_names=True)
            yield listener
    finally:
        stats.initialize(factory=get_stats_factory(), export_legacy_names=True)
        listener.close()
