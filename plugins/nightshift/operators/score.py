"""Batch transform: the champion scores a partition, and exactly its rows come out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nightshift.errors import ModelVersionAbsent, PartitionAbsent
from nightshift.notifiers import metrics
from nightshift.operators.base import MlflowLink, PipelineOperator
from nightshift.operators.catalog import show_in_catalog
from nightshift.operators.learn import NightJobOperator
from nightshift.operators.night import pin_versions
from nightshift.platforms.base import JobInput

if TYPE_CHECKING:
    from airflow.sdk import Asset, BaseOperatorLink, Context

    from nightshift.platforms.base import JobRef, JobResult, JobSpec
    from nightshift.registry.models import Models, ModelVersion

__all__ = ["BatchScoreOperator", "PublishOperator"]


class BatchScoreOperator(NightJobOperator):
    """Scores the clean rows of one partition with the champion, or with the version that was asked for."""

    operator_extra_links: tuple[BaseOperatorLink, ...] = (MlflowLink(),)
    kind = "score"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(plan=None, **kwargs)

    def build_spec(self, context: Context) -> JobSpec:
        """
        :raises PartitionAbsent: when the lake has no clean rows of the partition.
        :raises ModelVersionAbsent: when there is no champion, or not the version that was asked for.
        """
        from nightshift.registry.models import Models

        models = Models(self.settings.mlflow_tracking_uri)
        version = self._version(context, models)
        self.plan = self._pin(context)
        # The champion may change while the job runs: what it scored with is what it was given here.
        self.facts |= {
            "model_name": version.name,
            "model_version": version.version,
            "clean_version": self.plan["versions"]["clean"],
        }
        folder = models.download(version, self.settings.home / "models")
        identity = f"{version.name}@{version.version}"
        return self.spec_of(
            context,
            days_by_split={"train": [], "validation": [], "holdout": self.days(context)},
            resources=self.pipeline.scoring.resources,
            hyperparameters={},
            models=(JobInput("models/champion", folder.as_uri(), identity),),
        )

    def days(self, context: Context) -> list[str]:
        """The partitions to score."""
        return [self.partition(context)]

    def _pin(self, context: Context) -> dict[str, Any]:
        days, lake = self.days(context), self.lake()
        versions = pin_versions(self.pipeline, lake)
        have = lake.table("clean").partitions(version=versions["clean"])
        if missing := [day for day in days if day not in have]:
            raise PartitionAbsent(
                f"the lake has no clean rows of {', '.join(missing)}",
                fix=f"run {self.pipeline.pipeline}_ingest for it",
            )
        return {"partition": days[-1], "versions": versions}

    def _version(self, context: Context, models: Models) -> ModelVersion:
        asked = context["params"].get("model_version")
        return models.get(self.pipeline.pipeline, asked) if asked else self._champion(models)

    def _champion(self, models: Models) -> ModelVersion:
        """The ledger's champion, whatever the alias says: a rollback counts from the next run on."""
        from nightshift.registry.champion import current
        from nightshift.registry.ledger import Ledger

        name = self.pipeline.pipeline
        found = current(models, Ledger(self.lake()))
        if found is None:
            raise ModelVersionAbsent(f"{name} has no champion to score with", fix=f"run {name}_retrain first")
        alias = models.champion(name)
        shown = alias.version if alias else "none"
        if shown != found.version:
            self.log.warning(
                "MLflow's alias shows version %s as champion, the ledger says %s: scoring with %s; "
                "'nightshift registry check %s' sets the alias",
                *(shown, found.version, found.version, name),
            )
        return found

    def finish(self, context: Context, ref: JobRef, result: JobResult) -> dict[str, Any]:
        """
        :returns: ``{rows_in, rows_out}``; ``model_name``, ``model_version`` and ``clean_version`` are facts.
        """
        from nightshift.registry.models import Models

        models = Models(self.settings.mlflow_tracking_uri)
        scored_with = models.get(str(self.facts["model_name"]), str(self.facts["model_version"]))
        self.links[MlflowLink.name] = models.page(scored_with)
        counts = json.loads((self.output_at(result.output_uri) / "counts.json").read_text())
        return {"rows_in": counts["rows_in"], "rows_out": counts["rows_out"]}


class PublishOperator(PipelineOperator):
    """Writes a partition's predictions into the lake, all at once, when they are exactly its rows.

    :param scored: what :class:`BatchScoreOperator` returned.
    :param asset: told that the partition has predictions.
    """

    template_fields = (*PipelineOperator.template_fields, "scored")

    def __init__(self, *, scored: Any, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[asset], **kwargs)
        self.scored = scored
        self.asset = asset

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{partition, rows_in, rows_out, model_name, model_version, version}``.
        :raises AccountingError: when the predictions are not exactly the rows; nothing is written then.
        """
        from nightshift.lake.predictions import publish_predictions

        partition, scored, lake = self.partition(context), self.scored, self.lake()
        published = publish_predictions(
            lake,
            partition,
            self.output_at(scored["output_uri"]) / "predictions" / partition,
            clean_version=scored["clean_version"],
            model_name=scored["model_name"],
            model_version=scored["model_version"],
        )
        self.log.info(
            "Partition %s: %d rows in, %d predictions out, model version %s",
            partition,
            published["rows_in"],
            published["rows_out"],
            scored["model_version"],
        )
        metrics.predictions_published(self.pipeline.pipeline, published["rows_out"])
        show_in_catalog(self.settings, lake, ("predictions",))
        context["outlet_events"][self.asset].add_partitions(partition)
        stamp = {"model_name": scored["model_name"], "model_version": scored["model_version"]}
        return {"partition": partition, **published, **stamp}
