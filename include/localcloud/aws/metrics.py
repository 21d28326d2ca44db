"""Numbers that a job prints, by the expressions of its MetricDefinitions."""

from __future__ import annotations

import math
import re
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localcloud.aws.records import Record

__all__ = ["Metrics"]


class Metrics:
    """The last value of each metric; whoever watches the job hears of every value."""

    def __init__(self, job: Record, definitions: Sequence[dict[str, str]]) -> None:
        self._job = job
        self._patterns = [(one["Name"], re.compile(one["Regex"])) for one in definitions]
        self._last: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def read(self, line: str) -> None:
        """Look for values in a line of the log."""
        for name, pattern in self._patterns:
            for found in pattern.finditer(line):
                value = _number(found)
                if value is not None:
                    self._take(name, value)

    def final(self) -> list[dict[str, Any]]:
        """FinalMetricDataList."""
        with self._lock:
            return list(self._last.values())

    def _take(self, name: str, value: float) -> None:
        with self._lock:
            self._last[name] = {"MetricName": name, "Value": value, "Timestamp": time.time()}
        for watcher in self._job.watchers:
            watcher(name, value)


def _number(found: re.Match[str]) -> float | None:
    try:
        value = float(found.group(1))
    except (ValueError, IndexError, TypeError):
        return None
    return value if math.isfinite(value) else None
