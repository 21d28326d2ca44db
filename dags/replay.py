"""``<pipeline>_replay``: after a fix, the quarantined rows of a range are judged again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param

from nightshift.notifiers.alerts import FailureAlert
from nightshift.operators.dag_parts import BACKFILL, asset, dag_arguments, day_param, pipelines, with_form
from nightshift.operators.replay import AnnounceReplayOperator, ReplayOperator

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline

DOC = """
Start it by hand when the suite or the source was fixed. **replay** judges those partitions from *from* to
*to* again that have rows in `quarantine`, each whole, by the suite as it is now. What passes joins `clean`,
for all partitions in one commit; what fails stays with its new reasons; what is still blocked stays.
Its log lists every partition with its rows before and after. The rows of `raw` are not touched, unless
*ingest again* brings in what has landed since.

**announce** tells the DAGs that wait for clean rows about the newest partition that changed, when the form
asks for it: this starts a retrain. Running it all again changes nothing more.
"""


def _params(pipeline: Pipeline) -> dict[str, Param]:
    return {
        "from": day_param(pipeline, "From", "The first day"),
        "to": day_param(pipeline, "To", "The last day"),
        "ingest_again": Param(
            False,
            type="boolean",
            title="Ingest again",
            description="Bring in first what has landed for these partitions: the source was fixed.",
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Dry run",
            description="Only judge, and say what would change. Not together with 'Ingest again'.",
        ),
        "announce": Param(
            False,
            type="boolean",
            title="Announce",
            description="Tell the DAGs that wait about the newest partition that changed: starts a retrain.",
        ),
    }


def build(pipeline: Pipeline) -> DAG:
    """The DAG of one pipeline."""
    arguments: dict[str, Any] = dag_arguments(pipeline, "replay", DOC)
    arguments["default_args"] |= BACKFILL
    with DAG(
        **arguments,
        schedule=None,
        is_paused_upon_creation=False,
        max_active_runs=1,
    ) as dag:
        replay = ReplayOperator(
            task_id="replay", pipeline=pipeline, on_failure_callback=[FailureAlert(pipeline=pipeline)]
        )
        AnnounceReplayOperator(
            task_id="announce", pipeline=pipeline, asset=asset(pipeline, "clean"), replayed=replay.output
        )
    return with_form(dag, _params(pipeline))


for _pipeline in pipelines():
    globals()[f"{_pipeline.pipeline}_replay"] = build(_pipeline)
