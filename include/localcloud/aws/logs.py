"""The jobs' output as CloudWatch events: whole lines, in order, soon; kept in files for the next start."""

from __future__ import annotations

import json
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from localcloud.aws.home import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["JobLog", "LogStore", "backend"]

_FLUSH_S = 0.2
# What moto (and CloudWatch) take in one event.
_LONGEST = 256 * 1024 - 26


def backend() -> Any:
    """moto's CloudWatch Logs of our account."""
    from moto.logs.models import logs_backends

    return logs_backends[ACCOUNT][REGION]


class LogStore:
    """Writes what the job logs hold, a few times a second; ``lock`` keeps readers from seeing half of it.

    :param folder: what moto holds in memory only is here too, and read again at the next start.
    """

    def __init__(self, folder: Path) -> None:
        self.lock = threading.RLock()
        self._folder = folder
        for path in sorted(folder.glob("*/*.jsonl")):
            for line in path.read_text().splitlines():
                _put(*json.loads(line))
        self._open: list[JobLog] = []
        self._closing = threading.Event()
        threading.Thread(target=self._flush_all, daemon=True, name="logs").start()

    def open(self, group: str, prefix: str) -> JobLog:
        """The log of one job; the names of its streams begin with ``prefix/``."""
        path = self._folder / group.rpartition("/")[2] / f"{prefix}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        log = JobLog(group, prefix, path, self.lock, self._open.remove)
        self._open.append(log)
        return log

    def close(self) -> None:
        """Write no more."""
        self._closing.set()

    def _flush_all(self) -> None:
        while not self._closing.wait(_FLUSH_S):
            for log in list(self._open):
                try:
                    log.flush()
                except Exception:  # noqa: BLE001 - one log that cannot be written must not stop the others
                    traceback.print_exc()


class JobLog:
    """One job's lines. Their times grow strictly over all its streams, so a reader can go on from a time."""

    def __init__(
        self,
        group: str,
        prefix: str,
        path: Path,
        lock: threading.RLock,
        on_close: Callable[[JobLog], None],
    ) -> None:
        self._group, self._prefix = group, prefix
        self._path = path
        self._store_lock = lock
        self._on_close = on_close
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, dict[str, Any]]] = []
        self._last = 0

    def line(self, stream: str, text: str) -> None:
        """Take one line; blank ones are left out, CloudWatch knows no empty message."""
        if not text:
            return
        with self._lock:
            self._last = max(int(time.time() * 1000), self._last + 1)
            self._waiting.append((stream, {"timestamp": self._last, "message": text[:_LONGEST]}))

    def flush(self) -> None:
        """Write what waits."""
        with self._store_lock:
            with self._lock:
                waiting, self._waiting = self._waiting, []
            if not waiting:
                return
            by_stream: dict[str, list[dict[str, Any]]] = {}
            for stream, event in waiting:
                by_stream.setdefault(f"{self._prefix}/{stream}", []).append(event)
            with self._path.open("a") as kept:
                for name, events in by_stream.items():
                    _put(self._group, name, events)
                    kept.write(json.dumps([self._group, name, events]) + "\n")

    def close(self) -> None:
        """Write the rest; nothing comes after this."""
        self.flush()
        self._on_close(self)


def _put(group: str, stream: str, events: list[dict[str, Any]]) -> None:
    store = backend()
    store.ensure_log_group(group)
    store.ensure_log_stream(group, stream)
    store.put_log_events(group, stream, events)
