"""Registers the night's model in MLflow and decides whether it takes the champion's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.operators.base import MlflowLink, PipelineOperator
from nightshift.operators.job import local_output
from nightshift.operators.night import manifests

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from nightshift.registry.models import ModelVersion
    from nightshift.registry.promotion import Verdict

__all__ = ["PromoteOperator", "RegisterOperator"]


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
        if self.tuned:
            tuning = self._run(tracking, context, self.tuned["job"], "tune")
            tracking.log_tuning(tuning, local_output(self.tuned["output_uri"]))
        run = self._run(tracking, context, self.trained["job"], "train")
        tracking.log_training(run, local_output(self.trained["output_uri"]), self._manifests())
        tracking.log_evaluation(run, local_output(self.evaluated["output_uri"]))
        version = Models(self.settings.mlflow_tracking_uri).register(
            self.pipeline.pipeline,
            run,
            self.plan["partition"],
            self.trained["fingerprint"],
            self.evaluated["models"]["challenger"]["metrics"],
        )
        self.links[MlflowLink.name] = tracking.page(run)
        self.log.info("Model version %s: %s", version.version, tracking.page(run))
        return version.to_dict()

    def _run(self, tracking: Any, context: Context, job: str, verb: str) -> str:
        ti, partition = context["ti"], self.plan["partition"]
        tags = {
            "nightshift.pipeline": self.pipeline.pipeline,
            "nightshift.partition": partition,
            "nightshift.dag": ti.dag_id,
            "nightshift.dag_run": ti.run_id,
            "nightshift.airflow": f"{self.settings.ui_url}/dags/{ti.dag_id}/runs/{ti.run_id}",
        }
        found: str = tracking.find_or_create_run(self.pipeline.pipeline, job, f"{verb} {partition}", tags)
        return found

    def _manifests(self) -> dict[str, dict[str, Any]]:
        every = sorted(day for part in self.plan["splits"].values() for day in part)
        found = manifests(self.pipeline, self.lake(), self.plan["versions"], every[0], every[-1])
        return {name: manifest.to_dict() for name, manifest in found.items()}


class PromoteOperator(PipelineOperator):
    """Moves ``champion`` to the new version when the gate says so; the only place where it moves.

    :param registered, evaluated: what the night's tasks returned.
    :param asset: told about the partition's decision, whether the champion changed or not.
    """

    template_fields = (*PipelineOperator.template_fields, "registered", "evaluated")
    operator_extra_links = (MlflowLink(),)

    def __init__(self, *, registered: Any, evaluated: Any, asset: Asset, **kwargs: Any) -> None:
        # One decision at a time: two runs that decide at once could each beat a champion that is gone.
        super().__init__(outlets=[asset], max_active_tis_per_dag=1, **kwargs)
        self.registered = registered
        self.evaluated = evaluated
        self.asset = asset

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{verdict, reasons, champion}``; champion is a model version as a dict, or None.
        """
        from nightshift.registry.models import Models
        from nightshift.registry.promotion import apply

        models = Models(self.settings.mlflow_tracking_uri)
        challenger = models.get(self.registered["name"], self.registered["version"])
        before = models.champion(challenger.name)
        verdict = self._verdict(context, challenger, before)
        champion = apply(models, challenger, verdict)
        self.log.info("Version %s: %s. %s", challenger.version, verdict.verdict, "; ".join(verdict.reasons))
        self.links[MlflowLink.name] = models.page(champion or challenger)
        context["outlet_events"][self.asset].add_partitions(self.partition(context))
        return {**verdict.to_dict(), "champion": champion.to_dict() if champion else None}

    def _verdict(self, context: Context, challenger: ModelVersion, before: ModelVersion | None) -> Verdict:
        """The gate's word, unless there is nothing to ask it."""
        from nightshift.registry.promotion import Verdict, decide

        asked = context["params"].get("promote") or self.pipeline.gate.promote
        if asked == "never":
            return Verdict("hold", ("promotion was switched off for this run",))
        if before and before.version == challenger.version:
            return Verdict(
                "hold", (f"version {before.version} is the champion: same data, code and parameters",)
            )
        compared = self.evaluated["champion_version"]
        if compared != (before.version if before else ""):
            now = before.version if before else "none"
            return Verdict(
                "hold", (f"the champion is {now}, compared was {compared or 'none'}: clear evaluate",)
            )
        measured = self.evaluated["models"]
        return decide(
            self.pipeline.gate,
            measured["challenger"]["metrics"],
            measured["champion"]["metrics"] if before else None,
            challenger.partition,
            before.partition if before else None,
        )
