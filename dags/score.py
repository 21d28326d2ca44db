"""``<pipeline>_score``: the champion scores a partition, and every row gets exactly one prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param, PartitionedAssetTimetable

from nightshift.notifiers.alerts import FailureAlert
from nightshift.operators.dag_parts import (
    asset,
    dag_arguments,
    force_new_param,
    job_arguments,
    partition_param,
    pipelines,
    with_form,
)
from nightshift.operators.score import BatchScoreOperator, PublishOperator

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline

DOC = """
**score** runs the champion over the partition's clean rows as a batch transform, **publish** reconciles the
predictions with the rows and replaces the partition in the lake's table `predictions` in one commit. Running
it again replaces, never duplicates.
"""


def build(pipeline: Pipeline) -> DAG:
    """The DAG of one pipeline."""
    with DAG(
        **dag_arguments(pipeline, "score", DOC),
        schedule=PartitionedAssetTimetable(assets=asset(pipeline, pipeline.scoring.start_on)),
        max_active_runs=4,
    ) as dag:
        common = {"pipeline": pipeline, "on_failure_callback": [FailureAlert(pipeline=pipeline)]}
        score = BatchScoreOperator(task_id="score", **common, **job_arguments(pipeline))
        PublishOperator(
            task_id="publish", scored=score.output, asset=asset(pipeline, "predictions"), **common
        )
    return with_form(
        dag,
        {
            "partition": partition_param(pipeline),
            "model_version": Param(
                None,
                type=["null", "string"],
                title="Model version",
                description="Score with this version instead of the champion.",
            ),
            "force_new": force_new_param(),
        },
    )


for _pipeline in pipelines():
    globals()[f"{_pipeline.pipeline}_score"] = build(_pipeline)
