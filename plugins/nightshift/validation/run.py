"""Validate one partition of a pipeline: raw rows in; clean and quarantined rows, a report, a summary out."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nightshift.errors import PartitionAbsent
from nightshift.validation import profile, report, split
from nightshift.validation.batch import open_files, open_table
from nightshift.validation.engine import run
from nightshift.validation.parameters import recent_keys, suite_parameters
from nightshift.validation.suite import load_suite
from nightshift.validation.summary import Failure, ValidationSummary, example_text, report_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.manifest import Manifest
    from nightshift.lake.tables import Lake, LakeTable
    from nightshift.validation.batch import Batch
    from nightshift.validation.engine import Outcome, Verdict
    from nightshift.validation.suite import Suite

__all__ = ["Judged", "judged", "page_of", "rendered", "report_path", "validate_partition"]

log = logging.getLogger(__name__)
_SAMPLE_ROWS = 50


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
    suite, raw = load_suite(suite_file), lake.table("raw").snapshot()
    staging.mkdir(parents=True, exist_ok=True)
    with judged(pipeline, partition, lake=lake, raw=raw, suite=suite, staging=staging) as found:
        done = split.publish(found.batch, lake, partition, found.decision, staging)
        page = page_of(found, lake, done.rows, time.perf_counter() - started)
    summary = replace(page.summary, versions={"raw": raw.version, **done.versions})
    for kind, data in rendered(replace(page, summary=summary)).items():
        lake.write_file(report_path(partition, kind), data)
    _tell(summary)
    return summary


@dataclass(frozen=True, slots=True)
class Judged:
    """A partition, the verdicts on it and what they decide; ``recent`` are the rows of earlier ones."""

    pipeline: Pipeline
    partition: str
    suite: Suite
    batch: Batch
    outcome: Outcome
    decision: split.Decision
    recent: Mapping[str, int]
    parameters: Mapping[str, Any]


@contextmanager
def judged(
    pipeline: Pipeline, partition: str, *, lake: Lake, raw: Manifest, suite: Suite, staging: Path
) -> Iterator[Judged]:
    """Run the suite over ``partition``, and change nothing; the batch is open until the end of the block.

    :param raw: the snapshot of table ``raw`` that is judged.
    :raises PartitionAbsent: no raw rows.
    :raises ConfigError: the suite is wrong.
    """
    config, present = pipeline.validation, raw.rows_by_partition()
    if not present.get(partition):
        raise PartitionAbsent(f"{pipeline.pipeline} has no raw rows of {partition}", fix="ingest it first")
    recent = {key: present[key] for key in recent_keys(partition, present, config.recent_partitions)}
    parameters = suite_parameters([partition], list(recent.values()))
    checks = suite.checks(parameters)
    with _opened(lake.table("raw"), raw, partition, config.duckdb_above_rows, staging) as batch:
        outcome = run(batch, checks)
        decision = split.decide(outcome, batch.rows, config)
        yield Judged(pipeline, partition, suite, batch, outcome, decision, recent, parameters)


def page_of(found: Judged, lake: Lake, rows: split.Rows, seconds: float) -> report.Page:
    """What the report shows, and the summary in it, for a partition whose rows are where ``rows`` says."""
    batch, decision = found.batch, found.decision
    return report.Page(
        summary=_summary(found, lake, rows, seconds),
        reasons=decision.reasons,
        verdicts=found.outcome.verdicts,
        rows=split.quarantine_sample(batch, decision, _SAMPLE_ROWS),
        pictures=profile.draw(
            batch, lake, found.partition, found.recent, found.suite.meta.get("pictures", ())
        ),
        parameters=found.parameters,
        versions=_versions(),
    )


def rendered(page: report.Page) -> dict[str, bytes]:
    """The files of a report by their kind."""
    return {"json": report.to_json(page), "html": report.html(page)}


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("great-expectations", "duckdb")}


def _summary(found: Judged, lake: Lake, rows: split.Rows, seconds: float) -> ValidationSummary:
    return ValidationSummary(
        pipeline=found.pipeline.pipeline,
        partition=found.partition,
        status=found.decision.status,
        ingested=rows.ingested,
        clean=rows.clean,
        quarantined=rows.quarantined,
        failed=tuple(_failure(verdict) for verdict in split.failed(found.outcome)),
        reason="; ".join(found.decision.reasons),
        report=lake.location.child(report_path(found.partition)).uri,
        engine=found.outcome.engine,
        seconds=seconds,
        suite=found.suite.name,
    )


@contextmanager
def _opened(table: LakeTable, raw: Manifest, partition: str, above: int, staging: Path) -> Iterator[Batch]:
    """The raw rows: in memory when they are few, else as the table's own Parquet files."""
    rows = raw.rows_by_partition()[partition]
    if rows <= above:
        held = table.read([partition], version=raw.version)
        with open_table(held.drop_columns(["partition"])) as batch:
            yield batch
    else:
        with TemporaryDirectory(dir=staging, prefix="raw-") as folder:
            files = table.download(table.manifest([partition], version=raw.version), Path(folder))
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
