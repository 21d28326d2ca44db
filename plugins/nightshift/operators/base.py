"""What every operator of a pipeline shares: its pipeline, its partition, its retries, its links."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

from nightshift import errors
from nightshift.config.partitions import check_key
from nightshift.errors import NightshiftError, PartitionKeyError
from nightshift.hooks.outputs import local_output
from nightshift.hooks.settings import current_settings
from nightshift.hooks.storage import open_lake

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings
    from nightshift.lake.tables import Lake

__all__ = [
    "BackfillLink",
    "EndpointLink",
    "GateLink",
    "MlflowLink",
    "PipelineOperator",
    "ValidationReportLink",
    "is_backfill",
    "resolve_partition",
    "retry_policy",
    "task_arguments",
]


def resolve_partition(context: Context, pipeline: Pipeline) -> str:
    """The partition of a run: its partition key, else its ``partition`` parameter. Nothing else decides it.

    :raises PartitionKeyError: when there is neither, when they disagree, or when it is no partition.
    """
    key = getattr(context["dag_run"], "partition_key", None)
    asked = context["params"].get("partition")
    if key and asked and key != asked:
        raise PartitionKeyError(f"the run's partition key is {key}, its parameter says {asked}")
    found = key or asked
    if not found:
        raise PartitionKeyError(
            "this run has no partition", fix="set 'partition' in the form, e.g. 2013-01-05, and run again"
        )
    return check_key(pipeline, found)


def is_backfill(context: Context) -> bool:
    """Whether ``airflow backfill create`` made the run."""
    run_type = getattr(context["dag_run"], "run_type", "")
    return str(getattr(run_type, "value", run_type)) == "backfill"


def retry_policy() -> ExceptionRetryPolicy:
    """Retries for what a retry can cure: the classes that say so, and trouble on the way to a server."""
    classes = [getattr(errors, name) for name in errors.__all__]
    curable = [f"{c.__module__}.{c.__qualname__}" for c in classes if c.retryable]
    return ExceptionRetryPolicy(
        rules=[
            RetryRule(
                exception=list(curable),
                action=RetryAction.RETRY,
                reason="may pass by itself",
                match_subclasses=False,  # a class below may say otherwise
            ),
            RetryRule(exception=NightshiftError, action=RetryAction.FAIL, reason="a retry would not help"),
            RetryRule(
                exception=[
                    "builtins.ConnectionError",
                    "builtins.TimeoutError",
                    "airflow.sdk.exceptions.AirflowRuntimeError",
                ],
                action=RetryAction.RETRY,
                reason="a server or the network may be back soon",
            ),
        ],
        default=RetryAction.FAIL,
    )


class _RememberedLink(BaseOperatorLink):
    """A link that the operator found out while it ran."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return str(getattr(operator, "links", {}).get(self.name, ""))


class MlflowLink(_RememberedLink):
    """To the run or the model version in MLflow."""

    name = "MLflow"


class BackfillLink(_RememberedLink):
    """To the page of the backfill: its plan, and what became of it."""

    name = "Backfill"


class EndpointLink(_RememberedLink):
    """To the endpoint in the cloud's console."""

    name = "Endpoint"


class GateLink(_RememberedLink):
    """To the evidence that a decision rests on."""

    name = "Gate"


class ValidationReportLink(_RememberedLink):
    """To the partition's validation report."""

    name = "Validation report"


def task_arguments(pipeline: Pipeline) -> dict[str, Any]:
    """What every task of a pipeline has. Mapped tasks need it spelled out: Airflow reads it before
    it builds the operator."""
    return {
        "owner": pipeline.owner,
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": True,
        "retry_policy": retry_policy(),
    }


class PipelineOperator(BaseOperator):
    """An operator that works on one partition of one pipeline.

    :param pipeline: the pipeline file, parsed.
    :param for_partition: the partition, where it is not the run's own: in a backfill's mapped tasks.
    """

    template_fields: tuple[str, ...] = ("for_partition",)

    def __init__(self, *, pipeline: Pipeline, for_partition: Any = None, **kwargs: Any) -> None:
        super().__init__(**{**task_arguments(pipeline), **kwargs})
        self.pipeline = pipeline
        self.for_partition = for_partition
        self.links: dict[str, str] = {}

    def partition(self, context: Context) -> str:
        """The partition this task is about."""
        if self.for_partition is not None:
            return check_key(self.pipeline, self.for_partition)
        return resolve_partition(context, self.pipeline)

    @property
    def settings(self) -> Settings:
        """This deployment's settings."""
        return current_settings()

    def lake(self) -> Lake:
        """The pipeline's lake, signed in to."""
        return open_lake(self.settings, self.pipeline)

    def output_at(self, uri: str) -> Path:
        """The folder that a job left at ``uri``, on this machine."""
        return local_output(uri, self.settings)

    def get_openlineage_facets_on_start(self) -> Any:
        """What Airflow's OpenLineage provider, where it is installed and on, tells of a task that begins."""
        from nightshift.operators.lineage import lineage_of

        return lineage_of(self)

    def get_openlineage_facets_on_complete(self, ti: Any) -> Any:
        """The same at the end of a task, however it ended."""
        from nightshift.operators.lineage import lineage_of

        return lineage_of(self, ti)
