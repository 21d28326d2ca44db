"""``<pipeline>_backfill``: a range of partitions, planned and priced first, then done in few tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Param, TaskGroup, TriggerRule, task_group

from nightshift.backfill.steps import CHUNK_SIZE, REPROCESS, STEPS
from nightshift.notifiers.alerts import FailureAlert
from nightshift.operators.backfill import (
    AnnounceBackfillOperator,
    BackfillPlanOperator,
    BackfillReportOperator,
    ChunkOperator,
    CutOperator,
)
from nightshift.operators.backfill_jobs import (
    NoteFailure,
    RegisterPastOperator,
    ScoreChunkOperator,
    WalkForwardOperator,
)
from nightshift.operators.base import task_arguments
from nightshift.operators.dag_parts import BACKFILL, asset, dag_arguments, day_param, pipelines, with_form
from nightshift.operators.learn import EvaluateOperator, TrainOperator
from nightshift.operators.plan import PlanOperator

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    from nightshift.config.pipeline import Pipeline

DOC = """
**plan** looks at what the lake has of every partition from *from* to *to* and says, in its log and on a page
(link *Backfill*), what is present, missing and failed, what there is to do, how long that will take and what
it will cost. A *dry run* ends there.

Then each step is done in chunks of partitions, a chunk in one process: all partitions are ingested before
the first is validated, because validation compares a day with the days before it. A partition that fails
does not stop the others. *retrain* trains and registers a model for each partition, which never becomes
the champion, and leaves a walk-forward report in MLflow; *score* scores with the champion. **report**
compares the plan with what is there then, and fails when a partition is not good. **announce** tells the
DAGs that wait about the newest partition, and about no other.

Whatever is killed or cancelled, what is done stays done: start it again with the same form, and it does what
is missing or failed. One run at a time; the nights go first.
"""


def _params(pipeline: Pipeline) -> dict[str, Param]:
    return {
        "from": day_param(pipeline, "From", "The first day"),
        "to": day_param(pipeline, "To", "The last day"),
        "steps": Param(
            ["ingest", "validate"],
            type="array",
            items={"type": "string", "enum": list(STEPS)},
            examples=list(STEPS),
            minItems=1,
            uniqueItems=True,
            title="Steps",
            description="What to do; a step works on what the one before it left.",
        ),
        "reprocess": Param(
            "missing",
            enum=list(REPROCESS),
            values_display=REPROCESS,
            title="Reprocess",
            description="Which partitions of the range to do.",
        ),
        "chunk_size": Param(
            CHUNK_SIZE,
            type="integer",
            minimum=1,
            maximum=1000,
            title="Chunk size",
            description="Partitions that one task works through, at most.",
        ),
        "model_version": Param(
            None,
            type=["null", "string"],
            title="Model version",
            description="For the step score: score with this version instead of the champion.",
        ),
        "dry_run": Param(
            False, type="boolean", title="Dry run", description="Only plan: show what would be done."
        ),
        "announce": Param(
            True,
            type="boolean",
            title="Announce",
            description="Tell the DAGs that wait about the newest partition that was made good: after "
            "validate that starts its retrain, whose model may become the champion.",
        ),
    }


def _chunks(pipeline: Pipeline, step: str, plan: BaseOperator) -> tuple[BaseOperator, MappedOperator]:
    """The tasks of a step that runs in this deployment's own processes: where to begin, where it ends."""
    with TaskGroup(step):
        cut = CutOperator(task_id="cut", pipeline=pipeline, step=step, plan=plan.output)
        days = ChunkOperator.partial(
            task_id="days",
            pipeline=pipeline,
            step=step,
            plan=plan.output,
            map_index_template="{{ task.chunk }}",
            trigger_rule=TriggerRule.ALL_DONE,  # a chunk that failed must not hold up the others' next step
            **task_arguments(pipeline),
        ).expand(chunk=cut.output)
    return cut, days


def _models(pipeline: Pipeline, plan: BaseOperator) -> tuple[TaskGroup, BaseOperator]:
    """The tasks of a model for each partition: the group to begin with, and the report at the end."""

    @task_group(group_id="model", tooltip="One partition's model, registered and never the champion")
    def model(partition: str) -> None:
        common = {
            "pipeline": pipeline,
            "for_partition": partition,
            "map_index_template": "{{ task.for_partition }}",
            "on_failure_callback": [NoteFailure(pipeline=pipeline)],
        }
        # A chunk that failed must not hold up the models of other partitions.
        night = PlanOperator(task_id="window", trigger_rule=TriggerRule.ALL_DONE, **common)
        train = TrainOperator(task_id="train", plan=night.output, **common)
        evaluate = EvaluateOperator(
            task_id="evaluate", plan=night.output, trained=train.output, against_champion=False, **common
        )
        RegisterPastOperator(
            task_id="register",
            plan=night.output,
            tuned=None,
            trained=train.output,
            evaluated=evaluate.output,
            backfill=plan.output,
            **common,
        )

    with TaskGroup("retrain"):
        cut = CutOperator(task_id="cut", pipeline=pipeline, step="retrain", plan=plan.output)
        models = model.expand(partition=cut.output)
        walk_forward = WalkForwardOperator(
            task_id="walk_forward", pipeline=pipeline, plan=plan.output, trigger_rule=TriggerRule.ALL_DONE
        )
        models >> walk_forward
    return models, walk_forward


def _scores(pipeline: Pipeline, plan: BaseOperator) -> MappedOperator:
    """The tasks that score: a chunk is one job."""
    with TaskGroup("score"):
        cut = CutOperator(task_id="cut", pipeline=pipeline, step="score", plan=plan.output)
        return ScoreChunkOperator.partial(
            task_id="days",
            pipeline=pipeline,
            backfill=plan.output,
            map_index_template="{{ task.chunk }}",
            trigger_rule=TriggerRule.ALL_DONE,
            **task_arguments(pipeline),
        ).expand(chunk=cut.output)


def build(pipeline: Pipeline) -> DAG:
    """The DAG of one pipeline."""
    arguments: dict[str, Any] = dag_arguments(pipeline, "backfill", DOC)
    arguments["default_args"] |= BACKFILL
    with DAG(
        **arguments,
        schedule=None,
        is_paused_upon_creation=False,
        max_active_runs=1,
    ) as dag:
        plan = BackfillPlanOperator(task_id="plan", pipeline=pipeline)
        _, ingest = _chunks(pipeline, "ingest", plan)
        _, validate = _chunks(pipeline, "validate", plan)
        announce = AnnounceBackfillOperator(
            task_id="announce",
            pipeline=pipeline,
            plan=plan.output,
            assets={"validate": asset(pipeline, "clean"), "score": asset(pipeline, "predictions")},
            trigger_rule=TriggerRule.ALL_DONE,
        )
        report = BackfillReportOperator(
            task_id="report",
            pipeline=pipeline,
            plan=plan.output,
            announced=announce.output,
            trigger_rule=TriggerRule.ALL_DONE,
            on_failure_callback=[FailureAlert(pipeline=pipeline)],
        )
        models, walk_forward = _models(pipeline, plan)
        score = _scores(pipeline, plan)
        ingest >> validate >> [models, score]
        # Each by itself: a step without work is skipped at once, not when the one before it has ended.
        [ingest, validate, walk_forward, score] >> announce >> report
    return with_form(dag, _params(pipeline))


for _pipeline in pipelines():
    globals()[f"{_pipeline.pipeline}_backfill"] = build(_pipeline)
