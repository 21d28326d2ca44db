"""From verdicts to tables: decide what a partition's verdicts mean, split its rows, and account for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.errors import AccountingError
from nightshift.validation.batch import ROW_ID
from nightshift.validation.predicates import literal

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from nightshift.config.pipeline import ValidationConfig
    from nightshift.lake.tables import Lake
    from nightshift.validation.batch import Batch
    from nightshift.validation.engine import Outcome, Verdict
    from nightshift.validation.summary import Status

__all__ = ["Decision", "Rows", "decide", "failed", "publish", "quarantine_sample"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a partition; ``reasons`` are why it is blocked."""

    status: Status
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the rows of a partition are."""

    ingested: int
    clean: int
    quarantined: int


def decide(outcome: Outcome, rows: int, config: ValidationConfig) -> Decision:
    """Blocked by a critical table-level failure or by the budget; warned by less; else passed.

    A critical expectation that could not be evaluated blocks like a table-level one: nobody knows its rows.
    """
    reasons = [
        f"{verdict.check.label}{f' could not be evaluated: {verdict.error}' if verdict.error else ''}"
        for verdict in outcome.verdicts
        if not verdict.success and verdict.check.severity == "critical" and verdict.decides_partition
    ]
    share = outcome.failing / rows
    if share > config.max_fraction:
        reasons.append(
            f"{outcome.failing} of {rows} rows ({share:.1%}) to quarantine, {config.max_fraction:.1%} allowed"
        )
    if reasons:
        return Decision("blocked", tuple(reasons))
    warned = any(not each.success and each.check.severity == "warning" for each in outcome.verdicts)
    return Decision("warned" if warned or share > config.warn_fraction else "passed")


def publish(batch: Batch, lake: Lake, partition: str, decision: Decision, scratch: Path) -> Rows:
    """Write the partition into ``clean`` and ``quarantine``, and count what is there afterwards.

    Quarantine goes first: a crash in between leaves a row twice, never nowhere, and a rerun settles it.

    :raises AccountingError: when clean + quarantined is not what was ingested.
    """
    blocked = decision.status == "blocked"
    tables = {"quarantine": _quarantine_sql(batch, decision), "clean": _clean_sql(batch, none=blocked)}
    for name, sql in tables.items():
        rows: pa.Table | pa.RecordBatchReader = batch.stream(sql)
        if batch.table is not None:
            rows = rows.read_all()
            if _is_there(lake, name, partition, rows):
                continue  # no new version: what was trained on these rows keeps its fingerprint
        lake.table(name).replace_partition(partition, rows, scratch=scratch)
    clean, quarantined = (_stored(lake, name, partition) for name in ("clean", "quarantine"))
    if clean + quarantined != batch.rows:
        raise AccountingError(
            f"{partition}: {batch.rows} rows ingested, but {clean} clean + {quarantined} quarantined",
            fix="ingest and validate the partition again; it must not be used as it is",
        )
    return Rows(batch.rows, clean, quarantined)


def _is_there(lake: Lake, name: str, partition: str, rows: pa.Table) -> bool:
    """Whether the table holds exactly these rows for the partition already."""
    table = lake.table(name)
    if not table.exists() or _stored(lake, name, partition) != len(rows):
        return False
    stored = table.read([partition])
    names = [column for column in stored.column_names if column in rows.column_names]
    return bool(rows.select(names).cast(stored.select(names).schema).equals(stored.select(names)))


def _stored(lake: Lake, name: str, partition: str) -> int:
    stats = lake.table(name).partitions().get(partition)
    return stats.rows if stats else 0


def _clean_sql(batch: Batch, *, none: bool) -> str:
    where = "FALSE" if none else f"{ROW_ID} NOT IN (SELECT {ROW_ID} FROM failing)"
    return f"SELECT * FROM source WHERE {where}{_order(batch)}"


def _quarantine_sql(batch: Batch, decision: Decision) -> str:
    """Failing rows with their reasons; all rows, with the partition's reasons added, when it is blocked."""
    if decision.status != "blocked":
        return f"SELECT source.*, failing.reasons FROM source JOIN failing USING ({ROW_ID}){_order(batch)}"
    added = ", ".join(literal(f"partition: {reason}") for reason in decision.reasons)
    return (
        f"SELECT source.*, list_concat(coalesce(failing.reasons, []), [{added}]) AS reasons"
        f" FROM source LEFT JOIN failing USING ({ROW_ID}){_order(batch)}"
    )


def _order(batch: Batch) -> str:
    """Small partitions keep their order; sorting a large one would cost more than validating it."""
    return f" ORDER BY {ROW_ID}" if batch.table is not None else ""


def quarantine_sample(batch: Batch, decision: Decision, limit: int) -> list[dict[str, Any]]:
    """The first rows that go to quarantine, for the report; those with reasons of their own come first."""
    order = f"ORDER BY (failing.reasons IS NULL), {ROW_ID}"
    kind = "LEFT JOIN" if decision.status == "blocked" else "JOIN"
    sql = (
        f"SELECT source.*, failing.reasons FROM source {kind} failing USING ({ROW_ID}) {order} LIMIT {limit}"
    )
    return list(batch.stream(sql).read_all().to_pylist())


def failed(outcome: Outcome) -> list[Verdict]:
    """Verdicts that did not hold, the gravest first."""
    rank = {"critical": 0, "warning": 1, "info": 2}
    bad = [verdict for verdict in outcome.verdicts if not verdict.success]
    return sorted(bad, key=lambda verdict: (rank[verdict.check.severity], verdict.check.index))
