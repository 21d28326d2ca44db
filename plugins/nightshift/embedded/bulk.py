"""History in bulk: many partitions ingested and validated in one process, one after the other.

A DAG run per day pays for itself on a nightly pipeline, not on a first fill of the lake; the steps are the
same functions that the operators call.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.errors import NightshiftError
from nightshift.hooks.storage import landing_zone, open_lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings
    from nightshift.lake.tables import Lake

__all__ = ["Day", "ingest_days"]


@dataclass(frozen=True, slots=True)
class Day:
    """How one partition ended.

    ``status`` is ``passed``, ``warned``, ``blocked`` or ``failed``; ``kept`` says that nothing had changed
    since it was validated, so that it was left as it is.
    """

    partition: str
    status: str
    kept: bool
    ingested: int
    clean: int
    quarantined: int
    seconds: float
    reason: str = ""

    @property
    def is_good(self) -> bool:
        """Whether training may read it."""
        return self.status in ("passed", "warned")


def ingest_days(
    pipeline: Pipeline,
    partitions: Sequence[str],
    settings: Settings,
    *,
    force: bool = False,
    each: Callable[[Day], None] = lambda day: None,
) -> list[Day]:
    """Ingest and validate every partition, oldest first; a bad day does not stop the others.

    :param force: also validate what has not changed since it was validated with the same suite.
    :param each: called after every day.
    """
    return list(_days(pipeline, sorted(partitions), settings, force, each))


def _days(
    pipeline: Pipeline,
    partitions: Sequence[str],
    settings: Settings,
    force: bool,
    each: Callable[[Day], None],
) -> Iterator[Day]:
    lake = open_lake(settings, pipeline)
    for partition in partitions:
        begun = time.monotonic()
        try:
            summary, kept = _one(pipeline, partition, settings, lake, force)
            day = _day(partition, summary, kept, time.monotonic() - begun)
        except NightshiftError as error:
            seconds = round(time.monotonic() - begun, 3)
            day = Day(partition, "failed", False, 0, 0, 0, seconds, f"{type(error).__name__}: {error}")
        each(day)
        yield day


def _one(
    pipeline: Pipeline, partition: str, settings: Settings, lake: Lake, force: bool
) -> tuple[dict[str, Any], bool]:
    """The validation summary of one partition, and whether it is the one of an earlier call."""
    from nightshift.lake.ingest import ingest_partition

    landing = landing_zone(settings)
    taken = ingest_partition(pipeline, partition, landing=landing, lake=lake, staging=settings.staging)
    suite = settings.expectations_dir / pipeline.validation.suite
    basis = _basis(pipeline, suite.read_bytes() if suite.exists() else b"", taken.sha256)
    note = f"_bulk/{partition}.json"
    if not taken.changed and not force and lake.exists(note):
        known = json.loads(lake.read_file(note))
        if known["basis"] == basis:
            return known["summary"], True
    from nightshift.validation.run import validate_partition

    summary = validate_partition(
        pipeline, partition, lake=lake, suite_file=suite, staging=settings.staging
    ).to_dict()
    lake.write_file(note, json.dumps({"basis": basis, "summary": summary}).encode())
    return summary, False


def _basis(pipeline: Pipeline, suite: bytes, source: str) -> str:
    """Names everything that a verdict on unchanged rows depends on."""
    digest = hashlib.sha256(suite)
    digest.update(pipeline.validation.model_dump_json().encode())
    digest.update(source.encode())
    return digest.hexdigest()


def _day(partition: str, summary: dict[str, Any], kept: bool, seconds: float) -> Day:
    rows = summary["rows"]
    return Day(
        partition=partition,
        status=summary["status"],
        kept=kept,
        ingested=rows["ingested"],
        clean=rows["clean"],
        quarantined=rows["quarantined"],
        seconds=round(seconds, 3),
        reason=summary["reason"],
    )
