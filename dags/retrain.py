"""``<pipeline>_retrain``: a clean partition becomes a model that has to beat the champion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param, PartitionedAssetTimetable, TaskGroup, TriggerRule

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
from nightshift.operators.learn import EvaluateOperator, TrainOperator, TuneOperator
from nightshift.operators.plan import PlanOperator
from nightshift.operators.promote import PromoteOperator
from nightshift.operators.register import RegisterOperator

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline

DOC = """
**plan** pins the days and table versions of the night, **tune** searches hyperparameters when it is due,
**train** fits the model, **evaluate** compares it with the champion on the same frozen holdout, **register**
logs everything to MLflow, **promote** moves `champion` when the new model is better and not older.

Training sees only partitions up to the run's own. A retry or a clear finds the job that is running or done.
"""


def _params(pipeline: Pipeline) -> dict[str, Param]:
    return {
        "partition": partition_param(pipeline),
        "tune": Param(
            "when due", enum=["when due", "yes", "no"], title="Tune", description="Search hyperparameters?"
        ),
        "promote": Param(
            pipeline.gate.promote,
            enum=["automatic", "ask", "never"],
            title="Promote",
            description="May the new model take the champion's place when the gate says so? 'ask': a person "
            "decides.",
        ),
        "force_new": force_new_param(),
    }


def build(pipeline: Pipeline) -> DAG:
    """The DAG of one pipeline."""
    with DAG(
        **dag_arguments(pipeline, "retrain", DOC),
        schedule=PartitionedAssetTimetable(assets=asset(pipeline, "clean")),
        max_active_runs=2,
    ) as dag:
        common = {"pipeline": pipeline, "on_failure_callback": [FailureAlert(pipeline=pipeline)]}
        jobs = {**common, **job_arguments(pipeline)}
        plan = PlanOperator(task_id="plan", **common)
        with TaskGroup("learn", tooltip="Jobs on the pipeline's platform"):
            tune = TuneOperator(task_id="tune", plan=plan.output, **jobs)
            train = TrainOperator(
                task_id="train",
                plan=plan.output,
                tuned=tune.output,
                trigger_rule=TriggerRule.NONE_FAILED,
                **jobs,
            )
            evaluate = EvaluateOperator(task_id="evaluate", plan=plan.output, trained=train.output, **jobs)
        with TaskGroup("decide", tooltip="Registry and champion"):
            register = RegisterOperator(
                task_id="register",
                plan=plan.output,
                tuned=tune.output,
                trained=train.output,
                evaluated=evaluate.output,
                trigger_rule=TriggerRule.NONE_FAILED,
                **common,
            )
            PromoteOperator(
                task_id="promote",
                registered=register.output,
                evaluated=evaluate.output,
                asset=asset(pipeline, "model"),
                **common,
            )
    return with_form(dag, _params(pipeline))


for _pipeline in pipelines():
    globals()[f"{_pipeline.pipeline}_retrain"] = build(_pipeline)
