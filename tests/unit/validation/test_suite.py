from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.errors import ConfigError
from nightshift.validation.parameters import recent_keys, suite_parameters
from nightshift.validation.suite import Suite, load_suite
from tests.unit.validation.flights import SUITE

if TYPE_CHECKING:
    from pathlib import Path

PARAMETERS = suite_parameters(["2013-01-05"], [900, 950, 1000])


def _suite(**entry: Any) -> Suite:
    return Suite("flights.json", "flights", (entry,), {})


def test_the_shipped_suite_has_expectations_of_every_kind_and_severity() -> None:
    checks = load_suite(SUITE).checks(PARAMETERS)
    assert len(checks) >= 25
    assert {check.severity for check in checks} == {"critical", "warning", "info"}
    assert {check.row_level for check in checks} == {True, False}
    assert all(check.description for check in checks)
    assert len({check.label for check in checks}) == len(checks)


def test_a_label_names_columns_arguments_and_condition() -> None:
    condition = {"type": "nullity", "column": {"name": "dep_time"}, "is_null": True}
    kwargs = {"column": "arr_delay", "mostly": 0.9, "row_condition": condition}
    (check,) = _suite(type="expect_column_values_to_be_null", kwargs=kwargs).checks(PARAMETERS)
    assert check.label == "expect_column_values_to_be_null(arr_delay, where dep_time IS NULL)"


def test_parameters_are_filled_in_wherever_they_stand() -> None:
    suite = _suite(
        type="expect_column_values_to_be_in_set",
        kwargs={"column": "day", "value_set": [{"$PARAMETER": "recent_partitions"}, 7]},
    )
    (check,) = suite.checks(PARAMETERS)
    assert check.kwargs["value_set"] == [3, 7]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"type": "expect_column_values_to_be_nul", "kwargs": {"column": "day"}}, "_to_be_null'?"),
        (
            {
                "type": "expect_table_row_count_to_equal",
                "kwargs": {"value": {"$PARAMETER": "recent_row_min"}},
            },
            "did you mean 'recent_rows_min'?",
        ),
        (
            {"type": "expect_column_to_exist", "kwargs": {"column": "day"}, "severity": "fatal"},
            "one of critical",
        ),
        ({"type": "expect_column_values_to_not_be_null", "kwargs": {"colum": "day"}}, "colum"),
    ],
    ids=["type", "parameter", "severity", "argument"],
)
def test_a_wrong_entry_is_named_with_what_is_wrong(entry: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=r"flights\.json, expectation 1") as caught:
        _suite(**entry).checks(PARAMETERS)
    assert told in str(caught.value)


@pytest.mark.parametrize("text", [None, "{", '{"name": "x"}'], ids=["absent", "not json", "empty"])
def test_a_suite_file_that_cannot_be_used_is_named(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"suite suite\.json"):
        load_suite(path)


def test_row_bounds_come_from_the_median_of_recent_partitions() -> None:
    found = suite_parameters(["2013-01-05"], [900, 10, 1000, 950, 5000])
    assert (found["recent_rows_min"], found["recent_rows_max"]) == (475, 1426)


def test_nothing_is_unusual_before_three_partitions_are_known() -> None:
    found = suite_parameters(["2013-01-05"], [900, 950])
    assert (found["recent_rows_min"], found["recent_rows_max"]) == (1, None)


def test_only_earlier_partitions_within_the_span_are_recent() -> None:
    present = {"2013-01-01": 1, "2013-01-03": 1, "2013-01-05": 1, "2013-01-06": 1}
    assert recent_keys("2013-01-05", present, 2) == ["2013-01-03"]


def test_a_suite_is_plain_great_expectations_json() -> None:
    data = json.loads(SUITE.read_text())
    assert set(data) == {"name", "meta", "expectations"}
    assert {key for entry in data["expectations"] for key in entry} <= {
        "type",
        "kwargs",
        "severity",
        "description",
        "meta",
        "notes",
    }
