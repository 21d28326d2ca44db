"""The deadline of a night's partition: told when it has not landed by then, or is not through."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import BaseDeadlineReference, DeadlineAlert

from nightshift.errors import NightshiftError
from nightshift.hooks.settings import current_settings
from nightshift.hooks.storage import landing_zone
from nightshift.notifiers.alerts import missing_cause, tell
from nightshift.notifiers.messages import RunLink, partition_late, partition_missing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy.orm import Session

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings

__all__ = ["NightBegan", "partition_deadline", "tell_if_late"]

_ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class NightBegan(BaseDeadlineReference):
    """When a nightly run was queued; a run that a person or a backfill asked for has no such deadline.

    Airflow's own ``DeadlineReference.DAGRUN_QUEUED_AT`` counts those too, and in 3.3.2 it breaks every
    clear of a run whose deadline lies ahead: ``_recalculate_dagrun_queued_at_deadlines`` takes the interval,
    which is JSON by then, for seconds. Known to Airflow through our plugin's ``deadline_references``.
    """

    required_kwargs: ClassVar[set[str]] = {"dag_id", "run_id"}

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from sqlalchemy import select

        nightly = (DagRun.dag_id == dag_id, DagRun.run_id == run_id, DagRun.run_type == "scheduled")
        began: datetime | None = session.scalar(select(DagRun.queued_at).where(*nightly))
        return began


def partition_deadline(pipeline: Pipeline) -> DeadlineAlert | None:
    """The deadline of the pipeline's ingest DAG, where it has one."""
    minutes = pipeline.alerts.partition_deadline_minutes
    if minutes is None:
        return None
    return DeadlineAlert(
        name="partition has landed",
        reference=NightBegan(),
        interval=timedelta(minutes=minutes),
        callback=AsyncCallback(tell_if_late, kwargs={"pipeline": pipeline.pipeline}),
    )


async def tell_if_late(pipeline: str, context: Mapping[str, Any]) -> str:
    """What the triggerer runs when a night's deadline has passed and its run had not succeeded.

    Airflow calls it for a run that has failed meanwhile, too.

    :param context: ``{"dag_run": the run as the REST API shows it, "deadline": {id, deadline_time}}``.
    :returns: what was done; Airflow keeps it as the callback's output.
    """
    return await asyncio.to_thread(_tell_if_late, pipeline, context["dag_run"])


def _tell_if_late(name: str, dag_run: Mapping[str, Any]) -> str:
    from nightshift.config.loader import load_pipeline

    settings = current_settings()
    pipeline = load_pipeline(settings.pipelines_dir / f"{name}.yaml", settings.platform)
    partition = dag_run["partition_key"]
    run = RunLink(dag_run["dag_id"], dag_run["dag_run_id"], settings.ui_url)
    facts = (run, pipeline.alerts.partition_deadline_minutes or 0)
    missing = _missing(pipeline, partition, settings)
    if missing:
        message = partition_missing(name, partition, missing, *facts)
        told = tell(pipeline, message, cause=missing_cause(partition))
        return f"{len(missing)} missing: {'told' if told else 'not told'}"
    busy = _busy(run)
    if busy is None:
        return "landed, and its run is over"
    told = tell(pipeline, partition_late(name, partition, busy, *facts), cause=f"late:{partition}")
    return f"landed, not through: {'told' if told else 'not told'}"


def _missing(pipeline: Pipeline, partition: str, settings: Settings) -> list[str]:
    """The markers that are not there; a landing zone that cannot be looked into is no reason for silence."""
    from nightshift.lake.landing import markers_of, missing_markers

    try:
        return missing_markers(markers_of(pipeline, partition), landing_zone(settings))
    except NightshiftError as error:
        return [f"not known, because {error}"]


def _busy(run: RunLink) -> dict[str, str] | None:
    """Tasks that have begun and not ended, with their states; None when the run is over."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    if RuntimeTaskInstance.get_dagrun_state(run.dag_id, run.run_id) in ("success", "failed"):
        return None
    states = RuntimeTaskInstance.get_task_states(run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    return {task: state for task, state in states.items() if state and state not in _ENDED}
