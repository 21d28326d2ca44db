"""``reap_orphans``: stops jobs that run on for nobody, every ten minutes, on every platform in use."""

from __future__ import annotations

import datetime as dt

from airflow.sdk import DAG

from nightshift.operators.dag_parts import NIGHTLY, has_endpoints
from nightshift.operators.reap import ReapOperator
from nightshift.operators.tend import TendEndpointsOperator

DOC = """
A job is stopped when its task is killed, cleared, marked or timed out: by the worker, or by the triggerer.
What slips through, because one of these died at the wrong moment, is found here by its tags: a job of this
deployment that has not ended, and whose task instance does not wait for it any more. It is looked at twice,
stopped, told, and what it saved is added up in the task's result.

An endpoint whose deployment was given up half-way is brought back to what it served before. One that no
pipeline file asks for any more is told, with what it costs by the hour, and left alone.
"""

with DAG(
    dag_id="reap_orphans",
    description="Stops jobs that no task waits for any more.",
    doc_md=DOC,
    tags=["nightshift", "orphans"],
    is_paused_upon_creation=False,
    schedule="*/10 * * * *",
    start_date=dt.datetime(2013, 1, 1, tzinfo=dt.UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"owner": "nightshift"},
):
    ReapOperator(task_id="reap", **NIGHTLY)
    if has_endpoints():
        TendEndpointsOperator(task_id="endpoints", **NIGHTLY)
