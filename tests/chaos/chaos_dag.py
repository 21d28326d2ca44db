"""DAGs of one task with one toy job; what both do is read from the run's plan, at every try anew."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param
from chaos_points import halt, plan, run_folder

from nightshift.config.loader import load_pipeline
from nightshift.hooks.settings import current_settings
from nightshift.operators.job import JobOperator
from nightshift.platforms.base import JobSpec

if TYPE_CHECKING:
    from airflow.sdk import Context

    from nightshift.platforms.base import JobRef, JobResult

SETTINGS = current_settings()
PIPELINE = load_pipeline(SETTINGS.pipelines_dir / "flight_delays.yaml", SETTINGS.platform)


class ToyJobOperator(JobOperator):
    """The product's job operator; only what it runs is a toy."""

    kind = "train"

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait in the worker or deferred, as planned."""
        mine = self._enter(context)
        self.deferrable = mine["deferred"]
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """As it is."""
        self._enter(context)
        return super().execute_complete(context, event)

    def build_spec(self, context: Context) -> JobSpec:
        """The planned job."""
        run = context["ti"].run_id
        mine = plan(run)
        files = {"counter": str(run_folder(run) / "starts"), "until": str(run_folder(run) / "enough")}
        job = {**mine["job"], **files, "run": run}
        return JobSpec("train", job, (), code_sha256="0", **mine["spec"])

    def finish(self, context: Context, ref: JobRef, result: JobResult) -> dict[str, Any]:
        """The job's end has been seen, the task has not returned."""
        halt(context["ti"].run_id, "in-finish")
        return {"finished": ref.name}

    def _enter(self, context: Context) -> dict[str, Any]:
        """Leave a line for this process, so that a test can kill it."""
        run = context["ti"].run_id
        os.environ["CHAOS_RUN"] = run
        with (run_folder(run) / "workers").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return plan(run)


def build(dag_id: str, **of_task: Any) -> DAG:
    """One task, retried after a second; often, because each try that finds no api-server is one."""
    with DAG(
        dag_id=dag_id,
        schedule=None,
        catchup=False,
        max_active_runs=50,
        params={
            "partition": Param("2013-01-05", type="string"),
            "force_new": Param(False, type="boolean"),
        },
    ) as dag:
        ToyJobOperator(
            task_id="job",
            pipeline=PIPELINE,
            pool="default_pool",
            retries=10,
            retry_delay=timedelta(seconds=1),
            retry_exponential_backoff=False,
            defer_after_s=0,
            **of_task,
        )
    return dag


chaos = build("chaos")
chaos_hurried = build("chaos_hurried", execution_timeout=timedelta(seconds=6))
