"""What is there of a range of partitions, step by step: read from the lake as it is, not from memory.

A step of a partition is *present* when its result is whole and newer than what it was made from, *failed*
when its last try failed (a note says why) or validation blocked it, and *missing* otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from nightshift.backfill.notes import FailureNote, read_failures
from nightshift.backfill.steps import NEEDS
from nightshift.lake.ingest import record_path
from nightshift.lake.tables import PartitionStats

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from nightshift.lake.tables import Lake

__all__ = ["Facts", "Mark", "Marks", "State", "judge", "look", "verdict_path"]

_TABLES = {
    "ingest": ("raw",),
    "validate": ("raw", "clean", "quarantine"),
    "retrain": (),
    "score": ("clean", "predictions"),
}
_NOTHING = PartitionStats(rows=0, bytes=0, files=0)


class State(StrEnum):
    """How a step of a partition stands."""

    PRESENT = "present"
    MISSING = "missing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Mark:
    """A state, and why it is not ``present``."""

    state: State
    why: str = ""


Marks = dict[str, dict[str, Mark]]
"""By step, then by partition."""

_PRESENT = Mark(State.PRESENT)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the lake and the registry say, read once.

    :param tables: the partitions of each table that was read.
    :param models: partitions with a model version.
    :param validated: partitions whose clean or quarantined rows are older than their raw rows, and which
        were validated since nevertheless: the new raw rows came out the same.
    """

    tables: Mapping[str, Mapping[str, PartitionStats]]
    failures: Mapping[tuple[str, str], FailureNote] = field(default_factory=dict)
    models: Collection[str] = ()
    validated: Collection[str] = ()

    def stats(self, table: str, partition: str) -> PartitionStats:
        """Rows of a partition and when they were written; zero rows where it is not there."""
        return self.tables.get(table, {}).get(partition, _NOTHING)


def verdict_path(partition: str) -> str:
    """Where a bulk validation remembers what it judged: ``{basis, source, run, summary}``."""
    return f"_bulk/{partition}.json"


def look(
    lake: Lake,
    partitions: Sequence[str],
    steps: Collection[str],
    *,
    models: Callable[[], Collection[str]] = tuple,
) -> Facts:
    """Read what :func:`judge` needs: each table's log once, one listing, and the notes that matter.

    :param models: gives the partitions that have a model version; called for the step ``retrain`` only.
    """
    known = [*steps, *(NEEDS[step] for step in steps if step in NEEDS)]
    names = {name for step in known for name in _TABLES[step]}
    tables = {name: lake.table(name).partitions() for name in sorted(names)}
    facts = Facts(
        tables=tables,
        failures=read_failures(lake, set(known), partitions),
        models=models() if "retrain" in steps else (),
    )
    doubtful = [key for key in partitions if "clean" in tables and _looks_outdated(facts, key)]
    return Facts(facts.tables, facts.failures, facts.models, _validated_since(lake, doubtful))


def judge(facts: Facts, partitions: Iterable[str], steps: Iterable[str]) -> Marks:
    """The state of every partition for each of these steps."""
    rules = {"ingest": _ingested, "validate": _validated, "retrain": _retrained, "score": _scored}
    every = list(partitions)
    return {step: {key: rules[step](facts, key) for key in every} for step in steps}


def _ingested(facts: Facts, key: str) -> Mark:
    raw = facts.stats("raw", key)
    return _noted(facts, "ingest", key, since=raw.written_at) or (
        _PRESENT if raw.rows else Mark(State.MISSING, "never ingested")
    )


def _validated(facts: Facts, key: str) -> Mark:
    raw, clean, aside = (facts.stats(name, key) for name in ("raw", "clean", "quarantine"))
    noted = _noted(facts, "validate", key, since=max(clean.written_at, aside.written_at))
    if not raw.rows:
        return noted or Mark(State.MISSING, "never ingested")
    if clean.rows + aside.rows != raw.rows:
        told = f"{clean.rows} clean + {aside.rows} quarantined of {raw.rows} rows"
        return noted or Mark(State.MISSING, told if clean.rows + aside.rows else "never validated")
    if key not in facts.validated and _looks_outdated(facts, key):
        return noted or Mark(State.MISSING, "ingested again since it was validated")
    if not clean.rows:
        return noted or Mark(State.FAILED, f"blocked: all {raw.rows} rows are in quarantine")
    return noted or _PRESENT


def _retrained(facts: Facts, key: str) -> Mark:
    return _noted(facts, "retrain", key, since=0.0) or (
        _PRESENT if key in facts.models else Mark(State.MISSING, "no model version")
    )


def _scored(facts: Facts, key: str) -> Mark:
    clean, scored = facts.stats("clean", key), facts.stats("predictions", key)
    noted = _noted(facts, "score", key, since=scored.written_at)
    if not scored.rows:
        return noted or Mark(State.MISSING, "never scored")
    if scored.rows != clean.rows:
        return noted or Mark(State.MISSING, f"{scored.rows} predictions of {clean.rows} rows")
    if scored.written_at < clean.written_at:
        return noted or Mark(State.MISSING, "its clean rows are newer than their predictions")
    return noted or _PRESENT


def _noted(facts: Facts, step: str, key: str, since: float) -> Mark | None:
    """Failed, where a note says so that is newer than the step's result."""
    note = facts.failures.get((step, key))
    return Mark(State.FAILED, note.error) if note is not None and note.at >= since else None


def _looks_outdated(facts: Facts, key: str) -> bool:
    raw, clean, aside = (facts.stats(name, key) for name in ("raw", "clean", "quarantine"))
    return any(0 < each.written_at < raw.written_at for each in (clean, aside))


def _validated_since(lake: Lake, partitions: Sequence[str]) -> frozenset[str]:
    """Those whose last bulk validation judged the very content that is in ``raw`` now."""
    paths = [path for key in partitions for path in (record_path(key), verdict_path(key))]
    read = {path: json.loads(data) for path, data in lake.read_files(paths).items()}
    return frozenset(
        key
        for key in partitions
        if (record := read.get(record_path(key))) is not None
        and (verdict := read.get(verdict_path(key))) is not None
        and verdict.get("source") == record["sha256"]
    )
