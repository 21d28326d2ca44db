"""Validate one partition of a pipeline: raw rows in; clean and quarantined rows, a report, a summary out."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nightshift.errors import PartitionAbsent
from nightshift.validation import profile, report, split
from nightshift.validation.batch import open_files, open_table
from nightshift.validation.engine import run
from nightshift.validation.parameters import recent_keys, suite_parameters
from nightshift.validation.suite import load_suite
from nightshift.validation.summary import Failure, ValidationSummary, example_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.tables import Lake, LakeTable
    from nightshift.validation.batch import Batch
    from nightshift.validation.engine import Outcome, Verdict
    from nightshift.validation.suite import Suite

__all__ = ["report_path", "validate_partition"]

log = logging.getLogger(__name__)
_SAMPLE_ROWS = 50


def report_path(partition: str, kind: str = "html") -> str:
    """Where a partition's report lies in the lake of its pipeline."""
    return f"reports/{partition}.{kind}"


def validate_partition(
    pipeline: Pipeline, partition: str, *, lake: Lake, suite_file: Path, staging: Path
) -> ValidationSummary:
    """Run the suite over ``partition`` of table ``raw``; write ``clean``, ``quarantine`` and the report.

    A rerun replaces what an earlier one wrote. When the partition is blocked, all its rows are in
    quarantine and none in clean, and the summary says so; ``summary.raise_if_blocked()`` raises.

    :param suite_file: the suite's JSON.
    :param staging: local folder for what does not fit into memory.
    :raises PartitionAbsent: no raw rows.
    :raises ConfigError: the suite is wrong.
    :raises AccountingError: clean + quarantined is not what was ingested.
    """
    started = time.perf_counter()
    config, raw, suite = pipeline.validation, lake.table("raw"), load_suite(suite_file)
    present = {key: stats.rows for key, stats in raw.partitions().items()}
    if not present.get(partition):
        raise PartitionAbsent(f"{pipeline.pipeline} has no raw rows of {partition}", fix="ingest it first")
    recent = {key: present[key] for key in recent_keys(partition, present, config.recent_partitions)}
    parameters = suite_parameters([partition], list(recent.values()))
    checks = suite.checks(parameters)
    staging.mkdir(parents=True, exist_ok=True)
    with _opened(raw, partition, present[partition], config.duckdb_above_rows, staging) as batch:
        outcome = run(batch, checks)
        decision = split.decide(outcome, batch.rows, config)
        rows = split.publish(batch, lake, partition, decision, staging)
        seconds = time.perf_counter() - started
        summary = _summary(pipeline.pipeline, partition, suite, lake, outcome, decision, rows, seconds)
        page = report.Page(
            summary=summary,
            reasons=decision.reasons,
            verdicts=outcome.verdicts,
            rows=split.quarantine_sample(batch, decision, _SAMPLE_ROWS),
            pictures=profile.draw(batch, lake, partition, recent, suite.meta.get("pictures", ())),
            parameters=parameters,
            versions=_versions(),
        )
    lake.write_file(report_path(partition, "json"), report.to_json(page))
    lake.write_file(report_path(partition), report.html(page))
    _tell(summary)
    return summary


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("great-expectations", "duckdb")}


def _summary(
    pipeline: str,
    partition: str,
    suite: Suite,
    lake: Lake,
    outcome: Outcome,
    decision: split.Decision,
    rows: split.Rows,
    seconds: float,
) -> ValidationSummary:
    return ValidationSummary(
        pipeline=pipeline,
        partition=partition,
        status=decision.status,
        ingested=rows.ingested,
        clean=rows.clean,
        quarantined=rows.quarantined,
        failed=tuple(_failure(verdict) for verdict in split.failed(outcome)),
        reason="; ".join(decision.reasons),
        report=lake.location.child(report_path(partition)).uri,
        engine=outcome.engine,
        seconds=seconds,
        suite=suite.name,
    )


@contextmanager
def _opened(raw: LakeTable, partition: str, rows: int, above: int, staging: Path) -> Iterator[Batch]:
    """The raw rows: in memory when they are few, else as the table's own Parquet files."""
    if rows <= above:
        table = raw.read([partition])
        with open_table(table.drop_columns(["partition"])) as batch:
            yield batch
    else:
        with TemporaryDirectory(dir=staging, prefix="raw-") as folder:
            files = raw.download(raw.manifest([partition]), Path(folder))
            with open_files(files, rows, staging) as batch:
                yield batch


def _failure(verdict: Verdict) -> Failure:
    check = verdict.check
    return Failure(
        type=check.type,
        column=", ".join(check.columns),
        severity=check.severity,
        row_level=check.row_level,
        unexpected=verdict.unexpected,
        observed=verdict.error or ("" if verdict.observed is None else str(verdict.observed)),
        examples=tuple(example_text(each) for each in verdict.examples[:5]),
    )


def _tell(summary: ValidationSummary) -> None:
    log.info(
        "validated %s %s: %s, %s rows, %s clean, %s quarantined, report %s",
        summary.pipeline,
        summary.partition,
        summary.status,
        summary.ingested,
        summary.clean,
        summary.quarantined,
        summary.report,
    )
    for each in summary.failed:
        log.warning("%s: %s", each.severity, each.sentence())
