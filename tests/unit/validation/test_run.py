"""Whole partitions, from table raw to clean, quarantine and report, in a lake of files."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.errors import AccountingError, PartitionAbsent
from nightshift.lake.tables import LakeTable
from nightshift.validation import split
from nightshift.validation.batch import open_table
from nightshift.validation.engine import Outcome
from nightshift.validation.run import report_path, validate_partition
from tests.unit.validation.flights import SUITE, day, lake_at, pipeline, planted

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from nightshift.lake.tables import Lake
    from nightshift.validation.summary import ValidationSummary

DAY = "2013-01-05"
HISTORY = ("2013-01-02", "2013-01-03", "2013-01-04")
HOSTILE = "<script>alert('x')</script>\x00\u202e{{ 7 * 7 }}"


def _validated(lake: Lake, folder: Path, key: str = DAY, **validation: Any) -> ValidationSummary:
    return validate_partition(
        pipeline(**validation), key, lake=lake, suite_file=SUITE, staging=folder / "staging"
    )


def _lake(folder: Path, table: pa.Table, *history: str) -> Lake:
    return lake_at(folder / "lake", {**{key: day(key) for key in history}, DAY: table})


def _rows(lake: Lake, name: str) -> list[dict[str, Any]]:
    table = lake.table(name)
    if not table.exists():
        return []
    return sorted(table.read([DAY]).to_pylist(), key=lambda row: row["row_id"])


def test_a_good_day_passes_and_every_row_is_clean(tmp_path: Path) -> None:
    lake = _lake(tmp_path, day(DAY), *HISTORY)
    summary = _validated(lake, tmp_path)
    assert (summary.status, summary.ingested, summary.clean, summary.quarantined) == ("passed", 720, 720, 0)
    assert summary.failed == ()
    assert lake.table("clean").read([DAY]).sort_by("row_id") == lake.table("raw").read([DAY])


def test_a_summary_names_the_versions_that_were_judged_and_that_hold_the_rows(tmp_path: Path) -> None:
    lake = _lake(tmp_path, planted(day(DAY), {4: {"origin": "XXX"}}), *HISTORY)
    first, again = _validated(lake, tmp_path), _validated(lake, tmp_path)
    tables = ("raw", "clean", "quarantine")
    assert first.versions == {name: lake.table(name).version() for name in tables}
    assert again.to_dict()["versions"] == first.versions


@pytest.mark.parametrize("above", [200_000, 100], ids=["memory", "files"])
def test_bad_rows_are_set_apart_with_every_reason_they_have(above: int, tmp_path: Path) -> None:
    lake = _lake(tmp_path, planted(day(DAY), {4: {"origin": "XXX", "distance": 1.0}, 9: {"dest": None}}))
    summary = _validated(lake, tmp_path, duckdb_above_rows=above)
    assert (summary.status, summary.clean, summary.quarantined) == ("passed", 718, 2)
    bad = _rows(lake, "quarantine")
    assert [row["row_id"] for row in bad] == [4, 9]
    assert [reason.split("(")[0] for reason in bad[0]["reasons"]] == [
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_between",
        "expect_column_pair_values_a_to_be_greater_than_b",
    ]
    assert bad[1]["reasons"] == ["expect_column_values_to_not_be_null(dest)"]
    assert {row["row_id"] for row in _rows(lake, "clean")} == set(range(720)) - {4, 9}
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_quarantined_row_keeps_its_values_as_they_came(tmp_path: Path) -> None:
    lake = _lake(tmp_path, planted(day(DAY), {4: {"origin": HOSTILE}}))
    _validated(lake, tmp_path)
    (row,) = _rows(lake, "quarantine")
    reasons = row.pop("reasons")
    assert row == _rows(lake, "raw")[4]
    assert len(reasons) == 1


def test_more_bad_rows_than_the_budget_block_the_partition(tmp_path: Path) -> None:
    lake = _lake(tmp_path, planted(day(DAY), {row: {"origin": "XXX"} for row in range(15)}))
    summary = _validated(lake, tmp_path)
    assert (summary.status, summary.clean, summary.quarantined) == ("blocked", 0, 720)
    assert summary.reason == "15 of 720 rows (2.1%) to quarantine, 2.0% allowed"
    rows = _rows(lake, "quarantine")
    assert len(rows[3]["reasons"]) == 2
    assert rows[700]["reasons"] == [f"partition: {summary.reason}"]
    assert DAY not in lake.table("clean").partitions()
    assert summary.report.endswith(report_path(DAY))
    assert lake.exists(report_path(DAY))


def test_a_critical_table_level_failure_blocks_the_partition(tmp_path: Path) -> None:
    lake = _lake(tmp_path, day(DAY).slice(0, 300), *HISTORY)
    summary = _validated(lake, tmp_path)
    assert summary.status == "blocked"
    assert summary.reason.startswith("expect_table_row_count_to_be_between(min_value=457")
    assert {len(row["reasons"]) for row in _rows(lake, "quarantine")} == {1}


@pytest.mark.parametrize("key", ["2013-02-08", "2013-02-09", "2013-03-08", "2013-12-05"])
def test_a_storm_is_a_warning_and_blocks_nothing(key: str, tmp_path: Path) -> None:
    lake = lake_at(tmp_path / "lake", {key: day(key)})
    summary = _validated(lake, tmp_path, key)
    assert summary.status == "warned"
    assert summary.quarantined <= 1  # a diverted flight
    assert {failure.severity for failure in summary.failed if not failure.row_level} <= {"warning"}


@pytest.mark.parametrize("above", [200_000, 100], ids=["memory", "files"])
def test_validating_the_same_rows_again_makes_no_new_version(above: int, tmp_path: Path) -> None:
    lake = _lake(tmp_path, planted(day(DAY), {4: {"origin": "XXX"}}))
    _validated(lake, tmp_path, duckdb_above_rows=above)
    before = {name: lake.table(name).manifest([DAY]).to_dict() for name in ("clean", "quarantine")}
    _validated(lake, tmp_path, duckdb_above_rows=above)
    assert {name: lake.table(name).manifest([DAY]).to_dict() for name in before} == before


def test_a_rerun_after_a_fix_takes_the_rows_out_of_quarantine(tmp_path: Path) -> None:
    lake = _lake(tmp_path, planted(day(DAY), {4: {"origin": "XXX"}}))
    _validated(lake, tmp_path)
    lake.table("raw").replace_partition(DAY, day(DAY))
    again = [_validated(lake, tmp_path) for _ in range(2)]
    assert [(each.clean, each.quarantined) for each in again] == [(720, 0)] * 2
    assert _rows(lake, "quarantine") == []
    assert len(_rows(lake, "clean")) == 720


@pytest.mark.parametrize(("first", "then"), [({}, {4: "XXX"}), ({4: "XXX"}, {})], ids=["break", "fix"])
def test_a_crash_between_the_tables_leaves_a_row_twice_and_never_nowhere(
    first: dict[int, str], then: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = _lake(tmp_path, planted(day(DAY), {row: {"origin": code} for row, code in first.items()}))
    _validated(lake, tmp_path)
    lake.table("raw").replace_partition(
        DAY, planted(day(DAY), {row: {"origin": code} for row, code in then.items()})
    )
    real = LakeTable.replace_partition

    def dies_after_it(self: LakeTable, *arguments: Any, **options: Any) -> int:
        real(self, *arguments, **options)
        raise RuntimeError("killed")

    monkeypatch.setattr(LakeTable, "replace_partition", dies_after_it)
    with pytest.raises(RuntimeError, match="killed"):
        _validated(lake, tmp_path)
    found = [row["row_id"] for name in ("clean", "quarantine") for row in _rows(lake, name)]
    assert sorted(found) == sorted([*range(720), 4])


def test_a_partition_without_raw_rows_says_so(tmp_path: Path) -> None:
    lake = _lake(tmp_path, day(DAY))
    with pytest.raises(PartitionAbsent, match="no raw rows of 2013-01-06"):
        _validated(lake, tmp_path, "2013-01-06")


def test_rows_that_get_lost_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = _lake(tmp_path, day(DAY))
    monkeypatch.setattr(split, "_clean_sql", lambda batch, none: "SELECT * FROM source WHERE row_id > 2")
    with pytest.raises(AccountingError, match="720 rows ingested, but 717 clean"):
        _validated(lake, tmp_path)


@pytest.mark.parametrize(
    ("failing", "status"), [(0, "passed"), (3, "passed"), (4, "warned"), (14, "warned"), (15, "blocked")]
)
def test_the_share_of_bad_rows_decides_between_going_on_and_stopping(failing: int, status: str) -> None:
    config = pipeline(max_fraction=0.02, warn_fraction=0.005).validation
    assert split.decide(Outcome((), failing, "scan"), 720, config).status == status


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "style", "onload")]


def test_the_report_is_one_page_that_needs_nothing_and_runs_nothing(tmp_path: Path) -> None:
    table = planted(day(DAY), {4: {"origin": HOSTILE}, 5: {"tailnum": HOSTILE}, 6: {"carrier": HOSTILE}})
    lake = _lake(tmp_path, table, *HISTORY)
    _validated(lake, tmp_path)
    raw = lake.read_file(report_path(DAY)).decode()
    page = _Page()
    page.feed(raw)
    assert page.addresses == []
    assert {"script", "link", "img", "iframe"} & set(page.tags) == set()
    assert page.tags.count("svg") == 8
    assert "&lt;script&gt;" in raw
    assert "{{ 7 * 7 }}" in raw
    assert "expect_column_values_to_be_in_set(origin" in raw


def test_the_json_report_says_the_same_as_the_page(tmp_path: Path) -> None:
    lake = _lake(tmp_path, planted(day(DAY), {4: {"origin": "XXX"}}), *HISTORY)
    summary = _validated(lake, tmp_path)
    data = json.loads(lake.read_file(report_path(DAY, "json")))
    assert data["rows"] == summary.to_dict()["rows"]
    assert len(data["expectations"]) == len(json.loads(SUITE.read_text())["expectations"])
    (failed,) = [each for each in data["expectations"] if not each["success"]]
    assert (failed["unexpected"], failed["examples"]) == (1, ["row 4: origin=XXX"])
    assert data["quarantined_sample"][0]["row_id"] == 4


def test_batches_leave_nothing_behind_in_the_shared_database() -> None:
    for _ in range(2):
        with open_table(day(DAY)) as batch:
            batch.all("CREATE TEMP TABLE failing (row_id BIGINT)")
            names = {row[0] for row in batch.all("SELECT table_name FROM duckdb_tables()")}
            assert names == {"failing"}
