"""Replay: after a fix, quarantined partitions are judged again; what passes joins ``clean`` in one commit."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from nightshift.errors import AccountingError, CommitConflict, ConfigError, PartitionAbsent, SourceError
from nightshift.lake.ingest import RAW, ingest_partition
from nightshift.lake.workspace import workspace
from nightshift.validation import split
from nightshift.validation.replayed import Replay, Replayed
from nightshift.validation.run import judged, page_of, rendered, report_path
from nightshift.validation.suite import load_suite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.manifest import Manifest
    from nightshift.lake.prepared import Prepared
    from nightshift.lake.storage import Location
    from nightshift.lake.tables import Lake
    from nightshift.validation.suite import Suite

__all__ = ["replay"]

log = logging.getLogger(__name__)
_ROUNDS = 4
_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class _Job:
    """What every step of a replay needs."""

    pipeline: Pipeline
    lake: Lake
    suite: Suite
    staging: Path


class _State:
    """The three tables at one moment."""

    def __init__(self, tables: Mapping[str, Manifest]) -> None:
        self.tables = tables
        self._counts = {name: table.rows_by_partition() for name, table in tables.items()}
        self._files = {name: table.paths() for name, table in tables.items()}

    def rows(self, key: str) -> split.Rows:
        """Where the rows of a partition are."""
        return split.Rows(*(self._counts[name].get(key, 0) for name in (RAW, *split.TABLES)))

    def differs(self, later: _State, name: str, key: str) -> bool:
        """Whether a partition has been replaced in this table since."""
        return self._files[name].get(key) != later._files[name].get(key)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A partition that waits for the commit: where its rows will be; files on local disk hold the rest."""

    partition: str
    status: Literal["passed", "warned", "blocked", "failed"]
    rows: split.Rows
    reason: str
    changes: Mapping[str, Prepared] = field(default_factory=dict)
    report: Mapping[str, Path] = field(default_factory=dict)


def replay(
    pipeline: Pipeline,
    partitions: Sequence[str],
    *,
    lake: Lake,
    suite_file: Path,
    staging: Path,
    landing: Location | None = None,
    dry_run: bool = False,
) -> Replay:
    """Judge again those of ``partitions`` that have quarantined rows, or whose counts do not add up.

    Each is judged whole, by the suite as it is now. One commit to ``clean`` publishes all of them, then
    one to ``quarantine``: a crash in between leaves rows twice, and the next replay settles it. The same
    rows make no new version. A partition that would lose its clean rows, for it is blocked by now, is left
    as it is. Where another writer was faster, everything is judged anew from what is there then.

    :param partitions: the range, oldest first, at least one.
    :param staging: local folder for what does not fit into memory.
    :param landing: ingest each chosen partition again from there, for the source was fixed.
    :param dry_run: judge only; nothing is written.
    :raises ConfigError: the suite is wrong, or a dry run is to ingest.
    :raises CommitConflict: other writers were faster every time; a replay that runs alone succeeds.
    :raises AccountingError: the counts do not add up in the end.
    """
    if dry_run and landing is not None:
        raise ConfigError("a dry run writes nothing, so it cannot ingest again", fix="ask for one of both")
    started = time.perf_counter()
    job = _Job(pipeline, lake, load_suite(suite_file), staging)
    before = _state(lake)
    chosen = [key for key in partitions if _is_due(before.rows(key))]
    log.info("%s of %s partitions are due for a replay: %s", len(chosen), len(partitions), ", ".join(chosen))
    failed = {} if landing is None else _ingest_again(job, chosen, landing)
    found, after = _settled(job, [key for key in chosen if key not in failed], dry_run=dry_run)
    judgements = {each.partition: each for each in found}
    for key, reason in failed.items():
        judgements[key] = _Judged(key, "failed", after.rows(key), reason)
    done = Replay(
        pipeline=pipeline.pipeline,
        first=partitions[0],
        last=partitions[-1],
        dry_run=dry_run,
        partitions=tuple(_result(judgements[key], before, after, dry_run=dry_run) for key in chosen),
        versions={
            name: after.tables[name].version
            for name in split.TABLES
            if any(before.differs(after, name, key) for key in chosen)
        },
        seconds=time.perf_counter() - started,
    )
    _tell(done)
    return done


def _state(lake: Lake) -> _State:
    return _State({RAW: lake.table(RAW).snapshot(), **split.snapshots(lake)})


def _is_due(rows: split.Rows) -> bool:
    return rows.quarantined > 0 or not rows.add_up


def _ingest_again(job: _Job, keys: Sequence[str], landing: Location) -> dict[str, str]:
    """Bring in what has landed; returns what was wrong with those whose source is still no good."""
    wrong = {}
    for key in keys:
        try:
            ingest_partition(job.pipeline, key, landing=landing, lake=job.lake, staging=job.staging)
        except SourceError as error:
            wrong[key] = f"{type(error).__name__}: {error}"
    return wrong


def _settled(job: _Job, keys: Sequence[str], *, dry_run: bool) -> tuple[list[_Judged], _State]:
    """Rounds until one has the tables to itself; the judgements, and the tables that came of them."""
    for _ in range(_ROUNDS - 1):
        try:
            return _round(job, keys, dry_run=dry_run)
        except (CommitConflict, AccountingError) as error:
            log.warning("another writer was faster, the replay starts again: %s", error)
            time.sleep(random.uniform(_WAIT_S / 2, _WAIT_S))
    return _round(job, keys, dry_run=dry_run)


def _round(job: _Job, keys: Sequence[str], *, dry_run: bool) -> tuple[list[_Judged], _State]:
    held = _state(job.lake)
    with workspace(job.staging, "replay", job.pipeline.pipeline) as folder:
        found = [_judge(job, key, held, folder) for key in keys]
        if dry_run:
            return found, held
        # First what takes long and may fail; a replay that is called again then does all of it again.
        for each in found:
            for kind, file in each.report.items():
                job.lake.write_file(report_path(each.partition, kind), file.read_bytes())
        _commit(job.lake, found, held)
    after = _state(job.lake)
    _check_raw(keys, held, after)
    for each in found:
        if each.status != "failed":
            split.check(each.partition, after.rows(each.partition))
    return found, after


def _judge(job: _Job, key: str, held: _State, folder: Path) -> _Judged:
    started = time.perf_counter()
    now = held.rows(key)
    try:
        with judged(
            job.pipeline, key, lake=job.lake, raw=held.tables[RAW], suite=job.suite, staging=folder
        ) as found:
            status, reason = found.decision.status, "; ".join(found.decision.reasons)
            loses = status == "blocked" and now.clean > 0 and now.add_up
            if loses and split.is_accounted(found.batch, job.lake, key, held.tables, folder):
                return _Judged(key, status, now, f"left as it is; judged now, it is blocked: {reason}")
            staged = split.stage(found.batch, job.lake, key, found.decision, folder, held.tables)
            page = page_of(found, job.lake, staged.rows, time.perf_counter() - started)
    except PartitionAbsent as error:
        return _Judged(key, "failed", now, str(error))
    report = {kind: folder / f"{key}.{kind}" for kind in ("json", "html")}
    for kind, data in rendered(page).items():
        report[kind].write_bytes(data)
    return _Judged(key, status, staged.rows, reason, staged.changes, report)


def _commit(lake: Lake, found: Sequence[_Judged], held: _State) -> None:
    """``clean`` first: until ``quarantine`` follows, a replay finds these partitions again.

    :raises CommitConflict: when a partition is not what was judged, in any of the three tables.
    """
    changed = [each for each in found if each.changes]
    if not changed:
        return
    _check_raw([each.partition for each in changed], held, _State({RAW: lake.table(RAW).snapshot()}))
    note = {"nightshift.replay": f"{changed[0].partition}..{changed[-1].partition}"}
    for name in split.TABLES:
        changes = {each.partition: each.changes[name] for each in changed if name in each.changes}
        if changes:
            version = lake.table(name).replace_partitions(changes, basis=held.tables[name], source=note)
            log.info("%s partitions of %s replaced in version %s", len(changes), name, version)


def _check_raw(keys: Sequence[str], held: _State, now: _State) -> None:
    for key in keys:
        if held.differs(now, RAW, key):
            raise CommitConflict(
                f"the raw rows of {key} were replaced while they were judged",
                fix="let its ingestion end, then replay again",
            )


def _result(found: _Judged, before: _State, after: _State, *, dry_run: bool) -> Replayed:
    key = found.partition
    changed = tuple(
        name
        for name in split.TABLES
        if (name in found.changes if dry_run else before.differs(after, name, key))
    )
    return Replayed(key, found.status, before.rows(key), found.rows, changed, found.reason)


def _tell(done: Replay) -> None:
    for each in done.partitions:
        log.log(
            logging.INFO if each.is_good else logging.WARNING,
            "%s %s: %s -> %s of %s rows clean, %s -> %s quarantined%s",
            each.partition,
            each.status,
            each.before.clean,
            each.after.clean,
            each.after.ingested,
            each.before.quarantined,
            each.after.quarantined,
            f": {each.reason}" if each.reason else "",
        )
