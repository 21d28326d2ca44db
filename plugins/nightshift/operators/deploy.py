"""Real time: the champion comes to its endpoint, is checked there, and goes back when it has to."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from nightshift.errors import ConfigError, ModelVersionAbsent
from nightshift.operators.learn import NightJobOperator
from nightshift.operators.night import pin_versions
from nightshift.operators.rollout import EndpointOperator, RolloutOperator
from nightshift.platforms.base import JobInput
from nightshift.platforms.endpoints import (
    BARRED,
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    STABLE,
    EndpointState,
    Variant,
)
from nightshift.platforms.patience import patiently
from nightshift.platforms.rollout import Probe, Rollout, check_answers, settled_notes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from nightshift.platforms.base import JobRef, JobResult, JobSpec
    from nightshift.platforms.endpoints import Endpoints, EndpointStatus
    from nightshift.registry.models import Models, ModelVersion

__all__ = ["DeployOperator", "PlanDeploymentOperator", "ProbeOperator", "RollbackEndpointOperator"]

DEPLOY, KEEP, ROLL_BACK, NOTHING = "deploy", "keep", "roll back", "nothing"
"""What a run is to do; ``keep``: the champion is deployed already, only what is around it is looked after."""

_STORE_KEY = "nightshift_endpoint"


class PlanDeploymentOperator(EndpointOperator):
    """Says what the run has to do, once for all of its tasks: the ledger may change while they run."""

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{action, version, partition, release, weight}``.
        :raises ModelVersionAbsent: when MLflow has no such version.
        :raises ConfigError: when a setting is missing that the endpoint needs.
        """
        if context["params"].get("rollback"):
            return {"action": ROLL_BACK}
        version = self._version(context)
        if version is None:
            raise AirflowSkipException(f"{self.pipeline.pipeline} has no champion to deploy yet")
        there = self.endpoints()
        there.check_settings(self.spec)
        self.link_to(there)
        status = patiently(there.status, self.spec.name)
        if self._is_barred(context, status, version):
            return {"action": NOTHING, "version": version.version}
        release = self.full_release(there, version)[1]
        done = status is not None and status.release == release == status.notes.get(STABLE)
        done = done and status is not None and status.state is not EndpointState.FAILED
        self.log.info(
            "Version %s of %s: %s",
            *(version.version, version.name, "is deployed already" if done else "is to be deployed"),
        )
        found = {"version": version.version, "partition": version.partition, "release": release}
        return {"action": KEEP if done else DEPLOY, **found, "weight": self._weight(context)}

    def _version(self, context: Context) -> ModelVersion | None:
        """The form's, else the ledger's champion, whatever the alias says."""
        from nightshift.registry.champion import current
        from nightshift.registry.ledger import Ledger

        asked = str(context["params"].get("version") or "").strip()
        models, ledger = self.models(), Ledger(self.lake())
        return models.get(ledger.model, asked) if asked else current(models, ledger)

    def _is_barred(self, context: Context, status: EndpointStatus | None, version: ModelVersion) -> bool:
        barred = status.notes.get(BARRED, "") if status else ""
        if barred != version.version or context["params"].get("version"):
            return False
        self.log.warning(
            "Version %s is still the ledger's champion, but a person has taken it off the endpoint: it comes "
            "back when somebody names it in the form, or when the ledger has another champion. To change "
            "the champion: nightshift rollback %s",
            *(barred, self.pipeline.pipeline),
        )
        return True

    def _weight(self, context: Context) -> float:
        asked = context["params"].get("weight")
        if asked is not None:
            return float(asked)
        return self.config.canary.weight if self.config.canary else 1.0


class ProbeOperator(NightJobOperator):
    """Real rows of the version's own last day with its batch predictions, computed as a job.

    :param plan: what :class:`PlanDeploymentOperator` returned.
    """

    kind = "probe"

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :raises AirflowSkipException: when there is nothing to deploy.
        """
        if self.plan["action"] != DEPLOY:
            raise AirflowSkipException(f"there is nothing to deploy: {self.plan['action']}")
        return super().execute(context)

    def partition(self, context: Context) -> str:
        """The version's, which is the last day of its holdout."""
        return str(self.plan["partition"])

    def build_spec(self, context: Context) -> JobSpec:
        """One job over the rows of one day."""
        assert self.pipeline.endpoint is not None  # the plan has looked
        check, plan = self.pipeline.endpoint.check, self.plan
        version = self._models().get(self.pipeline.pipeline, plan["version"])
        folder = self._models().download(version, self.settings.home / "models")
        model = JobInput("models/champion", folder.as_uri(), f"{version.name}@{version.version}")
        self.plan = {**plan, "versions": pin_versions(self.pipeline, self.lake())}
        spec = self.spec_of(
            context,
            days_by_split={"train": [], "validation": [], "holdout": [plan["partition"]]},
            resources=check.resources,
            hyperparameters={},
            models=(model,),
        )
        self.plan = plan
        return replace(spec, job={**spec.job, "scoring": {"batch_rows": check.rows}})

    def _models(self) -> Models:
        from nightshift.registry.models import Models

        return Models(self.settings.mlflow_tracking_uri)

    def finish(self, context: Context, ref: JobRef, result: JobResult) -> dict[str, Any]:
        """
        :returns: ``{rows}``.
        """
        text = (self.output_at(result.output_uri) / "probe.jsonl").read_text(encoding="utf-8")
        return {"rows": len(text.splitlines())}


class DeployOperator(RolloutOperator):
    """Deploys the planned version: beside the old one first, checked, with a share, then alone.

    :param probed: what :class:`ProbeOperator` returned, None when it was skipped.
    """

    template_fields = (*RolloutOperator.template_fields, "probed")

    def __init__(self, *, probed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.probed = probed

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :raises AirflowSkipException: when the plan says that there is nothing to do.
        """
        action = self.plan["action"] if self.plan else NOTHING  # the plan was skipped: no champion yet
        if action not in (DEPLOY, KEEP):
            raise AirflowSkipException(f"there is nothing to deploy: {action}")
        return super().execute(context)

    def rollout(self, context: Context, there: Endpoints, status: EndpointStatus | None) -> Rollout:
        """At once where nothing serves yet, and back to the release that served before."""
        version = self.models().get(self.pipeline.pipeline, self.plan["version"])
        model, full = self.full_release(there, version)
        canary, weight = "", float(self.plan["weight"])
        notes = status.notes if status else {}
        known = (notes.get(STABLE), notes.get(PREVIOUS))
        if notes.get(STABLE) and full not in known and weight < 1.0:
            old = [each.model for each in patiently(there.variants_of, notes[STABLE])]
            both = [Variant(CHAMPION, old[0], 1.0), Variant(CHALLENGER, model, 0.0)]
            canary = patiently(there.release, self.spec, both)
        bake = self.config.canary.minutes * 60 if self.config.canary else 0.0
        return Rollout(self.spec.name, self._owner, full, canary, weight, bake)

    def check(self, there: Endpoints, variant: str) -> None:
        """Its answers have to be the batch predictions; where nothing is to change, nothing is asked."""
        if self.probed is None and self.plan["action"] == KEEP:
            return
        if self.probed is None:
            raise ModelVersionAbsent(
                "there are no rows to check the endpoint with", fix="clear the task 'probe'"
            )
        path = self.output_at(self.probed["output_uri"]) / "probe.jsonl"
        probes = [_probe(line) for line in path.read_text(encoding="utf-8").splitlines()]
        check_answers(there, self.spec.name, variant, probes, self.config.check.tolerance)
        self.log.info("%s: %d answers are the batch predictions", variant, len(probes))

    def settled(self, status: EndpointStatus | None, plan: Rollout) -> Mapping[str, str]:
        """A version that was taken off may come back from now on."""
        return {**settled_notes(status, plan.full), BARRED: ""}


class RollbackEndpointOperator(RolloutOperator):
    """Brings the endpoint back: out of a deployment that is under way, else to the release before.

    The version that had to go stays away until a person names it, or the ledger has another champion.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :raises AirflowSkipException: when the form does not ask for it.
        :raises ConfigError: when there is nothing to go back to.
        """
        if self.plan["action"] != ROLL_BACK:
            raise AirflowSkipException("the form does not ask for it")
        return super().execute(context)

    def rollout(self, context: Context, there: Endpoints, status: EndpointStatus | None) -> Rollout:
        """Decided once: a retry that looked again would go forth and back."""
        store: Any = context["task_state_store"]
        kept = store.get(_STORE_KEY)
        if not kept:
            kept = self._target(there, status)
            store.set(_STORE_KEY, kept)
        self._barred = str(kept["barred"])
        self._progress.checked.add(kept["release"])
        return Rollout(self.spec.name, self._owner, kept["release"])

    def _target(self, there: Endpoints, status: EndpointStatus | None) -> dict[str, str]:
        if status is None:
            raise ConfigError(f"there is no endpoint {self.spec.name}")
        stable = status.notes.get(STABLE, "")
        under_way = status.going_to or status.release != stable
        target = stable if under_way else status.notes.get(PREVIOUS, "")
        if not target:
            raise ConfigError(
                f"endpoint {status.name} has served one release only",
                fix=f"deploy another version, or 'nightshift endpoint delete {self.pipeline.pipeline}'",
            )
        return {"release": target, "barred": _newest(there, status, stable)}

    def check(self, there: Endpoints, variant: str) -> None:
        """It was checked when it was deployed."""

    def settled(self, status: EndpointStatus | None, plan: Rollout) -> Mapping[str, str]:
        """The version that had to go is kept away."""
        return {**settled_notes(status, plan.full), BARRED: self._barred}


def _newest(there: Endpoints, status: EndpointStatus, stable: str) -> str:
    """The version that has to go: of the release that is on its way, else of the one that serves."""
    coming = status.going_to if status.going_to != stable else ""
    variants = patiently(there.variants_of, coming) if coming else status.variants
    versions = {each.name: each.version for each in variants}
    return versions.get(CHALLENGER) or versions.get(CHAMPION, "")


def _probe(line: str) -> Probe:
    document = json.loads(line)
    return Probe(json.dumps(document["row"]), int(document["row"]["row_id"]), float(document["prediction"]))
