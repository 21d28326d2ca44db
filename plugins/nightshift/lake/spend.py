"""What a pipeline's jobs have cost: one small record a job, filed by the month in which it ended."""

from __future__ import annotations

import datetime as dt
import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nightshift.lake.storage import list_folders, list_objects, object_exists, read_object, write_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nightshift.lake.tables import Lake

__all__ = ["JobCost", "month_of", "month_usd", "recent", "record"]

_FOLDER = "spend"
_READERS = 16  # records are small: reading many of them from an object store is waiting
_RECENT_MONTHS = 2


@dataclass(frozen=True, slots=True)
class JobCost:
    """One job that has ended, well or not.

    :param job: the job's name, which is its only identity here.
    :param kind: ``train``, ``tune``, ``evaluate`` or ``score``.
    :param seconds: wall time; ``billable_seconds`` what is paid for; ``usd`` 0 on own machines.
    :param ended_at: seconds since the epoch.
    :param state: how it ended, a word of ``JobState``.
    """

    job: str
    kind: str
    partition: str
    seconds: float
    billable_seconds: float
    usd: float
    ended_at: float
    state: str


def month_of(moment: float) -> str:
    """``2026-11``: the UTC month of a time in seconds since the epoch."""
    return dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%Y-%m")


def record(lake: Lake, cost: JobCost) -> bool:
    """Write the job's record; a job that has one keeps it, however often and late its end is looked at.

    :returns: whether it had none.
    """
    if any(object_exists(lake.location, _file(month, cost.job)) for month in reversed(_months(lake))):
        return False
    data = json.dumps(asdict(cost), sort_keys=True).encode()
    return write_object(lake.location, _file(month_of(cost.ended_at), cost.job), data, only_if_new=True)


def month_usd(lake: Lake, month: str) -> float:
    """US dollars of every job of the pipeline that ended in ``month`` (``2026-11``, UTC)."""
    return math.fsum(cost.usd for cost in _read(lake, [month]))


def recent(lake: Lake, kind: str, n: int = 20) -> list[JobCost]:
    """The last ``n`` jobs of a kind, newest first, from the newest two months that have records."""
    found = [cost for cost in _read(lake, _months(lake)[-_RECENT_MONTHS:]) if cost.kind == kind]
    return sorted(found, key=lambda cost: (cost.ended_at, cost.job), reverse=True)[:n]


def _months(lake: Lake) -> list[str]:
    """Months that have records, oldest first."""
    return list_folders(lake.location.child(_FOLDER))


def _file(month: str, job: str) -> str:
    return f"{_FOLDER}/{month}/{job}.json"


def _read(lake: Lake, months: Iterable[str]) -> list[JobCost]:
    folders = [lake.location.child(_FOLDER, month) for month in months]
    places = [(folder, each.path) for folder in folders for each in list_objects(folder)]
    with ThreadPoolExecutor(_READERS) as readers:
        contents = readers.map(lambda place: read_object(*place), places)
        return [JobCost(**json.loads(data)) for data in contents if data is not None]
