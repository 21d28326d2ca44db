"""``<pipeline>_rollback``: an earlier champion is the champion again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, Param

from nightshift.notifiers.alerts import FailureAlert
from nightshift.operators.dag_parts import asset, dag_arguments, has_endpoint, pipelines, with_form
from nightshift.operators.rollback import RollbackOperator

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline

DOC = """
Start it by hand when the champion has to go. **rollback** looks whether the version is in MLflow with all of
its files and was champion before, writes the decision into the ledger with your reason, and sets MLflow's
alias `champion`. The pipeline's channels are told once.

The next scoring run takes the version; a partition that is scored already stays as it is until its
`score` run is started again. The version that had to go comes back only when it beats the gate's margin on
new evidence. Running it again changes nothing more. On the command line:
`nightshift rollback <pipeline> --to N --reason "…"`, `nightshift registry history <pipeline>`.
"""


def _params() -> dict[str, Param]:
    return {
        "version": Param(
            type=["string", "integer"],
            minLength=1,
            title="Version",
            description="The model version to return to, e.g. 12.",
        ),
        "reason": Param(
            type="string",
            minLength=1,
            title="Reason",
            description="Why the champion has to go; it goes into the ledger and into the alert.",
        ),
        "anyway": Param(
            False,
            type="boolean",
            title="Anyway",
            description="Also to a version that never was champion.",
        ),
    }


def build(pipeline: Pipeline) -> DAG:
    """The DAG of one pipeline."""
    with DAG(
        **dag_arguments(pipeline, "rollback", DOC),
        schedule=None,
        is_paused_upon_creation=False,
        max_active_runs=1,
    ) as dag:
        RollbackOperator(
            task_id="rollback",
            pipeline=pipeline,
            asset=asset(pipeline, "champion") if has_endpoint(pipeline) else None,
            on_failure_callback=[FailureAlert(pipeline=pipeline)],
        )
    return with_form(dag, _params())


for _pipeline in pipelines():
    globals()[f"{_pipeline.pipeline}_rollback"] = build(_pipeline)
