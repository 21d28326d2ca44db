"""What Airflow adds to a job that is submitted, waited for in the triggerer, and finished."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["measure"]

RUNS = 7
JOB_S = 6.0

DAG_FILE = '''
"""One task whose job sleeps, deferred at once."""

from airflow.sdk import DAG, Param

from nightshift.config.loader import load_pipeline
from nightshift.hooks.settings import current_settings
from nightshift.operators.job import JobOperator
from nightshift.platforms.base import JobSpec

PIPELINE = load_pipeline(current_settings().pipelines_dir / "flight_delays.yaml")


class SleepOperator(JobOperator):
    kind = "train"

    def build_spec(self, context):
        return JobSpec("train", {"run": context["ti"].run_id}, (), code_sha256="0")

    def finish(self, context, ref, result):
        return {}


with DAG("sleep", schedule=None, params={"partition": Param("2013-01-05", type="string")}):
    SleepOperator(task_id="job", pipeline=PIPELINE, defer_after_s=0)
'''

JOB_FILE = f"import time\n\ntime.sleep({JOB_S})\n"


def measure(scratch: Path) -> dict[str, Any]:
    """Median over runs of a task's seconds, from the start of its DAG run to its end, beyond its job's own.

    :returns: ``{"ratios": {"job_overhead_deferred_s"}, "details"}``.
    """
    from nightshift.config.settings import PROJECT, Settings
    from nightshift.embedded.airflow_api import AirflowApi
    from nightshift.embedded.ports import Ports, free_port
    from nightshift.embedded.stack import Stack

    project, jobs = scratch / "project", scratch / "sleeping" / "jobs"
    (project / "dags").mkdir(parents=True)
    (project / "dags" / "sleep.py").write_text(DAG_FILE)
    jobs.mkdir(parents=True)
    (jobs / "__init__.py").write_text("")
    (jobs / "__main__.py").write_text(JOB_FILE)
    for name in ("plugins", "include"):
        (project / name).symlink_to(PROJECT / name)
    options = {"home": scratch / "home", "project": project, "jobs_dir": jobs.parent}
    settings = Settings.from_lookup({key: str(value) for key, value in options.items()}.get)
    stack = Stack(settings, Ports(free_port(), free_port()))
    stack.start()
    try:
        api = AirflowApi(stack.airflow_url)
        while api.dag("sleep") is None:
            time.sleep(0.5)
        api.unpause("sleep")
        found = [_one(api) for _ in range(RUNS)][1:]  # the first warms what is used for the first time
    finally:
        stack.stop()
    overheads = [round(each["run"] - each["job"], 2) for each in found]
    return {"ratios": {"job_overhead_deferred_s": median(overheads)}, "details": {"runs": found}}


def _one(api: Any) -> dict[str, float]:
    body = {"logical_date": None, "conf": {"partition": "2013-01-05"}}
    made = api.call("POST", "dags/sleep/dagRuns", json=body).json()
    run = api.run("sleep", made["dag_run_id"])
    while not run.is_over:
        time.sleep(0.1)
        run = api.run(run.dag_id, run.run_id)
    if run.state != "success":
        raise RuntimeError(f"{run.run_id} ended as {run.state}")
    (task,) = api.tasks(run)
    return {
        "run": (run.ended - run.started).total_seconds(),
        "task": task.seconds,
        "job": api.returned(task)["seconds"],
    }
