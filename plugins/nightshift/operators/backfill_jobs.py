"""The steps of a backfill that are jobs: a model for each partition, and scoring in chunks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowSkipException

from nightshift.errors import NightshiftError
from nightshift.operators.backfill import BackfillOperator
from nightshift.operators.base import BackfillLink, MlflowLink
from nightshift.operators.catalog import show_in_catalog
from nightshift.operators.register import RegisterOperator
from nightshift.operators.score import BatchScoreOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from nightshift.backfill.plan import Plan
    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.tables import Lake
    from nightshift.platforms.base import JobRef, JobResult

__all__ = ["NoteFailure", "RegisterPastOperator", "ScoreChunkOperator", "WalkForwardOperator"]

STEP = "retrain"


class NoteFailure(BaseNotifier):
    """An ``on_failure_callback`` of a partition's model: notes the reason where the next plan finds it."""

    def __init__(self, *, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline

    def notify(self, context: Context) -> None:
        """Never raises: the task's own error is what counts."""
        from nightshift.backfill.notes import note_failure
        from nightshift.hooks.settings import current_settings
        from nightshift.hooks.storage import open_lake

        error, ti = context.get("exception"), context["ti"]
        partition = getattr(context.get("task"), "for_partition", None)
        if not isinstance(partition, str):
            return
        reason = f"{ti.task_id}: {type(error).__name__}: {error}"
        try:
            note_failure(open_lake(current_settings(), self.pipeline), STEP, partition, reason, run=ti.run_id)
        except NightshiftError as trouble:
            self.log.warning("The failure of %s could not be noted: %s", partition, trouble)


class RegisterPastOperator(RegisterOperator):
    """Registers a past partition's model. It is no challenger: ``champion`` stays where it is.

    :param backfill: what the backfill's plan task returned.
    """

    template_fields = (*RegisterOperator.template_fields, "backfill")

    def __init__(self, *, backfill: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backfill = backfill

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: the :class:`~nightshift.registry.models.ModelVersion` as a dict.
        """
        from nightshift.backfill.notes import clear_failure
        from nightshift.backfill.records import load_plan, record_chunk

        found, lake, key = super().execute(context), self.lake(), self.partition(context)
        clear_failure(lake, STEP, key)
        seconds = self.trained["seconds"] + self.evaluated["seconds"]
        done = {"partition": key, "status": "registered", "seconds": seconds, "version": found["version"]}
        record_chunk(lake, load_plan(lake, self.backfill["id"]), STEP, key, [done])
        self._tell_story(found["version"], lake)
        return found

    def _tell_story(self, version: str, lake: Lake) -> None:
        """The model's page in MLflow; of a night's model, the decision about it tells more."""
        from nightshift.provenance.tell import tell_story
        from nightshift.registry.ledger import Ledger
        from nightshift.registry.models import Models
        from nightshift.registry.tracking import Tracking

        models = Models(self.settings.mlflow_tracking_uri)
        of = models.get(self.pipeline.pipeline, version)
        tell_story(
            *(Tracking(models.uri), models, Ledger(lake), of),
            pipeline=self.pipeline,
            jobs_dir=self.settings.jobs_dir,
        )


class WalkForwardOperator(BackfillOperator):
    """Leaves the walk-forward report of the range in MLflow."""

    operator_extra_links = (BackfillLink(), MlflowLink())

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{models, page}``.
        :raises AirflowSkipException: when no model was asked for, or there is none.
        """
        from nightshift.registry.models import Models
        from nightshift.registry.tracking import Tracking
        from nightshift.registry.walk_forward import log_walk_forward, points_of

        if self.plan is None:
            raise AirflowSkipException("there is no plan")
        plan, name = self.load(self.lake()), self.pipeline.pipeline
        if STEP not in plan.steps or plan.request.dry_run:
            raise AirflowSkipException("no model was asked for")
        versions = Models(self.settings.mlflow_tracking_uri).by_partition(name)
        points = points_of(versions, plan.request.partitions)
        if not points:
            raise AirflowSkipException("no partition of the range has a model")
        tracking = Tracking(self.settings.mlflow_tracking_uri)
        run = log_walk_forward(tracking, name, plan.id, points, self.pipeline.gate.metric)
        page = self.links[MlflowLink.name] = tracking.page(run)
        self.log.info("Walk-forward report of %d models: %s", len(points), page)
        return {"models": len(points), "page": page}


class ScoreChunkOperator(BatchScoreOperator):
    """Scores the partitions of one chunk in one job and publishes each by itself, as a night does.

    :param backfill: what the backfill's plan task returned.
    :param chunk: a label like ``2013-01-01..2013-01-30``.
    """

    template_fields = (*BatchScoreOperator.template_fields, "backfill", "chunk")
    operator_extra_links = (BackfillLink(), MlflowLink())

    def __init__(self, *, backfill: Any, chunk: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.backfill = backfill
        self.chunk = chunk

    def partition(self, context: Context) -> str:
        """The chunk's label: what its job is known by."""
        return self.chunk

    def days(self, context: Context) -> list[str]:
        """The chunk's partitions that have clean rows; validation may have blocked one since the plan.

        :raises AirflowSkipException: when none has.
        """
        from nightshift.backfill.plan import in_chunk

        lake = self.lake()
        have = lake.table("clean").partitions()
        found = [key for key in in_chunk(self._plan(lake).steps["score"].work, self.chunk) if key in have]
        if not found:
            raise AirflowSkipException("no partition of this chunk has clean rows")
        return found

    def finish(self, context: Context, ref: JobRef, result: JobResult) -> dict[str, Any]:
        """
        :returns: ``{rows_in, rows_out, done, failed_total, version}``; version is of the predictions.
        """
        from nightshift.backfill.records import record_chunk

        output, lake = self.output_at(result.output_uri), self.lake()
        counts = json.loads((output / "counts.json").read_text())
        failed: dict[str, str] = dict(counts["failed"])
        rows, version = {"rows_in": 0, "rows_out": 0}, None
        for key in counts["partitions"]:
            try:
                published = self._publish(lake, key, output / "predictions" / key)
            except NightshiftError as error:
                if error.retryable:
                    raise
                failed[key] = f"{type(error).__name__}: {error}"
            else:
                rows = {name: rows[name] + published[name] for name in rows}
                version = published["version"]
        show_in_catalog(self.settings, lake, ("predictions",))
        self._note(lake, counts["partitions"], failed, ref.name)
        seconds = result.seconds / max(1, len(counts["partitions"]))
        done = [key for key in counts["partitions"] if key not in failed]
        record_chunk(
            *(lake, self._plan(lake), "score", self.chunk),
            [{"partition": key, "status": "scored", "seconds": seconds} for key in done],
        )
        return {**rows, "done": len(done), "failed_total": len(failed), "version": version}

    def _publish(self, lake: Lake, key: str, folder: Any) -> dict[str, int]:
        from nightshift.lake.predictions import publish_predictions

        published = publish_predictions(
            lake,
            key,
            folder,
            clean_version=int(self.facts["clean_version"]),
            model_name=str(self.facts["model_name"]),
            model_version=str(self.facts["model_version"]),
        )
        self.log.info("%s: %d rows in, %d out", key, published["rows_in"], published["rows_out"])
        return published

    def _note(self, lake: Lake, tried: dict[str, Any], failed: dict[str, str], job: str) -> None:
        from nightshift.backfill.notes import clear_failure, note_failure

        for key, why in failed.items():
            self.log.warning("%s is not scored: %s", key, why)
            note_failure(lake, "score", key, why, run=job)
        for key in tried:
            if key not in failed:
                clear_failure(lake, "score", key)

    def _plan(self, lake: Lake) -> Plan:
        from nightshift.backfill.records import load_plan, page_url

        plan = load_plan(lake, self.backfill["id"])
        self.links[BackfillLink.name] = page_url(self.settings.ui_url, plan)
        return plan
