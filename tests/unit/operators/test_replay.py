"""The two tasks of the replay DAG, called as a worker calls them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException

from nightshift.backfill.notes import note_failure, read_failures
from nightshift.backfill.state import verdict_path
from nightshift.config.settings import PROJECT
from nightshift.errors import PartitionKeyError, SourceError
from nightshift.operators.replay import AnnounceReplayOperator, ReplayOperator
from nightshift.validation.run import validate_partition
from tests.unit.validation.flights import day, lake_at, pipeline

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.lake.tables import Lake

DAYS = ("2013-01-05", "2013-01-07")
CLEAN = Asset("flight_delays_clean")
FORM = {
    "from": "2013-01-01",
    "to": "2013-01-31",
    "ingest_again": False,
    "dry_run": False,
    "announce": False,
}


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Two days that a suite without any sense has blocked; the suite is the shipped one again."""
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    senseless = json.loads((PROJECT / "include" / "expectations" / "flights.json").read_text())
    senseless["expectations"].append(
        {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 1}, "severity": "critical"}
    )
    (tmp_path / "suite.json").write_text(json.dumps(senseless))
    lake = lake_at(tmp_path / "lake", {key: day(key) for key in DAYS})
    for key in DAYS:
        validate_partition(
            pipeline(), key, lake=lake, suite_file=tmp_path / "suite.json", staging=tmp_path / "staging"
        )
    return lake


def _context(**form: Any) -> Any:
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}), pushed=pushed)
    return {"params": {**FORM, **form}, "ti": ti}


def _replay(context: Any) -> dict[str, Any]:
    return ReplayOperator(task_id="replay", pipeline=pipeline()).execute(context)


def test_a_replay_returns_counts_in_less_than_4_kb(lake: Lake) -> None:
    found = _replay(_context())
    assert len(json.dumps(found)) < 4096
    assert found["partitions"] == {"replayed": 2, "changed": 2, "blocked": 0, "failed": 0}
    assert found["rows"]["clean"] == {"before": 0, "after": 1653}
    assert found["newest"] == "2013-01-07"
    assert {key: stats.rows for key, stats in lake.table("clean").partitions().items()} == {
        "2013-01-05": 720,
        "2013-01-07": 933,
    }


def test_a_dry_run_writes_nothing_and_announces_nothing(lake: Lake) -> None:
    found = _replay(_context(dry_run=True))
    assert (found["partitions"]["changed"], found["newest"], found["versions"]) == (2, None, {})
    assert lake.table("clean").partitions() == {}


def test_what_a_backfill_remembers_of_a_partition_is_put_right(lake: Lake) -> None:
    note_failure(lake, "validate", DAYS[0], "blocked: a suite without any sense")
    lake.write_file(verdict_path(DAYS[0]), b"{}")
    _replay(_context())
    assert read_failures(lake, {"validate"}, DAYS) == {}
    assert not lake.exists(verdict_path(DAYS[0]))


def test_a_source_that_is_gone_fails_the_task_which_still_hands_on_its_counts(lake: Lake) -> None:
    context = _context(ingest_again=True)
    with pytest.raises(SourceError, match=r"2 of 2 partitions .* 2013-01-05: PartitionAbsent"):
        _replay(context)
    assert context["ti"].pushed["return_value"]["partitions"]["failed"] == 2


def test_a_range_outside_the_pipeline_is_refused(lake: Lake) -> None:
    with pytest.raises(PartitionKeyError, match="is not a partition of flight_delays"):
        _replay(_context(to="2014-01-01"))


class _Events:
    def __init__(self) -> None:
        self.partitions: list[str] = []

    def __getitem__(self, asset: Asset) -> _Events:
        assert asset == CLEAN
        return self

    def add_partitions(self, partition: str) -> None:
        self.partitions.append(partition)


def _announce(newest: str | None, *, announce: bool) -> list[str]:
    task = AnnounceReplayOperator(
        task_id="announce", pipeline=pipeline(), asset=CLEAN, replayed={"newest": newest}
    )
    events: Any = _Events()
    context = _context(announce=announce)
    task.execute({**context, "outlet_events": events})
    return events.partitions


def test_one_event_goes_out_when_the_form_asks_for_it() -> None:
    assert _announce("2013-01-07", announce=True) == ["2013-01-07"]


@pytest.mark.parametrize(
    ("newest", "announce"), [("2013-01-07", False), (None, True)], ids=["off", "nothing"]
)
def test_otherwise_nothing_downstream_is_started(newest: str | None, announce: bool) -> None:
    with pytest.raises(AirflowSkipException):
        _announce(newest, announce=announce)
