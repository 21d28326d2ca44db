"""The state of a range: read from what is there, for every way in which it can be there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nightshift.backfill.notes import FailureNote, clear_failure, note_failure, read_failures
from nightshift.backfill.state import Facts, State, judge, look, verdict_path
from nightshift.lake.ingest import record_path
from nightshift.lake.tables import PartitionStats
from tests.unit.validation.flights import day, lake_at

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.lake.tables import Lake

DAY = "2013-01-05"


def rows(count: int, at: float = 1.0) -> PartitionStats:
    return PartitionStats(rows=count, bytes=1, files=1, written_at=at)


def state(step: str, *, failed_at: float | None = None, **tables: PartitionStats) -> tuple[State, str]:
    notes = {} if failed_at is None else {(step, DAY): FailureNote("it broke", failed_at, "r")}
    facts = Facts({name: {DAY: stats} for name, stats in tables.items()}, notes)
    mark = judge(facts, [DAY], [step])[step][DAY]
    return mark.state, mark.why


@pytest.mark.parametrize(
    ("step", "tables", "expected", "why"),
    [
        ("ingest", {}, "missing", "never ingested"),
        ("ingest", {"raw": rows(9)}, "present", ""),
        ("validate", {}, "missing", "never ingested"),
        ("validate", {"raw": rows(9)}, "missing", "never validated"),
        ("validate", {"raw": rows(9), "clean": rows(9)}, "present", ""),
        ("validate", {"raw": rows(9), "clean": rows(8), "quarantine": rows(1)}, "present", ""),
        ("validate", {"raw": rows(9), "clean": rows(8)}, "missing", "8 clean + 0 quarantined of 9 rows"),
        ("validate", {"raw": rows(9), "quarantine": rows(9)}, "failed", "blocked: all 9 rows"),
        ("validate", {"raw": rows(9, at=2.0), "clean": rows(9)}, "missing", "ingested again"),
        ("score", {"clean": rows(9)}, "missing", "never scored"),
        ("score", {"clean": rows(9), "predictions": rows(9)}, "present", ""),
        ("score", {"clean": rows(9), "predictions": rows(8)}, "missing", "8 predictions of 9 rows"),
        ("score", {"clean": rows(9, at=2.0), "predictions": rows(9)}, "missing", "newer"),
        ("retrain", {}, "missing", "no model version"),
    ],
)
def test_a_step_is_judged_by_its_tables(
    step: str, tables: dict[str, PartitionStats], expected: str, why: str
) -> None:
    found, told = state(step, **tables)
    assert found == expected
    assert told.startswith(why) or why in told


@pytest.mark.parametrize("step", ["ingest", "validate", "score"])
def test_a_failed_try_counts_until_newer_rows_are_there(step: str) -> None:
    tables = {name: rows(9, at=5.0) for name in ("raw", "clean", "predictions")}
    assert state(step, failed_at=6.0, **tables) == (State.FAILED, "it broke")
    assert state(step, failed_at=4.0, **tables)[0] is State.PRESENT


def test_a_partition_is_retrained_when_a_model_version_has_its_tag() -> None:
    facts = Facts({}, models={DAY})
    assert judge(facts, [DAY, "2013-01-06"], ["retrain"])["retrain"][DAY].state is State.PRESENT
    assert judge(facts, ["2013-01-06"], ["retrain"])["retrain"]["2013-01-06"].state is State.MISSING


def test_only_a_retrain_asks_for_models(tmp_path: Path) -> None:
    lake, asked = lake_at(tmp_path, {}), []
    look(lake, [DAY], ["ingest", "validate", "score"], models=lambda: asked.append(1) or set())
    assert asked == []
    assert look(lake, [DAY], ["retrain"], models=lambda: {DAY}).models == {DAY}


def test_a_lake_without_anything_has_everything_missing(tmp_path: Path) -> None:
    steps = ("ingest", "validate", "retrain", "score")
    marks = judge(look(lake_at(tmp_path, {}), [DAY], steps), [DAY], steps)
    assert {mark.state for found in marks.values() for mark in found.values()} == {State.MISSING}


@pytest.fixture
def again(tmp_path: Path) -> Lake:
    """Validated rows whose raw rows were written once more since."""
    table = day(DAY)
    lake = lake_at(tmp_path, {DAY: table})
    for name in ("clean", "raw"):
        lake.table(name).replace_partition(DAY, table)
    lake.write_file(record_path(DAY), json.dumps({"sha256": "new"}).encode())
    return lake


@pytest.mark.parametrize(
    ("source", "expected"), [("new", State.PRESENT), ("old", State.MISSING)], ids=["the same", "another"]
)
def test_a_verdict_on_the_very_rows_counts_though_its_clean_rows_are_older(
    again: Lake, source: str, expected: State
) -> None:
    again.write_file(verdict_path(DAY), json.dumps({"source": source}).encode())
    assert judge(look(again, [DAY], ["validate"]), [DAY], ["validate"])["validate"][DAY].state is expected


def test_a_failure_is_noted_replaced_and_forgotten(tmp_path: Path) -> None:
    lake = lake_at(tmp_path, {})
    note_failure(lake, "ingest", DAY, "first")
    note_failure(lake, "ingest", DAY, "second\n  " + "x" * 5000, "run")
    note_failure(lake, "validate", "2013-01-07", "outside")
    (found,) = read_failures(lake, ["ingest", "validate"], [DAY]).values()
    assert found.error.startswith("second x")
    assert len(found.error) == 1000
    clear_failure(lake, "ingest", DAY)
    clear_failure(lake, "ingest", DAY)
    assert read_failures(lake, ["ingest"], [DAY]) == {}
