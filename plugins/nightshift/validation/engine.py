"""Run a suite over a batch: one scan for what compiles, GX's pandas or DuckDB engine for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.validation import gx, scan
from nightshift.validation.batch import ROW_ID
from nightshift.validation.predicates import literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.validation.batch import Batch
    from nightshift.validation.suite import Check

__all__ = ["Outcome", "Verdict", "run"]

_DIFFERENCES = {"missing": "partial_missing_list", "unexpected": "partial_unexpected_list"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one check.

    :param unexpected: failing rows of a row-level check, whatever ``mostly`` forgives; else None.
    :param examined: rows it judged (not the missing ones).
    :param observed: what a table-level check saw.
    :param error: why it could not be evaluated, if so.
    """

    check: Check
    success: bool
    unexpected: int | None = None
    examined: int | None = None
    observed: Any = None
    examples: tuple[Mapping[str, Any], ...] = ()
    error: str = ""

    @property
    def decides_partition(self) -> bool:
        """Whether its failure is the whole partition's: table-level, or it could not tell the rows."""
        return not self.check.row_level or bool(self.error)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Every verdict in suite order, and how many rows a critical row-level check failed.

    Those rows are in the batch's temporary table ``failing`` (row_id, reasons).
    """

    verdicts: tuple[Verdict, ...]
    failing: int
    engine: str


def run(batch: Batch, checks: Sequence[Check]) -> Outcome:
    """Evaluate ``checks`` and put the rows to quarantine into the table ``failing``."""
    planned = scan.plan(checks, batch.columns)
    counted = scan.count(batch, checks, planned)
    verdicts: dict[int, Verdict] = {}
    fails: dict[int, str] = {}
    for check in checks:
        if check.index in counted:
            verdicts[check.index] = _judge(batch, check, counted[check.index])
            fails[check.index] = counted[check.index].fails
    for verdict, predicate in _by_gx(batch, planned.rest):
        verdicts[verdict.check.index] = verdict
        fails[verdict.check.index] = predicate
    ordered = tuple(verdicts[check.index] for check in checks)
    failing = _collect(batch, ordered, fails)
    return Outcome(ordered, failing, _engine(batch, planned))


def _engine(batch: Batch, planned: scan.Plan) -> str:
    if not planned.rest:
        return "scan"
    return "scan+pandas" if batch.table is not None else "scan+duckdb"


def _judge(batch: Batch, check: Check, counted: scan.Counted) -> Verdict:
    shown: list[dict[str, Any]] = []
    if counted.unexpected:
        shown = scan.examples(batch, check, counted.fails)
    answer = gx.verdict(check.expectation, counted.metrics)
    return Verdict(
        check=check,
        success=answer["success"],
        unexpected=counted.unexpected,
        examined=counted.examined,
        observed=_observed(answer["result"]),
        examples=tuple(shown),
    )


def _observed(result: Mapping[str, Any]) -> Any:
    """The observed value; where GX says what differs, that."""
    differs = (result.get("details") or {}).get("mismatched")
    if differs:
        return {"mismatched": differs}
    lists = {name: result[key] for name, key in _DIFFERENCES.items() if result.get(key)}
    return lists or result.get("observed_value")


def _by_gx(batch: Batch, rest: Sequence[Check]) -> list[tuple[Verdict, str]]:
    """Checks by GX's own engines: row-level ones on pandas, for only pandas tells every failing row."""
    if not rest:
        return []
    on_pandas = [check for check in rest if check.row_level or batch.table is not None]
    on_duckdb = [check for check in rest if check not in on_pandas]
    found: list[tuple[Verdict, str]] = []
    if on_pandas:
        frame = batch.frame(_columns(batch, on_pandas))
        results = gx.on_pandas(frame, [check.expectation for check in on_pandas])
        found += [_pandas_verdict(batch, *pair) for pair in zip(on_pandas, results, strict=True)]
    if on_duckdb:
        results = gx.on_duckdb(batch.save_views(), "batch", [check.expectation for check in on_duckdb])
        found += [(_verdict(check, each), "") for check, each in zip(on_duckdb, results, strict=True)]
    return found


def _columns(batch: Batch, checks: Sequence[Check]) -> list[str]:
    """What pandas needs: everything of a small batch, the judged columns alone of a large one."""
    conditions = [check.kwargs.get("row_condition") for check in checks]
    if batch.table is not None or any(conditions):
        return list(batch.columns)
    wanted = {name for check in checks for name in check.columns} | {ROW_ID}
    return [name for name in batch.columns if name in wanted]


def _verdict(check: Check, answer: Mapping[str, Any]) -> Verdict:
    result = answer["result"]
    missing = result.get("missing_count") or 0
    element = result.get("element_count")
    return Verdict(
        check=check,
        success=answer["success"] and not answer["error"],
        unexpected=result.get("unexpected_count") if check.row_level else None,
        examined=None if element is None else element - missing,
        observed=_observed(result),
        examples=tuple(_as_dict(check, each) for each in (result.get("partial_unexpected_list") or [])),
        error=answer["error"],
    )


def _as_dict(check: Check, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    values = value if isinstance(value, tuple) else (value,)
    return dict(zip(check.columns or ("value",), values, strict=False))


def _pandas_verdict(batch: Batch, check: Check, answer: Mapping[str, Any]) -> tuple[Verdict, str]:
    """A verdict of GX's pandas engine, with its failing rows put into a table of their own."""
    listed = answer["result"].get("unexpected_index_list") or []
    predicate = "FALSE"
    if listed:
        ids = sorted(int(each[ROW_ID]) for each in listed)
        batch.all(f"CREATE OR REPLACE TEMP TABLE fails_{check.index} ({ROW_ID} BIGINT)")
        batch.connection.execute(f"INSERT INTO fails_{check.index} SELECT unnest($1::BIGINT[])", [ids])
        predicate = f"{ROW_ID} IN (SELECT {ROW_ID} FROM fails_{check.index})"
    return _verdict(check, answer), predicate


def _collect(batch: Batch, verdicts: Sequence[Verdict], fails: Mapping[int, str]) -> int:
    """Fill ``failing``: every row that a critical row-level check rejects, with all its reasons."""
    blamed = [
        (verdict.check.label, fails[verdict.check.index])
        for verdict in verdicts
        if verdict.check.severity == "critical" and verdict.check.row_level and verdict.unexpected
    ]
    if not blamed:
        batch.all(f"CREATE OR REPLACE TEMP TABLE failing ({ROW_ID} BIGINT, reasons VARCHAR[])")
        return 0
    reasons = ", ".join(f"CASE WHEN {each} THEN {literal(label)} END" for label, each in blamed)
    any_of = " OR ".join(f"({each})" for _, each in blamed)
    batch.all(
        f"CREATE OR REPLACE TEMP TABLE failing AS SELECT {ROW_ID}, "
        f"list_filter([{reasons}], x -> x IS NOT NULL) AS reasons FROM batch WHERE {any_of}"
    )
    return int(batch.all("SELECT count(*) FROM failing")[0][0])
