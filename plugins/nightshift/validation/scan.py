"""One scan: DuckDB counts what every expectation needs, GX's own expectations decide on the counts.

The metrics carry GX's names and go to GX's unmodified ``_validate`` methods, so the verdicts (``mostly``,
strict bounds, vacuous truth) are GX's; only its per-metric engine is left out, which costs a hundred
times the scan on a small partition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nightshift.validation import gx
from nightshift.validation.aggregates import TableTest, compile_table
from nightshift.validation.batch import ROW_ID
from nightshift.validation.predicates import ALL, NONE, RowTest, compile_row, quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.validation.batch import Batch
    from nightshift.validation.suite import Check

__all__ = ["Counted", "Plan", "Selection", "count", "examples", "plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which checks the scan can do; ``rest`` is for GX's engines."""

    rows: Mapping[int, RowTest]
    tables: Mapping[int, TableTest]
    rest: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """One check's metrics, and for a row-level one its counts and its final predicate."""

    metrics: Mapping[str, Any]
    examined: int | None = None
    unexpected: int | None = None
    fails: str = ""


class Selection:
    """Expressions of one SELECT; an expression asked for twice is computed once."""

    def __init__(self) -> None:
        self._aliases: dict[str, str] = {}

    def add(self, expression: str) -> str:
        """The alias of an expression."""
        return self._aliases.setdefault(expression, f"m{len(self._aliases)}")

    def sql(self, source: str) -> str:
        """The whole statement."""
        listed = ", ".join(f"{expression} AS {alias}" for expression, alias in self._aliases.items())
        return f"SELECT {listed} FROM {source}"


def plan(checks: Sequence[Check], columns: Sequence[str]) -> Plan:
    """Sort checks by who does them; one on a column that is not there is GX's to complain about."""
    rows: dict[int, RowTest] = {}
    tables: dict[int, TableTest] = {}
    rest: list[Check] = []
    for check in checks:
        table_test = None if check.row_level else compile_table(check, columns)
        row_test = compile_row(check) if check.row_level else None
        if not _present(check, columns) and not (table_test and table_test.known):
            rest.append(check)
        elif row_test is not None:
            rows[check.index] = row_test
        elif table_test is not None:
            tables[check.index] = table_test
        else:
            rest.append(check)
    return Plan(rows, tables, tuple(rest))


def _present(check: Check, columns: Sequence[str]) -> bool:
    return set(check.columns) | _condition_columns(check.kwargs.get("row_condition")) <= set(columns)


def _condition_columns(condition: Any) -> set[str]:
    if not isinstance(condition, dict):
        return set()
    own = {condition["column"]["name"]} if "column" in condition else set()
    return own.union(*(_condition_columns(each) for each in condition.get("conditions", ())))


def count(batch: Batch, checks: Sequence[Check], planned: Plan) -> dict[int, Counted]:
    """The metrics of every planned check, by its index: one scan, and one per uniqueness."""
    by_index = {check.index: check for check in checks}
    tests = {index: _settle_unique(batch, index, test) for index, test in planned.rows.items()}
    selection = Selection()
    total = selection.add("count(*)")
    asked = {
        index: {
            "domain": total if test.domain == ALL else selection.add(_filtered(test.domain)),
            "nulls": None if test.nulls == NONE else selection.add(_filtered(test.nulls)),
            "fails": None if test.fails == NONE else selection.add(_filtered(test.fails)),
        }
        for index, test in tests.items()
    }
    wanted = {
        index: {name: selection.add(expression) for name, expression in test.select.items()}
        for index, test in planned.tables.items()
    }
    values = batch.one(selection.sql("batch"))
    counted = {
        index: _row_metrics(
            by_index[index],
            tests[index],
            {key: values[alias] if alias else 0 for key, alias in aliases.items()},
        )
        for index, aliases in asked.items()
    }
    for index, names in wanted.items():
        found = {name: values[alias] for name, alias in names.items()}
        sampled = _samples(batch, planned.tables[index], found)
        counted[index] = Counted({**planned.tables[index].known, **found, **sampled})
    return counted


def _samples(batch: Batch, test: TableTest, found: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Values behind a count that is not zero, for the few expectations that show them."""
    return {
        name: [row[0] for row in batch.all(sql)] if found[f"{name}.count"] else []
        for name, sql in test.samples.items()
    }


def _filtered(predicate: str) -> str:
    return f"count_if({predicate})"


def _row_metrics(check: Check, test: RowTest, found: Mapping[str, int]) -> Counted:
    metric = check.expectation.map_metric
    metrics = {
        "table.row_count": found["domain"],
        "column_values.nonnull.unexpected_count": found["nulls"],
        f"{metric}.filtered_row_count": found["domain"],
        f"{metric}.unexpected_count": found["fails"],
    }
    return Counted(metrics, found["domain"] - found["nulls"], found["fails"], test.fails)


def _settle_unique(batch: Batch, index: int, test: RowTest) -> RowTest:
    """A uniqueness test with its failing rows in a table of their own, as a predicate.

    Rows are grouped by a 64-bit hash of their values first: eight bytes a row, whatever the columns.
    Only rows whose hash is shared are then compared value by value, so a collision changes nothing.
    """
    if not test.unique_on:
        return test
    columns = ", ".join(quote(name) for name in test.unique_on)
    judged = f"({test.domain}) AND NOT ({test.nulls})"
    batch.all(
        f"CREATE OR REPLACE TEMP TABLE shared_{index} AS "
        f"SELECT hash({columns}) AS h FROM batch WHERE {judged} GROUP BY h HAVING count(*) > 1"
    )
    if not batch.all(f"SELECT 1 FROM shared_{index} LIMIT 1"):
        return replace(test, fails=NONE)
    batch.all(
        f"CREATE OR REPLACE TEMP TABLE fails_{index} AS SELECT {ROW_ID} FROM ("
        f"SELECT {ROW_ID}, count(*) OVER (PARTITION BY {columns}) AS n FROM batch "
        f"WHERE {judged} AND hash({columns}) IN (SELECT h FROM shared_{index})) WHERE n > 1"
    )
    return replace(test, fails=f"{ROW_ID} IN (SELECT {ROW_ID} FROM fails_{index})")


def examples(batch: Batch, check: Check, fails: str) -> list[dict[str, Any]]:
    """The first failing rows of a check: their ids and the values it judged.

    DuckDB keeps the order of the files, so that a plain scan stops where there are enough; a look into a
    table of failing rows does not.
    """
    names = [ROW_ID, *(name for name in dict.fromkeys(check.columns) if name != ROW_ID)]
    listed = ", ".join(quote(name) for name in names)
    order = f"ORDER BY {ROW_ID} " if fails.startswith(f"{ROW_ID} IN (SELECT") else ""
    rows = batch.all(f"SELECT {listed} FROM batch WHERE {fails} {order}LIMIT {gx.EXAMPLES}")
    return [dict(zip(names, row, strict=True)) for row in rows]
