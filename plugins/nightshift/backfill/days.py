"""The days of a range, one after the other in one process: ingested, validated, each with its own result.

A DAG run per day pays for itself on a nightly pipeline, not on history; the steps are the same functions
that the operators call.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from nightshift.backfill import pace
from nightshift.backfill.notes import clear_failure, note_failure
from nightshift.backfill.state import Facts, Mark, State, judge, look, verdict_path
from nightshift.errors import (
    BackfillInterrupted,
    CommitConflict,
    ConfigError,
    NightshiftError,
    StorageUnavailable,
)
from nightshift.hooks.storage import landing_zone, open_lake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings
    from nightshift.lake.tables import Lake

__all__ = ["Day", "Shift", "ingest_days"]

GIVE_UP_AFTER = 3
"""Partitions in a row with trouble that is not theirs; then the others would have it too."""

_NOT_THEIRS = (StorageUnavailable, ConfigError)
_MAY_PASS = (StorageUnavailable, CommitConflict)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Day:
    """How one partition ended.

    ``status`` is ``ingested``, ``passed``, ``warned``, ``blocked`` or ``failed``; ``kept`` says that nothing
    had changed since the last time, so that it was left as it is.
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
        """Whether the next step may read it."""
        return self.status in ("ingested", "passed", "warned")

    def line(self) -> str:
        """For people: ``2013-01-03 passed   914 rows, 911 clean, 3 quarantined, 0.12 s``."""
        if self.status == "failed":
            return f"{self.partition} failed   {self.reason}"
        counts = "" if self.status == "ingested" else f", {self.clean} clean, {self.quarantined} quarantined"
        kept = ", unchanged" if self.kept else ""
        return f"{self.partition} {self.status:8} {self.ingested} rows{counts}, {self.seconds:.2f} s{kept}"


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
    shift = Shift(pipeline, settings, force=force)
    return shift.both(sorted(partitions), each)


class Shift:
    """Works through partitions of one pipeline, in this process.

    :param run: who works; a partition that this very run has validated is not forced again.
    :param force: also validate what has not changed.
    :param stop: asked before every partition; True ends the shift.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: Settings,
        *,
        run: str = "",
        force: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.run = run
        self.force = force
        self.stop = stop
        self.lake: Lake = open_lake(settings, pipeline)
        self._landing = landing_zone(settings)
        self._suite = settings.expectations_dir / pipeline.validation.suite
        self._trouble: dict[str, Exception] = {}

    def both(self, partitions: Sequence[str], each: Callable[[Day], None]) -> list[Day]:
        """Each partition ingested, then validated, before the next one's turn."""
        facts = look(self.lake, partitions, ("ingest", "validate"))
        marks = judge(facts, partitions, ("ingest", "validate"))
        found: dict[str, list[Day]] = {"ingest": [], "validate": []}
        done = []
        for key in partitions:
            day = self._try("ingest", key, facts, self._ingest)
            found["ingest"].append(day)
            if day.is_good:
                fresh = not day.kept or marks["validate"][key].state is not State.PRESENT
                taken = day.seconds
                day = self._try("validate", key, facts, partial(self._validate, fresh=fresh))
                found["validate"].append(day)
                day = replace(day, seconds=round(taken + day.seconds, 3))
            each(day)
            done.append(day)
        for step, days in found.items():
            self._remember_pace(step, days)
        return done

    def work(self, step: str, partitions: Sequence[str], each: Callable[[Day], None]) -> list[Day]:
        """One step of every partition, oldest first; what the tables hold already costs little.

        :raises BackfillInterrupted: when it was asked to stop; everything before that is done.
        :raises StorageUnavailable: when storage failed several partitions in a row, or any of them to the
            end; a retry does what is left.
        :raises ConfigError: when the same holds for sign-in or settings.
        """
        partitions = sorted(partitions)
        facts = look(self.lake, partitions, ("ingest", "validate"))
        do = self._worker(step, facts, partitions)
        done: list[Day] = []
        for key in partitions:
            if self.stop():
                raise BackfillInterrupted(f"stopped after {len(done)} of {len(partitions)} partitions")
            done.append(self._try(step, key, facts, do))
            each(done[-1])
            self._give_up_when_nothing_works([day.partition for day in done])
        self._remember_pace(step, done)
        for error in self._trouble.values():
            if isinstance(error, _MAY_PASS):
                raise error
        return done

    def _worker(self, step: str, facts: Facts, partitions: Sequence[str]) -> Callable[[str], Day]:
        if step == "ingest":
            return self._ingest
        marks = judge(facts, partitions, ("ingest", "validate"))

        def validate(key: str) -> Day:
            ingested: Mark = marks["ingest"][key]
            if ingested.state is not State.PRESENT:
                reason = f"not validated, for it is not ingested: {ingested.why}"
                return Day(key, "failed", False, 0, 0, 0, 0.0, reason)
            return self._validate(key, fresh=marks["validate"][key].state is not State.PRESENT)

        return validate

    def _try(self, step: str, key: str, facts: Facts, do: Callable[[str], Day]) -> Day:
        """The day with its seconds; whatever goes wrong is its own, and noted down."""
        begun = time.monotonic()
        self._trouble.pop(key, None)
        try:
            day = do(key)
            self._note(step, day, facts)
        except Exception as error:  # noqa: BLE001 one partition's trouble must not end the others
            if not isinstance(error, NightshiftError):
                _LOG.exception("%s of %s failed in an unexpected way", step, key)
            self._trouble[key] = error
            day = Day(key, "failed", False, 0, 0, 0, 0.0, f"{type(error).__name__}: {error}")
            self._note_trouble(step, day)
        return replace(day, seconds=round(time.monotonic() - begun, 3))

    def _note(self, step: str, day: Day, facts: Facts) -> None:
        if day.status == "blocked":
            note_failure(self.lake, step, day.partition, f"blocked: {day.reason}", self.run)
        elif day.is_good and (step, day.partition) in facts.failures:
            clear_failure(self.lake, step, day.partition)

    def _note_trouble(self, step: str, day: Day) -> None:
        try:
            note_failure(self.lake, step, day.partition, day.reason, self.run)
        except NightshiftError as error:
            _LOG.warning("the failure of %s could not be noted in the lake: %s", day.partition, error)

    def _give_up_when_nothing_works(self, done: Sequence[str]) -> None:
        last = [self._trouble.get(key) for key in done[-GIVE_UP_AFTER:]]
        error = last[-1]
        if len(last) == GIVE_UP_AFTER and all(isinstance(each, _NOT_THEIRS) for each in last):
            assert error is not None
            raise error

    def _remember_pace(self, step: str, days: Iterable[Day]) -> None:
        worked = [day.seconds for day in days if day.is_good and not day.kept]
        if worked:
            pace.remember(self.lake, step, worked)

    def _ingest(self, key: str) -> Day:
        from nightshift.lake.ingest import ingest_partition

        taken = ingest_partition(
            self.pipeline, key, landing=self._landing, lake=self.lake, staging=self.settings.staging
        )
        return Day(key, "ingested", not taken.changed, taken.rows, 0, 0, 0.0)

    def _validate(self, key: str, *, fresh: bool) -> Day:
        """Judge the partition, unless the last verdict stands.

        :param fresh: the tables do not hold the last verdict's rows: judge in any case.
        """
        from nightshift.lake.ingest import record_path

        there = self.lake.read_files([record_path(key), verdict_path(key)])
        source = json.loads(there[record_path(key)])["sha256"] if record_path(key) in there else ""
        basis = self._basis(source)
        known = json.loads(there[verdict_path(key)]) if verdict_path(key) in there else {}
        forced = self.force and (not self.run or known.get("run") != self.run)
        if not fresh and not forced and known.get("basis") == basis:
            return _day(key, known["summary"], kept=True)
        from nightshift.validation.run import validate_partition

        summary = validate_partition(
            self.pipeline, key, lake=self.lake, suite_file=self._suite, staging=self.settings.staging
        ).to_dict()
        verdict = {"basis": basis, "source": source, "run": self.run, "summary": summary}
        self.lake.write_file(verdict_path(key), json.dumps(verdict).encode())
        return _day(key, summary, kept=False)

    def _basis(self, source: str) -> str:
        """Names everything that a verdict on unchanged rows depends on."""
        digest = hashlib.sha256(self._suite.read_bytes() if self._suite.exists() else b"")
        digest.update(self.pipeline.validation.model_dump_json().encode())
        digest.update(source.encode())
        return digest.hexdigest()


def _day(key: str, summary: dict[str, Any], *, kept: bool) -> Day:
    rows = summary["rows"]
    return Day(
        partition=key,
        status=summary["status"],
        kept=kept,
        ingested=rows["ingested"],
        clean=rows["clean"],
        quarantined=rows["quarantined"],
        seconds=0.0,
        reason=summary["reason"],
    )
