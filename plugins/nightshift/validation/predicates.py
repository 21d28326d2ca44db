"""Row-level expectations as DuckDB predicates: which rows are judged, and which of them fail.

The semantics are those of GX's pandas engine (its SQL engine differs for nulls in column pairs): a
comparison with a null is false, and nulls equal each other when rows are compared for uniqueness.
An expectation, or a row condition, that is not in the table compiles to None.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nightshift.validation.suite import Check

__all__ = ["ALL", "NONE", "RowTest", "compile_condition", "compile_row", "condition_text", "literal", "quote"]

ALL, NONE = "TRUE", "FALSE"


@dataclass(frozen=True, slots=True)
class RowTest:
    """SQL of one row-level expectation.

    :param domain: the rows it looks at (row condition and ``ignore_row_if``).
    :param nulls: for a column map, which rows of the domain are missing and so not judged.
    :param fails: which rows fail; complete in itself. Empty where ``unique_on`` says it.
    :param unique_on: the columns whose values no two judged rows may share.
    """

    domain: str
    nulls: str
    fails: str
    unique_on: tuple[str, ...] = ()


class _Unknown(Exception):
    """Not expressible here; GX's engines have to do it."""


def quote(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """A JSON value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"


def compile_row(check: Check) -> RowTest | None:
    """The SQL of a row-level check, or None when it is not in the table."""
    try:
        condition = compile_condition(check.kwargs.get("row_condition"))
        if check.type in _COLUMN:
            return _column_map(check, condition)
        if check.type in _PAIR:
            return _pair_map(check, condition)
        if check.type in _MULTI:
            return _multi_map(check, condition)
    except _Unknown:
        return None
    return None


def compile_condition(condition: Any) -> str:
    """A GX row condition as SQL.

    :raises _Unknown: for pandas or Spark expressions given as text.
    """
    if condition is None:
        return ALL
    kind = condition.get("type") if isinstance(condition, dict) else None
    if kind == "nullity":
        return f"{quote(condition['column']['name'])} IS {'' if condition['is_null'] else 'NOT '}NULL"
    if kind == "comparison":
        return _comparison(condition)
    if kind in ("and", "or"):
        parts = (f"({compile_condition(each)})" for each in condition["conditions"])
        return f" {kind.upper()} ".join(parts)
    raise _Unknown


def condition_text(condition: Any) -> str:
    """A row condition for people: SQL without the quotes, or as it is written."""
    try:
        return compile_condition(condition).replace('"', "")
    except _Unknown:
        return str(condition)


def _comparison(condition: Mapping[str, Any]) -> str:
    column, operator, parameter = (
        quote(condition["column"]["name"]),
        condition["operator"],
        condition["parameter"],
    )
    if operator in ("IN", "NOT_IN"):
        found = _in(column, parameter)
        return found if operator == "IN" else f"NOT {found}"
    if operator not in ("==", "!=", "<", "<=", ">", ">="):
        raise _Unknown
    return f"{column} {'=' if operator == '==' else operator} {literal(parameter)}"


def _in(column: str, values: Sequence[Any]) -> str:
    listed = [literal(value) for value in values if value is not None]
    return f"({column} IN ({', '.join(listed)}))" if listed else f"({column} <> {column})"


def _and(*parts: str) -> str:
    """A conjunction without the parts that are always true: every part costs a pass over the rows."""
    kept = [part for part in parts if part != ALL]
    return kept[0] if len(kept) == 1 else " AND ".join(f"({part})" for part in kept) or ALL


def _column_map(check: Check, condition: str) -> RowTest:
    """A test of one column; a null makes the comparison null, which counts as not failing."""
    column = quote(check.kwargs["column"])
    if check.type == "expect_column_values_to_not_be_null":
        return RowTest(condition, NONE, _and(condition, f"{column} IS NULL"))
    if check.type == "expect_column_values_to_be_null":
        return RowTest(condition, NONE, _and(condition, f"{column} IS NOT NULL"))
    nulls = _and(condition, f"{column} IS NULL")
    if check.type == "expect_column_values_to_be_unique":
        return RowTest(condition, nulls, "", (check.kwargs["column"],))
    holds = _COLUMN[check.type](column, check.kwargs)
    return RowTest(condition, nulls, _and(condition, f"NOT ({holds})"))


def _between(column: str, kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    parts = []
    if low is not None:
        parts.append(f"{column} {'>' if kwargs.get('strict_min') else '>='} {literal(low)}")
    if high is not None:
        parts.append(f"{column} {'<' if kwargs.get('strict_max') else '<='} {literal(high)}")
    if not parts:
        raise _Unknown
    return " AND ".join(parts)


def _regex(column: str, kwargs: Mapping[str, Any]) -> str:
    """Python's ``search`` as RE2's; anchored at both ends it is a full match, which is much faster.

    RE2 has no ``$`` that also matches before a last line break, as Python's does.
    """
    pattern, start, end = _checked(kwargs["regex"]), "^", "$"
    if pattern.startswith(start) and pattern.endswith(end) and "|" not in pattern:
        return f"regexp_full_match({column}::VARCHAR, {literal(pattern[1:-1] + chr(10) + '?')})"
    if pattern.endswith(end):
        pattern = f"(?:{pattern[:-1]})(?:\\n?\\z)" if "|" not in pattern else pattern[:-1] + "(?:\\n?\\z)"
    return f"regexp_matches({column}::VARCHAR, {literal(pattern)})"


def _checked(pattern: str) -> str:
    """The pattern, when RE2 reads it as Python does.

    :raises _Unknown: look-around, back-references, a ``$`` inside, Unicode classes.
    """
    strange = (
        "(?=",
        "(?!",
        "(?<",
        "(?P",
        "(?#",
        "(?(",
        "\\Z",
        "\\A",
        "\\d",
        "\\w",
        "\\s",
        "\\b",
        "\\D",
        "\\W",
        "\\S",
        "\\B",
        "(?a",
        "(?i",
        "(?m",
        "(?s",
        "(?x",
    )
    inner = pattern.removesuffix("$")
    if any(mark in pattern for mark in strange) or any(f"\\{digit}" in pattern for digit in "0123456789"):
        raise _Unknown
    if inner.endswith("\\") or "$" in inner:
        raise _Unknown
    return pattern


def _value_set(column: str, kwargs: Mapping[str, Any]) -> str:
    return f"({column} = {column})" if kwargs.get("value_set") is None else _in(column, kwargs["value_set"])


_COLUMN: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "expect_column_values_to_not_be_null": lambda column, kwargs: "",
    "expect_column_values_to_be_null": lambda column, kwargs: "",
    "expect_column_values_to_be_unique": lambda column, kwargs: "",
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _value_set,
    "expect_column_values_to_not_be_in_set": lambda column, kwargs: f"NOT {_in(column, kwargs['value_set'])}",
    "expect_column_values_to_match_regex": _regex,
    "expect_column_values_to_not_match_regex": lambda column, kwargs: f"NOT {_regex(column, kwargs)}",
    "expect_column_value_lengths_to_equal": lambda column, kwargs: (
        f"length({column}::VARCHAR) = {literal(kwargs['value'])}"
    ),
    "expect_column_value_lengths_to_be_between": lambda column, kwargs: _between(
        f"length({column}::VARCHAR)", kwargs
    ),
}


def _pair_map(check: Check, condition: str) -> RowTest:
    a, b = quote(check.kwargs["column_A"]), quote(check.kwargs["column_B"])
    domain = _ignoring(condition, (a, b), check.kwargs.get("ignore_row_if", "both_values_are_missing"))
    holds = _PAIR[check.type](a, b, check.kwargs)
    return RowTest(domain, NONE, _and(domain, f"NOT coalesce({holds}, FALSE)"))


_PAIR: dict[str, Callable[[str, str, Mapping[str, Any]], str]] = {
    "expect_column_pair_values_a_to_be_greater_than_b": lambda a, b, kwargs: (
        f"{a} {'>=' if kwargs.get('or_equal') else '>'} {b}"
    ),
    "expect_column_pair_values_to_be_equal": lambda a, b, kwargs: f"{a} = {b}",
}


def _multi_map(check: Check, condition: str) -> RowTest:
    names = tuple(check.kwargs["column_list"])
    columns = tuple(quote(name) for name in names)
    domain = _ignoring(condition, columns, check.kwargs.get("ignore_row_if", "all_values_are_missing"))
    if check.type == "expect_compound_columns_to_be_unique":
        return RowTest(domain, NONE, "", names)
    same = " OR ".join(f"{a} IS NOT DISTINCT FROM {b}" for a, b in combinations(columns, 2))
    return RowTest(domain, NONE, _and(domain, same))


_MULTI = ("expect_compound_columns_to_be_unique", "expect_select_column_values_to_be_unique_within_record")


def _ignoring(condition: str, columns: Sequence[str], ignore_row_if: str) -> str:
    """The rows that are left by ``ignore_row_if``."""
    present = [f"{column} IS NOT NULL" for column in columns]
    if ignore_row_if in ("both_values_are_missing", "all_values_are_missing"):
        return _and(condition, " OR ".join(present))
    if ignore_row_if in ("either_value_is_missing", "any_value_is_missing"):
        return _and(condition, " AND ".join(present))
    return condition
