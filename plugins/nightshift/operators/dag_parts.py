"""What the DAG files share: the pipelines, the assets between the DAGs, the forms, the documentation."""

from __future__ import annotations

import datetime as dt
import functools
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, Param

from nightshift.config.loader import load_all
from nightshift.hooks.settings import current_settings
from nightshift.platforms.endpoints import ENDPOINT_PLATFORMS
from nightshift.scheduling.pools import BACKFILL_POOL, job_pool
from nightshift.scheduling.priority import NightFirst

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from airflow.sdk import DAG

    from nightshift.config.pipeline import Pipeline
    from nightshift.errors import NightshiftError

__all__ = [
    "BACKFILL",
    "NIGHTLY",
    "asset",
    "broken_pipelines",
    "dag_arguments",
    "day_param",
    "force_new_param",
    "has_endpoint",
    "has_endpoints",
    "job_arguments",
    "partition_param",
    "pipelines",
    "with_form",
]

NIGHTLY: dict[str, Any] = {"priority_weight": 100, "weight_rule": NightFirst()}
"""Arguments of tasks that a night waits for."""

BACKFILL: dict[str, Any] = {"priority_weight": 1, "weight_rule": "absolute", "pool": BACKFILL_POOL}
"""Arguments of tasks that may wait for a night."""


@functools.cache
def _loaded() -> tuple[list[Pipeline], dict[Path, NightshiftError]]:
    return load_all(current_settings())


def pipelines() -> list[Pipeline]:
    """Every good pipeline file."""
    return _loaded()[0]


def broken_pipelines() -> dict[Path, NightshiftError]:
    """Every pipeline file that is wrong, and how."""
    return _loaded()[1]


def asset(pipeline: Pipeline, what: str) -> Asset:
    """The asset that says: partition so-and-so of ``what`` is there."""
    return Asset(name=f"{pipeline.pipeline}_{what}", uri=f"x-nightshift://{pipeline.pipeline}/{what}")


def has_endpoint(pipeline: Pipeline) -> bool:
    """Whether the pipeline's champion is deployed: its file says so, and its platform can."""
    return pipeline.endpoint is not None and pipeline.platform in ENDPOINT_PLATFORMS


def has_endpoints() -> bool:
    """Whether there may be endpoints: one whose section was taken out of its file is there still."""
    return any(pipeline.platform in ENDPOINT_PLATFORMS for pipeline in pipelines())


def partition_param(pipeline: Pipeline) -> Param:
    """The form field for runs that a person starts."""
    first, last = pipeline.partitions.start, pipeline.partitions.end or "today"
    return Param(
        None,
        type=["null", "string"],
        format="date",
        title="Partition",
        description_md=f"The day to run, `YYYY-MM-DD`, from {first} to {last}. Leave it empty for a run that "
        "has a partition key.",
    )


def day_param(pipeline: Pipeline, title: str, what: str) -> Param:
    """A form field for a day that must be given."""
    first, last = pipeline.partitions.start, pipeline.partitions.end or "today"
    return Param(
        type="string",
        format="date",
        title=title,
        description_md=f"{what} of the range, `YYYY-MM-DD`, from {first} to {last}.",
    )


def force_new_param() -> Param:
    """The form field for a run whose jobs are not to be adopted."""
    return Param(
        False,
        type="boolean",
        title="Force new jobs",
        description="Let every clear of a task of this run start a new job, even where nothing has changed.",
    )


def job_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """Arguments of a night's tasks that run jobs: the pool of their platform counts them."""
    return {**NIGHTLY, "pool": job_pool(pipeline.platform)}


def dag_arguments(pipeline: Pipeline, verb: str, doc: str) -> dict[str, Any]:
    """What every DAG of a pipeline has: id, description, documentation, tags, dates."""
    return {
        "dag_id": f"{pipeline.pipeline}_{verb}",
        "dag_display_name": f"{pipeline.pipeline} · {verb}",
        "description": pipeline.description,
        "doc_md": f"{pipeline.description}\n\n{doc}",
        "tags": [pipeline.pipeline, verb, *pipeline.tags],
        "start_date": _midnight(pipeline.partitions.start),
        "catchup": False,
        "default_args": {"owner": pipeline.owner, **NIGHTLY},
    }


def with_form(dag: DAG, fields: Mapping[str, Param]) -> DAG:
    """Give a DAG its form, once its tasks are there: Airflow copies what it finds before into each task,
    deeply and for every class of its operator, which took half the time that a DAG file is read in."""
    dag.params.update(fields)
    return dag


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
