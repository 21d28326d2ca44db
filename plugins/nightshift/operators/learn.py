"""The verbs that make a model: tune, train, evaluate. Each is a job; the platform is the pipeline's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from nightshift.config.partitions import splits
from nightshift.operators.job import JobOperator
from nightshift.operators.night import job_document, manifests, table_inputs
from nightshift.platforms.base import JobInput, JobSpec, Machine
from nightshift.platforms.code import code_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from nightshift.config.pipeline import ResourcesConfig
    from nightshift.platforms.base import JobRef, JobResult
    from nightshift.registry.models import ModelVersion

__all__ = ["EvaluateOperator", "NightJobOperator", "TrainOperator", "TuneOperator"]


class NightJobOperator(JobOperator):
    """A job over the days of a plan.

    :param plan: what :class:`~nightshift.operators.plan.PlanOperator` returned.
    """

    template_fields: tuple[str, ...] = (*JobOperator.template_fields, "plan")

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def spec_of(
        self,
        context: Context,
        *,
        days_by_split: Mapping[str, list[str]],
        resources: ResourcesConfig,
        hyperparameters: Mapping[str, Any],
        models: tuple[JobInput, ...] = (),
    ) -> JobSpec:
        """A job of this verb over these days."""
        lake, every = self.lake(), sorted(day for part in days_by_split.values() for day in part)
        found = manifests(self.pipeline, lake, self.plan["versions"], every[0], every[-1])
        document = job_document(
            self.pipeline,
            self.kind,
            self.plan["partition"],
            days_by_split=days_by_split,
            found=found,
            hyperparameters=hyperparameters,
        )
        return JobSpec(
            kind=self.kind,
            job=document,
            inputs=(*table_inputs(lake, found), *models),
            code_sha256=code_sha256(self.settings.jobs_dir),
            max_runtime_s=resources.max_runtime_s,
            max_wait_s=resources.max_wait_s,
            candidates=tuple(Machine(**each.model_dump()) for each in resources.every_candidate),
        )


class TuneOperator(NightJobOperator):
    """Searches hyperparameters on the training and validation days; skipped when it is not due."""

    kind = "tune"

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :raises AirflowSkipException: when the plan says that tuning is not due.
        """
        if not self.plan["tune"]:
            raise AirflowSkipException("tuning is not due for this partition")
        return super().execute(context)

    def build_spec(self, context: Context) -> JobSpec:
        """Training and validation days: the holdout is nothing that a search may see."""
        assert self.pipeline.tuning is not None  # the plan would have said no
        seen = {name: self.plan["splits"][name] for name in ("train", "validation")}
        return self.spec_of(
            context,
            days_by_split={**seen, "holdout": []},
            resources=self.pipeline.tuning.resources,
            hyperparameters=self.pipeline.training.hyperparameters,
        )

    def finish(self, context: Context, ref: JobRef, result: JobResult) -> dict[str, Any]:
        """
        :returns: ``{trials, best: {number, value, params}}``.
        """
        output = self.output_at(result.output_uri)
        trials = json.loads((output / "trials.json").read_text())
        best = json.loads((output / "best.json").read_text())
        self.log.info("Best of %d trials: %s with %s", len(trials), best["value"], best["params"])
        return {"trials": len(trials), "best": best}


class TrainOperator(NightJobOperator):
    """Trains on the night's window.

    :param tuned: what :class:`TuneOperator` returned, None when it was skipped.
    """

    template_fields = (*NightJobOperator.template_fields, "tuned")
    kind = "train"

    def __init__(self, *, tuned: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tuned = tuned

    def build_spec(self, context: Context) -> JobSpec:
        """The pipeline file's hyperparameters, with the tuned ones over them."""
        best = self.tuned["best"]["params"] if self.tuned else {}
        if self.plan["tune"] and not self.tuned:
            self.log.warning("Tuning was due and left no result: training with the pipeline file's values")
        training = self.pipeline.training
        return self.spec_of(
            context,
            days_by_split=self.plan["splits"],
            resources=training.resources,
            hyperparameters={**training.hyperparameters, **best},
        )

    def finish(self, context: Context, ref: JobRef, result: JobResult) -> dict[str, Any]:
        """
        :returns: ``{metrics}``.
        """
        return {"metrics": json.loads((self.output_at(result.output_uri) / "metrics.json").read_text())}


class EvaluateOperator(NightJobOperator):
    """Compares the new model with the champion on the same frozen holdout.

    :param trained: what :class:`TrainOperator` returned.
    :param against_champion: False measures the new model alone, as for the past: today's champion may have
        learned from that holdout.
    """

    template_fields = (*NightJobOperator.template_fields, "trained")
    kind = "evaluate"

    def __init__(self, *, trained: Any, against_champion: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trained = trained
        self.against_champion = against_champion

    def build_spec(self, context: Context) -> JobSpec:
        """The holdout days that the champion does not know either, the new model and the champion."""
        challenger = JobInput(
            channel="models/challenger",
            uri=f"{self.trained['output_uri']}/model",
            identity=self.trained["fingerprint"],
        )
        holdout: list[str] = self.plan["splits"]["holdout"]
        champion = self._champion()
        is_itself = champion is not None and self._is_the_same(champion)
        left_out = [] if is_itself else self._known_to(champion, holdout)
        inputs = [challenger]
        if champion and not is_itself and len(left_out) < len(holdout):
            holdout = [day for day in holdout if day not in left_out]
            inputs.append(self._input_of(champion))
        self.facts |= {"left_out": ",".join(left_out), "is_champion": int(is_itself)}
        return self.spec_of(
            context,
            days_by_split={"train": [], "validation": [], "holdout": holdout},
            resources=self.pipeline.training.resources,
            hyperparameters={},
            models=tuple(inputs),
        )

    def _champion(self) -> ModelVersion | None:
        from nightshift.registry.champion import current
        from nightshift.registry.ledger import Ledger
        from nightshift.registry.models import Models

        champion = None
        if self.against_champion:
            champion = current(Models(self.settings.mlflow_tracking_uri), Ledger(self.lake()))
            if champion is None:
                self.log.info("There is no champion yet")
            else:
                self.log.info("The champion is version %s of %s", champion.version, champion.partition)
        self.facts["champion_version"] = champion.version if champion else ""
        return champion

    def _is_the_same(self, champion: ModelVersion) -> bool:
        """Whether this very model is the champion: a night that ended well was cleared."""
        mine = (self.trained["fingerprint"], self.plan["partition"])
        if mine != (champion.fingerprint, champion.partition):
            return False
        self.log.info(
            "The champion, version %s, is this model: there is nothing to compare", champion.version
        )
        return True

    def _known_to(self, champion: ModelVersion | None, holdout: list[str]) -> list[str]:
        """Those of the days that the champion was fitted or tuned on; on them it would look too good."""
        from nightshift.provenance.record import days_seen_by
        from nightshift.registry.models import Models

        if champion is None:
            return []
        seen = days_seen_by(Models(self.settings.mlflow_tracking_uri), champion)
        if seen is None:  # registered before records were kept: by its partition and today's window
            then = splits(self.pipeline.training.window, champion.partition)
            seen = [*then["train"], *then["validation"]]
        known = [day for day in holdout if day in set(seen)]
        if known:
            self.log.warning("The champion knows %s of the holdout: left out", ", ".join(known))
        return known

    def _input_of(self, champion: ModelVersion) -> JobInput:
        from nightshift.registry.models import Models

        models = Models(self.settings.mlflow_tracking_uri)
        folder = models.download(champion, self.settings.home / "models")
        identity = f"{champion.name}@{champion.version}"
        return JobInput(channel="models/champion", uri=folder.as_uri(), identity=identity)

    def finish(self, context: Context, ref: JobRef, result: JobResult) -> dict[str, Any]:
        """
        :returns: ``{rows, models: {challenger: {metrics}, champion: {metrics}}}``; the fact
            ``champion_version`` says who the champion was, empty when there was none, ``left_out`` which
            days of the holdout it knew, ``is_champion`` whether it is this very model.
        """
        text = (self.output_at(result.output_uri) / "evaluation.json").read_text()
        evaluation = json.loads(text)
        models = {name: {"metrics": one["metrics"]} for name, one in evaluation["models"].items()}
        return {"rows": evaluation["rows"], "models": models}
