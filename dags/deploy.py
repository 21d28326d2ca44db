"""``<pipeline>_deploy``: the champion answers requests, for pipelines with an ``endpoint`` section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param, PartitionedAssetTimetable, TriggerRule

from nightshift.notifiers.alerts import FailureAlert
from nightshift.operators.dag_parts import (
    asset,
    dag_arguments,
    force_new_param,
    has_endpoint,
    job_arguments,
    pipelines,
    with_form,
)
from nightshift.operators.deploy import (
    DeployOperator,
    PlanDeploymentOperator,
    ProbeOperator,
    RollbackEndpointOperator,
)

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline

DOC = """
**plan** takes the ledger's champion, **probe** computes a few real rows with their batch predictions,
**deploy** puts the new model beside the old one, asks it these rows, gives it its share of the requests for
the time that the pipeline file says, and then all of them. An answer that differs, a model that does not
come up, an alarm while all requests move at once, or somebody who ends the task: the endpoint goes back to
what it served before. Running it again changes nothing more.

It starts when a night has decided, and when the champion is rolled back. With *rollback* in the form the
endpoint goes back at once; the version that had to go stays away until somebody names it here, or the ledger
has another champion. What it costs by the hour: `nightshift endpoint status <pipeline>`.
"""


def _params(pipeline: Pipeline) -> dict[str, Param]:
    return {
        "version": Param(
            None,
            type=["null", "string"],
            title="Version",
            description="Deploy this model version instead of the ledger's champion.",
        ),
        "weight": Param(
            None,
            type=["null", "number"],
            exclusiveMinimum=0,
            maximum=1,
            title="Weight",
            description="Share of the requests that the new model gets at first; 1: all of them, at once. "
            "Left empty, what the pipeline file says.",
        ),
        "rollback": Param(
            False,
            type="boolean",
            title="Roll back",
            description="Bring the endpoint back to the release before, or out of a deployment under way.",
        ),
        "force_new": force_new_param(),
    }


def build(pipeline: Pipeline) -> DAG:
    """The DAG of one pipeline."""
    with DAG(
        **dag_arguments(pipeline, "deploy", DOC),
        schedule=PartitionedAssetTimetable(assets=asset(pipeline, "model") | asset(pipeline, "champion")),
        max_active_runs=4,  # a newer one takes over from one that still lets both models answer
    ) as dag:
        common = {"pipeline": pipeline, "on_failure_callback": [FailureAlert(pipeline=pipeline)]}
        plan = PlanDeploymentOperator(task_id="plan", **common)
        probe = ProbeOperator(task_id="probe", plan=plan.output, **common, **job_arguments(pipeline))
        DeployOperator(
            task_id="deploy",
            plan=plan.output,
            probed=probe.output,
            trigger_rule=TriggerRule.NONE_FAILED,
            **common,
        )
        RollbackEndpointOperator(task_id="rollback", plan=plan.output, **common)
    return with_form(dag, _params(pipeline))


for _pipeline in pipelines():
    if has_endpoint(_pipeline):
        globals()[f"{_pipeline.pipeline}_deploy"] = build(_pipeline)
