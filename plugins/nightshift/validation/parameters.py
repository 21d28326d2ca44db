"""Suite parameters: what ``{"$PARAMETER": name}`` in a suite stands for on one partition."""

from __future__ import annotations

import datetime as dt
import statistics
from typing import TYPE_CHECKING, Any

from nightshift.config.partitions import back

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["recent_keys", "suite_parameters"]

_ENOUGH = 3  # partitions below which nothing is called unusual


def recent_keys(partition: str, present: Mapping[str, int], days: int) -> list[str]:
    """The partitions with rows among the ``days`` before ``partition``, oldest first."""
    first = back(partition, days)
    return sorted(key for key in present if first <= key < partition)


def suite_parameters(partitions: Sequence[str], recent_rows: Sequence[int]) -> dict[str, Any]:
    """The values for a batch that holds ``partitions`` (one, but in bulk measurements).

    - ``partition``: its key; ``partition_years``, ``partition_months``, ``partition_days``: lists.
    - ``recent_rows_median`` of the recent partitions; ``recent_rows_min`` and ``recent_rows_max``:
      half and one and a half times as much, unbounded where fewer than three are known. The median
      forgives a truncated or doubled day among them.
    """
    days = [dt.date.fromisoformat(key) for key in partitions]
    usual = int(statistics.median(recent_rows)) if len(recent_rows) >= _ENOUGH else None
    return {
        "partition": partitions[0],
        "partition_years": sorted({day.year for day in days}),
        "partition_months": sorted({day.month for day in days}),
        "partition_days": sorted({day.day for day in days}),
        "recent_partitions": len(recent_rows),
        "recent_rows_median": usual or 0,
        "recent_rows_min": 1 if usual is None else usual // 2,
        "recent_rows_max": None if usual is None else usual + usual // 2 + 1,
    }
