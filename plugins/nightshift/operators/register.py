"""Registers the night's model in MLflow, with all that its jobs left."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nightshift.hooks.platform import connect
from nightshift.notifiers.messages import RunLink, report_url
from nightshift.operators.base import MlflowLink, PipelineOperator
from nightshift.operators.night import manifests
from nightshift.platforms.base import JobRef

if TYPE_CHECKING:
    from airflow.sdk import Context

    from nightshift.registry.tracking import Tracking

__all__ = ["RegisterOperator"]


class RegisterOperator(PipelineOperator):
    """Logs the night's jobs to MLflow and registers the model, once per fingerprint and partition.

    :param plan, tuned, trained, evaluated: what the night's tasks returned; ``tuned`` may be None.
    """

    template_fields = (*PipelineOperator.template_fields, "plan", "tuned", "trained", "evaluated")
    operator_extra_links = (MlflowLink(),)

    def __init__(self, *, plan: Any, tuned: Any, trained: Any, evaluated: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.tuned = tuned
        self.trained = trained
        self.evaluated = evaluated

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: the :class:`~nightshift.registry.models.ModelVersion` as a dict.
        :raises RegistryError: when MLflow cannot be reached or refuses; nothing is half done then.
        """
        from nightshift.registry.models import Models
        from nightshift.registry.tracking import Tracking

        tracking = Tracking(self.settings.mlflow_tracking_uri)
        models = Models(self.settings.mlflow_tracking_uri)
        run = self._logged(tracking, context)
        version = models.register(
            self.pipeline.pipeline,
            run,
            self.plan["partition"],
            self.trained["fingerprint"],
            self.evaluated["models"]["challenger"]["metrics"],
        )
        self.links[MlflowLink.name] = tracking.page(run)
        self.log.info("Model version %s: %s", version.version, tracking.page(run))
        return version.to_dict()

    def _logged(self, tracking: Tracking, context: Context) -> str:
        """The training's run, with all that the jobs left and, last, its record: no version without one."""
        found, tuning = self._manifests(), ""
        if self.tuned:
            tuning = self._run(tracking, context, self.tuned["job"], "tune")
            tracking.log_tuning(tuning, self.output_at(self.tuned["output_uri"]))
        run = self._run(tracking, context, self.trained["job"], "train")
        tracking.log_training(run, self.output_at(self.trained["output_uri"]), found)
        if not self.evaluated.get("is_champion"):  # else what it was measured against once stays
            tracking.log_evaluation(run, self.output_at(self.evaluated["output_uri"]))
            self._record(context, run, found, tuning)
        return run

    def _record(self, context: Context, run: str, found: dict[str, dict[str, Any]], tuning: str) -> None:
        """What ``nightshift why`` and ``nightshift reproduce`` need to know of the training."""
        from nightshift.provenance.recorder import Night, write_record

        name, settings = self.pipeline.pipeline, self.settings
        job = JobRef(self.pipeline.platform, self.trained["job"])
        night = Night(
            pipeline=name,
            plan=self.plan,
            tuned=self.tuned,
            trained=self.trained,
            evaluated=self.evaluated,
            manifests=found,
            tuning_run=tuning,
            spec=connect(self.pipeline.platform, settings).submitted(job),
            output=self.output_at(self.trained["output_uri"]),
            dag_run=self._dag_run(context),
            report_of=partial(report_url, settings.ui_url, name),
        )
        write_record(settings.mlflow_tracking_uri, run, night, self.lake())

    def _run(self, tracking: Tracking, context: Context, job: str, verb: str) -> str:
        partition, of = self.plan["partition"], self._dag_run(context)
        tags = {
            "nightshift.pipeline": self.pipeline.pipeline,
            "nightshift.partition": partition,
            "nightshift.dag": of["dag"],
            "nightshift.dag_run": of["run"],
            "nightshift.airflow": of["url"],
        }
        return tracking.find_or_create_run(self.pipeline.pipeline, job, f"{verb} {partition}", tags)

    def _dag_run(self, context: Context) -> dict[str, str]:
        ti = context["ti"]
        return {
            "dag": ti.dag_id,
            "run": ti.run_id,
            "url": RunLink(ti.dag_id, ti.run_id, self.settings.ui_url).url,
        }

    def _manifests(self) -> dict[str, dict[str, Any]]:
        every = sorted(day for part in self.plan["splits"].values() for day in part)
        found = manifests(self.pipeline, self.lake(), self.plan["versions"], every[0], every[-1])
        return {name: manifest.to_dict() for name, manifest in found.items()}
