"""From verdicts to tables: decide what a partition's verdicts mean, split its rows, and account for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nightshift.errors import AccountingError
from nightshift.validation import contents
from nightshift.validation.batch import ROW_ID
from nightshift.validation.predicates import literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.config.pipeline import ValidationConfig
    from nightshift.lake.manifest import Manifest
    from nightshift.lake.prepared import Prepared
    from nightshift.lake.tables import Lake
    from nightshift.validation.batch import Batch
    from nightshift.validation.engine import Outcome, Verdict
    from nightshift.validation.summary import Status

__all__ = [
    "TABLES",
    "Decision",
    "Published",
    "Rows",
    "Staged",
    "check",
    "decide",
    "failed",
    "is_accounted",
    "publish",
    "quarantine_sample",
    "snapshots",
    "stage",
]

TABLES = ("clean", "quarantine")


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

    @property
    def add_up(self) -> bool:
        """The promise: no row is lost, none is in both."""
        return self.clean + self.quarantined == self.ingested


@dataclass(frozen=True, slots=True)
class Published:
    """A partition that is split, in the lake; the versions of the tables, without those that never were."""

    rows: Rows
    versions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Staged:
    """A partition that is split, on local disk: its counts, and the rows of the tables that they change."""

    rows: Rows
    changes: Mapping[str, Prepared]


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


def snapshots(lake: Lake) -> dict[str, Manifest]:
    """Both tables as they are now."""
    return {name: lake.table(name).snapshot() for name in TABLES}


def stage(
    batch: Batch,
    lake: Lake,
    partition: str,
    decision: Decision,
    folder: Path,
    held: Mapping[str, Manifest],
) -> Staged:
    """Write both halves of the partition into ``folder``, as files that are fit for their tables.

    :param held: the :func:`snapshots` that they are compared with.
    :raises AccountingError: when clean + quarantined is not what was ingested.
    """
    sql = {
        "clean": _clean_sql(batch, none=decision.status == "blocked"),
        "quarantine": _quarantine_sql(batch, decision),
    }
    halves = {
        name: lake.table(name).prepare(partition, batch.stream(query), folder) for name, query in sql.items()
    }
    rows = Rows(batch.rows, halves["clean"].rows, halves["quarantine"].rows)
    check(partition, rows)
    # No new version for the same rows: what was trained on them keeps its fingerprint.
    changes = {
        name: half
        for name, half in halves.items()
        if not contents.holds(lake.table(name), held[name].only(partition), half, batch, folder)
    }
    return Staged(rows, changes)


def publish(batch: Batch, lake: Lake, partition: str, decision: Decision, scratch: Path) -> Published:
    """Write the partition into ``clean`` and ``quarantine``, and count what is there afterwards.

    The table that gains rows goes first: a crash in between leaves a row twice, never nowhere, and a rerun
    settles it.

    :raises AccountingError: when clean + quarantined is not what was ingested.
    """
    held = snapshots(lake)
    versions = {name: manifest.version for name, manifest in held.items() if manifest.version >= 0}
    with TemporaryDirectory(dir=scratch, prefix="split-") as folder:
        staged = stage(batch, lake, partition, decision, Path(folder), held)
        join_clean = held["quarantine"].only(partition).rows > staged.rows.quarantined
        for name in TABLES if join_clean else reversed(TABLES):
            if name in staged.changes:
                versions[name] = lake.table(name).replace_partition(partition, staged.changes[name])
    if not staged.changes:
        return Published(staged.rows, versions)
    rows = Rows(batch.rows, *(_stored(lake, name, partition) for name in TABLES))
    check(partition, rows)
    return Published(rows, versions)


def check(partition: str, rows: Rows) -> None:
    """
    :raises AccountingError: when clean + quarantined is not what was ingested.
    """
    if not rows.add_up:
        raise AccountingError(
            f"{partition}: {rows.ingested} rows ingested, but {rows.clean} clean + "
            f"{rows.quarantined} quarantined",
            fix="ingest and validate the partition again; it must not be used as it is",
        )


def is_accounted(
    batch: Batch, lake: Lake, partition: str, held: Mapping[str, Manifest], scratch: Path
) -> bool:
    """Whether ``clean`` and ``quarantine`` hold, together, exactly the rows of the batch."""
    clean, quarantined = (
        contents.of_stored(
            lake.table(name), held[name].only(partition), batch.columns, batch.connection, scratch
        )
        for name in TABLES
    )
    return clean + quarantined == contents.of_batch(batch)


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
