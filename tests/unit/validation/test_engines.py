"""The scan against GX's own engines: the same verdicts and the same failing rows, for every type used."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightshift.validation import gx, scan
from nightshift.validation.batch import open_files, open_table
from nightshift.validation.engine import run
from nightshift.validation.parameters import suite_parameters
from nightshift.validation.suite import Suite, load_suite
from tests.unit.validation.flights import SUITE, day, planted, year

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nightshift.validation.batch import Batch
    from nightshift.validation.engine import Outcome
    from nightshift.validation.suite import Check

DAY = "2013-01-05"

# Every row below violates something of the shipped suite, beside the day's own cancelled flights.
PLANTED: dict[int, dict[str, Any]] = {
    2: {"origin": "XXX"},
    3: {"dest": None, "origin": None},
    5: {"dest": "EWR", "distance": 17.0},
    6: {"dest": "bos"},
    7: {"dest": "BOS\n"},
    11: {"sched_dep_time": 2500, "carrier": None},
    12: {"dep_delay": 5000.0, "time_hour": None},
    13: {"air_time": 2.0, "month": 2},
    14: {"distance": 9000.0, "day": 6},
    15: {"distance": 100.0, "air_time": 100.0},
    17: {"dep_time": None, "arr_delay": 3.0},
    18: {"air_time": None},
    19: {"sched_dep_time": None},
    20: {"tailnum": "D942DN"},
    21: {"tailnum": None, "carrier": "ZZ"},
    23: {"arr_delay": None, "air_time": None},
    22: {"tailnum": "n1\u2028<b>", "dep_delay": float("nan")},
}

# Types the shipped suite does not use, and settings of those it does; all of them in the scan's tables.
MORE: list[tuple[str, dict[str, Any]]] = [
    ("expect_column_values_to_be_unique", {"column": "row_id"}),
    ("expect_column_values_to_be_unique", {"column": "tailnum"}),
    ("expect_column_values_to_not_match_regex", {"column": "dest", "regex": "^B[NO]"}),
    ("expect_column_values_to_match_regex", {"column": "dest", "regex": "^(?:BOS|ATL|...)$"}),
    ("expect_column_values_to_match_regex", {"column": "tailnum", "regex": "[0-9]"}),
    ("expect_column_value_lengths_to_equal", {"column": "dest", "value": 3}),
    ("expect_column_value_lengths_to_be_between", {"column": "tailnum", "min_value": 5, "max_value": 6}),
    ("expect_column_values_to_be_in_set", {"column": "carrier", "value_set": ["AA", "B6", None]}),
    ("expect_column_values_to_be_between", {"column": "distance", "max_value": 1000, "strict_max": True}),
    ("expect_column_values_to_be_between", {"column": "dep_delay", "min_value": -5, "strict_min": True}),
    ("expect_column_pair_values_to_be_equal", {"column_A": "dep_delay", "column_B": "arr_delay"}),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "arr_delay", "column_B": "dep_delay", "or_equal": True, "ignore_row_if": "neither"},
    ),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "arr_delay", "column_B": "dep_delay"}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["origin", "dest", "hour"]}),
    (
        "expect_compound_columns_to_be_unique",
        {"column_list": ["tailnum", "dep_time"], "ignore_row_if": "any_value_is_missing"},
    ),
    (
        "expect_compound_columns_to_be_unique",
        {"column_list": ["tailnum", "air_time"], "ignore_row_if": "never"},
    ),
    ("expect_select_column_values_to_be_unique_within_record", {"column_list": ["origin", "dest"]}),
    (
        "expect_select_column_values_to_be_unique_within_record",
        {"column_list": ["dep_time", "arr_time", "sched_dep_time"], "ignore_row_if": "never"},
    ),
    (
        "expect_column_values_to_be_between",
        {
            "column": "air_time",
            "min_value": 60,
            "row_condition": {
                "type": "and",
                "conditions": [
                    {
                        "type": "comparison",
                        "column": {"name": "origin"},
                        "operator": "IN",
                        "parameter": ["JFK", "EWR"],
                    },
                    {
                        "type": "comparison",
                        "column": {"name": "distance"},
                        "operator": ">",
                        "parameter": 400,
                    },
                ],
            },
        },
    ),
    ("expect_column_median_to_be_between", {"column": "dep_delay", "min_value": -3, "max_value": -1}),
    ("expect_column_min_to_be_between", {"column": "distance", "min_value": 80}),
    ("expect_column_max_to_be_between", {"column": "distance", "max_value": 5000}),
    ("expect_column_sum_to_be_between", {"column": "flight", "min_value": 1, "max_value": 10}),
    ("expect_column_stdev_to_be_between", {"column": "air_time", "min_value": 50, "max_value": 200}),
    ("expect_column_proportion_of_unique_values_to_be_between", {"column": "tailnum", "min_value": 0.9}),
    ("expect_column_distinct_values_to_be_in_set", {"column": "origin", "value_set": ["EWR", "JFK", "LGA"]}),
    ("expect_column_distinct_values_to_equal_set", {"column": "origin", "value_set": ["EWR", "HPN"]}),
    ("expect_table_row_count_to_equal", {"value": 720}),
    ("expect_table_column_count_to_equal", {"value": 20}),
    ("expect_table_column_count_to_be_between", {"min_value": 1, "max_value": 5}),
    ("expect_column_to_exist", {"column": "origin"}),
    ("expect_column_to_exist", {"column": "gate"}),
    ("expect_table_columns_to_match_ordered_list", {"column_list": ["year", "month"]}),
]


def _shipped() -> list[dict[str, Any]]:
    return list(json.loads(SUITE.read_text())["expectations"])


def _checks(entries: Sequence[dict[str, Any]]) -> tuple[Check, ...]:
    # All critical, so that the failing rows of each are told.
    made = tuple({**entry, "severity": "critical"} for entry in entries)
    return Suite("test.json", "test", made, {}).checks(suite_parameters([DAY], [700, 800, 900]))


def _rows(batch: Batch, label: str) -> list[int]:
    sql = f"SELECT row_id FROM failing WHERE list_contains(reasons, $${label}$$) ORDER BY row_id"
    return [row[0] for row in batch.all(sql)]


def _of_pandas(table: pa.Table, check: Check) -> tuple[bool, int | None, list[int]]:
    (answer,) = gx.on_pandas(table.to_pandas(), [check.expectation])
    assert not answer["error"]
    listed = answer["result"].get("unexpected_index_list") or []
    count = answer["result"].get("unexpected_count") if check.row_level else None
    return answer["success"], count, sorted(int(each["row_id"]) for each in listed)


@pytest.fixture(scope="module")
def bad_day() -> pa.Table:
    """A real day with rows planted to violate every row-level expectation, one of them delivered twice."""
    table = planted(day(DAY), PLANTED)
    twice = planted(table.slice(30, 1), {0: {"row_id": table.num_rows}})
    return pa.concat_tables([table, twice])


@pytest.fixture(scope="module")
def bad_file(bad_day: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parquet") / "day.parquet"
    pq.write_table(bad_day, path)
    return path


CASES = [
    *((f"{n}-{entry['type']}", entry) for n, entry in enumerate(_shipped())),
    *((f"more{n}-{kind}", {"type": kind, "kwargs": kwargs}) for n, (kind, kwargs) in enumerate(MORE)),
]


@pytest.mark.parametrize("entry", [entry for _, entry in CASES], ids=[name for name, _ in CASES])
def test_the_scan_says_what_the_pandas_engine_says(entry: dict[str, Any], bad_day: pa.Table) -> None:
    (check,) = _checks([entry])
    success, count, rows = _of_pandas(bad_day, check)
    with open_table(bad_day) as batch:
        assert not scan.plan([check], batch.columns).rest
        (verdict,) = run(batch, [check]).verdicts
        assert (verdict.success, verdict.unexpected) == (success, count)
        assert _rows(batch, check.label) == rows
    if check.row_level:
        assert [each["row_id"] for each in verdict.examples] == rows[: gx.EXAMPLES]


def test_every_row_level_expectation_of_the_shipped_suite_is_violated_by_a_planted_row(
    bad_day: pa.Table,
) -> None:
    checks = _checks(_shipped())
    with open_table(bad_day) as batch:
        verdicts = run(batch, checks).verdicts
    assert [each.check.label for each in verdicts if each.check.row_level and not each.unexpected] == []


def test_gx_on_duckdb_says_the_same_over_parquet_files(bad_day: pa.Table, bad_file: Path) -> None:
    checks = _checks(_shipped())
    with open_files([bad_file], bad_day.num_rows, bad_file.parent) as batch:
        scanned = run(batch, checks).verdicts
        on_duckdb = gx.on_duckdb(batch.save_views(), "batch", [check.expectation for check in checks])
    on_pandas = gx.on_pandas(bad_day.to_pandas(), [check.expectation for check in checks])
    seen = {
        check.label: (verdict.success, sql["success"], pandas["success"], sql["error"])
        for check, verdict, sql, pandas in zip(checks, scanned, on_duckdb, on_pandas, strict=True)
    }
    assert {label: each for label, each in seen.items() if len(set(each[:3])) > 1 or each[3]} == {}
    counts = [
        (verdict.unexpected, sql["result"].get("unexpected_count"))
        for verdict, sql in zip(scanned, on_duckdb, strict=True)
        if verdict.check.row_level
    ]
    # RE2 has no `$` before a last line break: GX's own SQL counts the row "BOS\n", Python does not.
    assert sum(ours != theirs for ours, theirs in counts) <= 1


def test_files_and_memory_give_the_same_failing_rows_and_reasons(bad_day: pa.Table, bad_file: Path) -> None:
    checks = _checks(_shipped())
    sql = "SELECT row_id, reasons FROM failing ORDER BY row_id"
    with open_table(bad_day) as batch:
        run(batch, checks)
        in_memory = batch.all(sql)
    with open_files([bad_file], bad_day.num_rows, bad_file.parent) as batch:
        run(batch, checks)
        assert batch.all(sql) == in_memory


def test_the_whole_year_gets_the_same_verdicts_and_failing_rows() -> None:
    parameters = {**suite_parameters(["2013-01-01"], []), "partition_months": list(range(1, 13))}
    parameters["partition_days"] = list(range(1, 32))
    checks = load_suite(SUITE).checks(parameters)
    answers = gx.on_pandas(year().to_pandas(), [check.expectation for check in checks])
    with open_table(year()) as batch:
        outcome = run(batch, checks)
        failing = [row[0] for row in batch.all("SELECT row_id FROM failing ORDER BY row_id")]
    for verdict, answer in zip(outcome.verdicts, answers, strict=True):
        assert verdict.success == answer["success"], verdict.check.label
        if verdict.check.row_level:
            assert verdict.unexpected == answer["result"]["unexpected_count"], verdict.check.label
    listed = {
        int(row["row_id"])
        for check, answer in zip(checks, answers, strict=True)
        if check.row_level and check.severity == "critical"
        for row in answer["result"].get("unexpected_index_list") or []
    }
    assert failing == sorted(listed)
    assert len(failing) == 718  # 717 diverted flights, and the hop from Newark to La Guardia of 27 July


OTHERS = [
    ("expect_column_values_to_be_increasing", {"column": "sched_dep_time"}),
    ("expect_column_values_to_match_regex", {"column": "dest", "regex": "^(?!BOS)"}),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["hour", "minute"], "sum_total": 20}),
    ("expect_column_most_common_value_to_be_in_set", {"column": "origin", "value_set": ["EWR"]}),
]


@pytest.mark.parametrize(("kind", "kwargs"), OTHERS, ids=[kind for kind, _ in OTHERS])
@pytest.mark.parametrize("large", [False, True], ids=["memory", "files"])
def test_what_the_scan_cannot_do_goes_to_gx_and_still_tells_its_rows(
    kind: str, kwargs: dict[str, Any], large: bool, bad_day: pa.Table, bad_file: Path
) -> None:
    (check,) = _checks([{"type": kind, "kwargs": kwargs}])
    success, count, rows = _of_pandas(bad_day, check)

    def judged(batch: Batch) -> tuple[Outcome, list[int]]:
        return run(batch, [check]), _rows(batch, check.label)

    if large:
        with open_files([bad_file], bad_day.num_rows, bad_file.parent) as batch:
            outcome, told = judged(batch)
    else:
        with open_table(bad_day) as batch:
            outcome, told = judged(batch)
    assert outcome.engine == ("scan+duckdb" if large else "scan+pandas")
    assert (outcome.verdicts[0].success, outcome.verdicts[0].unexpected) == (success, count)
    assert told == rows


def test_mostly_forgives_the_verdict_but_not_the_rows(bad_day: pa.Table) -> None:
    entry = {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {"column": "origin", "value_set": ["EWR", "JFK", "LGA"], "mostly": 0.9},
    }
    with open_table(bad_day) as batch:
        outcome = run(batch, _checks([entry]))
    assert outcome.verdicts[0].success
    assert (outcome.verdicts[0].unexpected, outcome.failing) == (1, 1)


def test_a_column_that_is_not_there_is_an_error_of_its_expectation_alone(bad_day: pa.Table) -> None:
    entries = [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "gate"}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "origin"}},
    ]
    with open_table(bad_day) as batch:
        gate, origin = run(batch, _checks(entries)).verdicts
    assert not gate.success
    assert "gate" in gate.error
    assert gate.decides_partition
    assert (origin.error, origin.unexpected) == ("", 1)


def test_rows_that_share_a_hash_but_not_their_values_are_unique(bad_day: pa.Table) -> None:
    (check,) = _checks([{"type": "expect_column_values_to_be_unique", "kwargs": {"column": "row_id"}}])
    with open_table(bad_day) as batch:
        planned = scan.plan([check], batch.columns)
        test = planned.rows[0]
        everything_collides = replace(test, unique_on=("row_id",))
        batch.all("CREATE MACRO hash(a) AS 1")
        try:
            settled = scan._settle_unique(batch, 0, everything_collides)
            assert batch.all(f"SELECT count(*) FROM batch WHERE {settled.fails}") == [(0,)]
        finally:
            batch.all("DROP MACRO hash")
