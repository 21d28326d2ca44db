"""How long a partition takes, as measured: what a plan's estimate starts from."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nightshift.config.partitions import days

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nightshift.lake.spend import JobCost
    from nightshift.lake.tables import Lake

__all__ = ["GUESS_S", "Pace", "read", "remember"]

GUESS_S = {"ingest": 0.3, "validate": 0.5, "retrain": 60.0, "score": 2.0}
"""Seconds a partition before anything was measured."""

_FOLDER = "pace"
_KINDS = {"retrain": ("train", "evaluate"), "score": ("score",)}


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds and US dollars a partition; ``measured`` says on how many (0: it is a guess)."""

    seconds: float
    usd: float
    measured: int


def remember(lake: Lake, step: str, seconds: Sequence[float]) -> None:
    """Keep the median of what was just measured; the last to finish is the one that counts."""
    found = Pace(round(statistics.median(seconds), 3), 0.0, len(seconds))
    lake.write_file(_path(step), json.dumps(asdict(found)).encode())


def read(lake: Lake, steps: Sequence[str]) -> dict[str, Pace]:
    """The pace of each step: of chunks as they were remembered, of jobs from what the last ones took."""
    there = lake.read_files([_path(step) for step in steps if step not in _KINDS])
    found = {step: Pace(GUESS_S[step], 0.0, 0) for step in steps}
    for step in steps:
        if _path(step) in there:
            found[step] = Pace(**json.loads(there[_path(step)]))
        elif step in _KINDS:
            found[step] = _of_jobs(lake, step) or found[step]
    return found


def _of_jobs(lake: Lake, step: str) -> Pace | None:
    """The jobs of a step run one after the other; None until every kind of them has run."""
    from nightshift.lake.spend import recent

    kinds = [recent(lake, kind) for kind in _KINDS[step]]
    if not all(kinds):
        return None
    return Pace(
        seconds=sum(statistics.median(job.seconds / _partitions(job) for job in jobs) for jobs in kinds),
        usd=sum(statistics.median(job.usd / _partitions(job) for job in jobs) for jobs in kinds),
        measured=min(len(jobs) for jobs in kinds),
    )


def _partitions(job: JobCost) -> int:
    """How many partitions a job was about: one, or a chunk of them."""
    first, apart, last = job.partition.partition("..")
    return len(days(first, last)) if apart else 1


def _path(step: str) -> str:
    return f"{_FOLDER}/{step}.json"
