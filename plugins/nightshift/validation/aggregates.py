"""Table-level expectations as DuckDB aggregates: the metrics that each of them judges, under GX's names.

An expectation that is not in the table compiles to None and goes to GX's own engines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
_SHOWN = 20
_COUNTS = {"expect_table_row_count_to_be_between", "expect_table_row_count_to_equal"}
_DISTINCT = {
    "expect_column_distinct_values_to_be_in_set",
    "expect_column_distinct_values_to_contain_set",
    "expect_column_distinct_values_to_equal_set",
}


@dataclass(frozen=True, slots=True)
class TableTest:
    """Metrics of one table-level expectation.

    :param known: those the schema tells.
    :param select: expressions of the one scan.
    :param samples: queries that are worth running only when the metric ``<name>.count`` is not zero.
    """

    known: Mapping[str, Any]
    select: Mapping[str, str]
    samples: Mapping[str, str] = field(default_factory=dict)


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
    """How many values are there that should not be, and how many are not there that should."""
    column = quote(check.kwargs["column"])
    wanted = [literal(value) for value in check.kwargs["value_set"] if value is not None]
    select: dict[str, str] = {}
    samples: dict[str, str] = {}
    if "contain" not in check.type:
        name = "column.distinct_values.not_in_set"
        strange = f"{column} NOT IN ({', '.join(wanted)})" if wanted else f"{column} IS NOT NULL"
        select[f"{name}.count"] = f"count(DISTINCT {column}) FILTER ({strange})"
        samples[name] = f"SELECT DISTINCT {column} FROM batch WHERE {strange} ORDER BY 1 LIMIT {_SHOWN}"
    if "be_in_set" not in check.type:
        name = "column.distinct_values.missing_from_column"
        absent = (f"(NOT coalesce(bool_or({column} = {each}), FALSE))::INT" for each in wanted)
        select[f"{name}.count"] = " + ".join(absent) or "0"
        there = f"(SELECT {column} FROM batch WHERE {column} IS NOT NULL)"
        samples[name] = (
            f"SELECT v FROM unnest([{', '.join(wanted)}]) t(v) WHERE v NOT IN {there} LIMIT {_SHOWN}"
        )
    return TableTest({}, select, samples)
