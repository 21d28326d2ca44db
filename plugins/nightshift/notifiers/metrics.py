"""Job states, costs, rows and verdicts as Airflow metrics, to whatever ``[metrics]`` of airflow.cfg names.

The names and tags are in docs/metrics.md. Nothing here raises: a metric never fails the task that tells it.
To be called in a task's process, where Airflow has set up its metrics; a trigger has none.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from nightshift.platforms.base import JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.platforms.base import JobRef, JobResult, JobStatus

__all__ = [
    "NAMES",
    "catalog_failed",
    "endpoints_unwanted",
    "gate_decided",
    "job_ended",
    "job_found",
    "orphan_stopped",
    "partition_validated",
    "predictions_published",
]

log = logging.getLogger(__name__)

NAMES = (
    "nightshift.job.submitted",
    "nightshift.job.adopted",
    "nightshift.job.succeeded",
    "nightshift.job.failed",
    "nightshift.job.stopped",
    "nightshift.job.seconds",
    "nightshift.job.billable_seconds",
    "nightshift.job.cost_usd",
    "nightshift.job.spot_saved_usd",
    "nightshift.partitions.clean",
    "nightshift.partitions.quarantined",
    "nightshift.gate.verdict",
    "nightshift.orphans.stopped",
    "nightshift.predictions.rows",
    "nightshift.catalog.failed",
    "nightshift.endpoints.unwanted_usd_per_hour",
)
"""Every metric there is; Airflow puts its own prefix (``airflow.``) before it."""


def job_found(pipeline: str, ref: JobRef, kind: str, *, submitted: bool) -> None:
    """A task has its job: one that it submitted, or one that was there and is adopted."""
    word = "submitted" if submitted else "adopted"
    _count(f"nightshift.job.{word}", tags=_job(pipeline, ref, kind))


def job_ended(pipeline: str, ref: JobRef, kind: str, status: JobStatus, result: JobResult) -> None:
    """How a job ended and what it cost; to be told once a job, however often its end is looked at."""
    tags = _job(pipeline, ref, kind)
    why = {"failure": str(status.failure)} if status.failure and status.state is JobState.FAILED else {}
    _count(f"nightshift.job.{status.state}", tags={**tags, **why})
    _gauge("nightshift.job.seconds", result.seconds, tags=tags)
    _count("nightshift.job.billable_seconds", result.billable_seconds, tags=tags)
    _count("nightshift.job.cost_usd", result.cost_usd, tags=tags)
    _count("nightshift.job.spot_saved_usd", result.saved_usd, tags=tags)


def partition_validated(pipeline: str, clean: int, quarantined: int) -> None:
    """How many rows of the partition that was judged last are clean, and how many set apart."""
    tags = {"pipeline": pipeline}
    _gauge("nightshift.partitions.clean", clean, tags=tags)
    _gauge("nightshift.partitions.quarantined", quarantined, tags=tags)


def gate_decided(pipeline: str, verdict: str) -> None:
    """A decision about the champion is in the ledger."""
    _count("nightshift.gate.verdict", tags={"pipeline": pipeline, "verdict": verdict})


def orphan_stopped(pipeline: str, platform: str) -> None:
    """The reaper has stopped a job that no task waited for."""
    _count("nightshift.orphans.stopped", tags={"pipeline": pipeline, "platform": platform})


def predictions_published(pipeline: str, rows: int) -> None:
    """How many predictions the partition has that was published last."""
    _gauge("nightshift.predictions.rows", rows, tags={"pipeline": pipeline})


def catalog_failed(pipeline: str) -> None:
    """The catalog could not be brought into step with tables that a task has written."""
    _count("nightshift.catalog.failed", tags={"pipeline": pipeline})


def endpoints_unwanted(platform: str, usd_per_hour: float) -> None:
    """What endpoints cost that no pipeline file wants, as long as they are there."""
    _gauge("nightshift.endpoints.unwanted_usd_per_hour", usd_per_hour, tags={"platform": platform})


def _job(pipeline: str, ref: JobRef, kind: str) -> dict[str, str]:
    return {"pipeline": pipeline, "platform": ref.platform, "kind": kind}


def _count(name: str, by: float = 1, *, tags: Mapping[str, str]) -> None:
    """Airflow types counters as whole numbers; StatsD, Datadog and OpenTelemetry add up fractions."""
    _tell("incr", name, round(by, 6), tags)


def _gauge(name: str, value: float, *, tags: Mapping[str, str]) -> None:
    _tell("gauge", name, round(value, 3), tags)


def _tell(verb: Literal["incr", "gauge"], name: str, value: float, tags: Mapping[str, str]) -> None:
    try:
        from airflow.sdk.observability import stats

        getattr(stats, verb)(name, value, tags=dict(tags))
    except Exception as error:  # noqa: BLE001 a backend's trouble is its own, whatever it is
        log.warning("The metric %s was not told: %s: %s", name, type(error).__name__, error)
