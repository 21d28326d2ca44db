"""Table-level expectations as DuckDB aggregates: the metrics that each of them judges, under GX's names.

An expectation that is not in the table compiles to None and goes to GX's own engines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.validation.predicates import literal, quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.validation.suite import Check

__all__ = ["TableTest", "compile_table"]

_MOMENTS = {
    "expect_column_mean_to_be_between": ("column.mean", "avg({})"),
    "expect_column_median_to_be_between": ("column.median", "median({})"),
    "expect_column_min_to_be_between": ("column.min", "min({})"),
    "expect_column_max_to_be_between": ("column.max", "max({})"),
    "expect_column_sum_to_be_between": ("column.sum", "sum({})"),
    "expect_column_stdev_to_be_between": ("column.standard_deviation", "stddev_samp({})"),
    "expect_column_unique_value_count_to_be_between": (
        "column.distinct_values.count",
        "count(DISTINCT {})",
    ),
    "expect_column_proportion_of_unique_values_to_be_between": (
        "column.unique_proportion",
        "count(DISTINCT {0}) / nullif(count({0}), 0)",
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": (
        "column.non_null_proportion",
        "count({}) / count(*)",
    ),
}
_SHAPE = {
    "expect_table_columns_to_match_set",
    "expect_table_columns_to_match_ordered_list",
    "expect_column_to_exist",
    "expect_table_column_count_to_equal",
    "expect_table_column_count_to_be_between",
}
_COUNTS = {"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"}
_DISTINCT = {
    "expect_column_distinct_values_to_be_in_set",
    "expect_column_distinct_values_to_contain_set",
    "expect_column_distinct_values_to_equal_set",
}
_DISTINCT_SHOWN = 20


@dataclass(frozen=True, slots=True)
class TableTest:
    """Metrics of one table-level expectation: some known from the schema, some to be selected."""

    known: Mapping[str, Any]
    select: Mapping[str, str]


def compile_table(check: Check, columns: Sequence[str]) -> TableTest | None:
    """The metrics of a table-level check, or None when it is not in the table."""
    if check.kwargs.get("row_condition") is not None:
        return None
    if check.type in _SHAPE:
        return TableTest({"table.columns": list(columns), "table.column_count": len(columns)}, {})
    if check.type in _COUNTS:
        return TableTest({}, {"table.row_count": "count(*)"})
    if check.type in _MOMENTS:
        name, expression = _MOMENTS[check.type]
        return TableTest({}, {name: expression.format(quote(check.kwargs["column"]))})
    if check.type in _DISTINCT:
        return _distinct(check)
    if check.type == "expect_column_quantile_values_to_be_between":
        return _quantiles(check)
    return None


def _quantiles(check: Check) -> TableTest | None:
    if check.kwargs.get("allow_relative_error"):
        return None
    listed = ", ".join(literal(each) for each in check.kwargs["quantile_ranges"]["quantiles"])
    column = quote(check.kwargs["column"])
    return TableTest({}, {"column.quantile_values": f"quantile_disc({column}, [{listed}])"})


def _distinct(check: Check) -> TableTest:
    """Values that are there and should not be, and the other way round."""
    column = quote(check.kwargs["column"])
    wanted = [value for value in check.kwargs["value_set"] if value is not None]
    listed = ", ".join(literal(value) for value in wanted)
    strange = f"count(DISTINCT {column}) FILTER ({column} NOT IN ({listed}))"
    sample = f"min(DISTINCT {column}, {_DISTINCT_SHOWN}) FILTER ({column} NOT IN ({listed}))"
    absent = " + ".join(f"(count(*) FILTER ({column} = {literal(each)}) = 0)::INT" for each in wanted)
    missing = ", ".join(
        f"CASE WHEN count(*) FILTER ({column} = {literal(each)}) = 0 THEN {literal(str(each))} END"
        for each in wanted
    )
    return TableTest(
        {},
        {
            "column.distinct_values.not_in_set.count": strange,
            "column.distinct_values.not_in_set": sample,
            "column.distinct_values.missing_from_column.count": absent,
            "column.distinct_values.missing_from_column": f"list_filter([{missing}], x -> x IS NOT NULL)",
        },
    )
