"""``<pipeline>_ingest``: a landed partition becomes clean rows in the lake, every night."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG

from nightshift.notifiers.alerts import FailureAlert
from nightshift.notifiers.deadline import partition_deadline
from nightshift.operators.dag_parts import asset, dag_arguments, partition_param, pipelines, with_form
from nightshift.operators.ingest import AnnounceOperator, IngestOperator, WaitForLandingOperator
from nightshift.operators.validate import ValidateOperator
from nightshift.scheduling.timetable import NightTimetable

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline

DOC = """
**wait** until the partition has landed with its marker, **ingest** it into the lake's table `raw`,
**validate** it: rows that break a critical rule go to `quarantine` with their reasons, the others to `clean`.
A partition that breaks a critical table rule, or loses more rows than its budget, stops here with an alert.
A night whose partition has not landed by its deadline is told; the run waits on.

Start it by hand with a *partition*, or over a range with *Backfill*: a backfill starts nothing downstream.
"""


def build(pipeline: Pipeline) -> DAG:
    """The DAG of one pipeline."""
    with DAG(
        **dag_arguments(pipeline, "ingest", DOC),
        schedule=NightTimetable.of(pipeline.partitions),
        deadline=partition_deadline(pipeline),
        max_active_runs=4,
    ) as dag:
        alert = [FailureAlert(pipeline=pipeline)]
        wait = WaitForLandingOperator(task_id="wait", pipeline=pipeline, on_failure_callback=alert)
        ingest = IngestOperator(task_id="ingest", pipeline=pipeline, on_failure_callback=alert)
        validate = ValidateOperator(task_id="validate", pipeline=pipeline, on_failure_callback=alert)
        announce = AnnounceOperator(task_id="announce", pipeline=pipeline, asset=asset(pipeline, "clean"))
        wait >> ingest >> validate >> announce
    return with_form(dag, {"partition": partition_param(pipeline)})


for _pipeline in pipelines():
    globals()[f"{_pipeline.pipeline}_ingest"] = build(_pipeline)
