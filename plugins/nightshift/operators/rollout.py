"""Takes an endpoint to a release, step by step, and back: what deploying and rolling back share."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowTaskTimeout

from nightshift.errors import ConfigError, DeploymentFailed, NightshiftError, TaskInterrupted
from nightshift.hooks.endpoints import endpoints
from nightshift.operators.base import EndpointLink, PipelineOperator
from nightshift.operators.job import settling_s
from nightshift.platforms.endpoints import (
    CHALLENGER,
    CHAMPION,
    OWNER,
    PREVIOUS,
    SINCE,
    STABLE,
    UNDO,
    EndpointSpec,
    Served,
    Variant,
    endpoint_name,
)
from nightshift.platforms.patience import patiently
from nightshift.platforms.rollout import Do, Progress, Rollout, go_back, next_step
from nightshift.triggers.endpoint import EndpointTrigger
from nightshift.triggers.instances import GOES_ON, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow.sdk import Context

    from nightshift.config.pipeline import EndpointConfig, Pipeline
    from nightshift.config.settings import Settings
    from nightshift.platforms.endpoints import Endpoints, EndpointStatus
    from nightshift.platforms.rollout import Step
    from nightshift.registry.models import Models, ModelVersion

__all__ = ["EndpointOperator", "RolloutOperator", "endpoint_spec", "owner_of", "task_of"]

_LONGEST_NOTE = 256
_KEPT_AS_IT_IS = re.compile(r"[A-Za-z0-9 _.:/=+@-]*")
"""What a tag takes without a change."""
_KEPT = ("asked", "asked_at", "begun", "before")
"""Of what this try has done, what the trigger hands back; besides the releases that were checked."""
_KILLED_S = 45.0
"""A worker that was told to end has a minute."""


def endpoint_spec(pipeline: Pipeline, settings: Settings) -> EndpointSpec:
    """The endpoint of a pipeline.

    :raises ConfigError: when its file has none.
    """
    if pipeline.endpoint is None:
        raise ConfigError(f"{pipeline.pipeline} has no endpoint section", fix="see docs/aws/real-time.md")
    name = endpoint_name(pipeline.pipeline, settings.deployment)
    tags = {"deployment": settings.deployment, "pipeline": pipeline.pipeline}
    return EndpointSpec(name, pipeline.endpoint, tags)


def owner_of(context: Context) -> str:
    """Whose deployment it is; of two, that of the run that was started or cleared later is the greater.

    It comes back from a tag as it is: where the names are too long or too strange for one, they are hashed.
    """
    ti, started = context["ti"], f"{context['dag_run'].start_date:%Y-%m-%dT%H:%M:%S.%f}"
    whose = f"{ti.dag_id} {ti.run_id.replace('~', '=7E')} {ti.task_id}"
    if len(started) + 1 + len(whose) >= _LONGEST_NOTE or not _KEPT_AS_IT_IS.fullmatch(whose):
        whose = hashlib.sha256(whose.encode()).hexdigest()[:32]
    return f"{started} {whose}"


def task_of(owner: str) -> tuple[str, str, str] | None:
    """DAG, run and task of an owner; None where they were hashed."""
    words = owner.split(" ")
    if len(words) < 4 or len(owner) >= _LONGEST_NOTE:
        return None
    return words[1], " ".join(words[2:-1]).replace("=7E", "~"), words[-1]


class EndpointOperator(PipelineOperator):
    """What knows the pipeline's endpoint."""

    template_fields: tuple[str, ...] = (*PipelineOperator.template_fields, "plan")
    operator_extra_links = (EndpointLink(),)

    def __init__(self, *, plan: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def endpoints(self) -> Endpoints:
        """Those of the pipeline's platform, signed in to."""
        return endpoints(self.pipeline.platform, self.settings)

    @property
    def spec(self) -> EndpointSpec:
        """The endpoint as the pipeline file wants it."""
        return endpoint_spec(self.pipeline, self.settings)

    @property
    def config(self) -> EndpointConfig:
        """The section of the pipeline file."""
        return self.spec.config

    def models(self) -> Models:
        """The registry."""
        from nightshift.registry.models import Models

        return Models(self.settings.mlflow_tracking_uri)

    def full_release(self, there: Endpoints, version: ModelVersion) -> tuple[str, str]:
        """The model, and the release in which it answers alone; made when they are not there."""
        folder = self.models().download(version, self.settings.home / "models")
        job = {"pipeline": self.pipeline.pipeline, "partition": version.partition}
        model = patiently(there.model, self.spec, Served(version.version, folder, job))
        return model, patiently(there.release, self.spec, [Variant(CHAMPION, model, 1.0)])

    def link_to(self, there: Endpoints) -> None:
        """Remember where a person can look at the endpoint."""
        self.links[EndpointLink.name] = there.console_url(self.spec.name) or ""


class RolloutOperator(EndpointOperator):
    """Takes one step after the other until the endpoint serves what it is to serve.

    Where it stands is read off the endpoint each time: a retry or a clear goes on from there. When it
    fails, or somebody ends it, the endpoint goes back to what it served before.

    :param deferrable: wait in the triggerer, without a worker.
    :param defer_after_s: seconds that the worker waits first.
    """

    def __init__(self, *, deferrable: bool = True, defer_after_s: float = 10.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.defer_after_s = defer_after_s
        self._progress = Progress()
        self._started = 0.0
        self._ti: Any = None
        self._owner = ""
        self._leaves = False

    @abstractmethod
    def rollout(self, context: Context, there: Endpoints, status: EndpointStatus | None) -> Rollout:
        """What is to be deployed; asked again whenever the task wakes up."""

    @abstractmethod
    def check(self, there: Endpoints, variant: str) -> None:
        """Look whether a variant answers what it should.

        :raises DeploymentFailed: when it does not.
        """

    @abstractmethod
    def settled(self, status: EndpointStatus | None, plan: Rollout) -> Mapping[str, str]:
        """The notes to leave when it is done."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Deploy, and wait for it.

        :returns: ``{endpoint, release, version, removed, usd_per_hour}``, or ``{superseded}``.
        :raises DeploymentFailed: when the endpoint does not take it, or answers otherwise than it should.
        """
        self._ti, self._owner, self._started = context["ti"], owner_of(context), time.time()
        try:
            there = self.endpoints()
            self._finish_undoing(there)
            return self._go_on(context, there)
        except AirflowTaskTimeout:
            self._undo("its task took longer than its execution_timeout", self._patience_s)
            raise

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on where the trigger stopped waiting."""
        facts = event["facts"]
        self._ti, self._owner, self._started = context["ti"], owner_of(context), facts["started"]
        self._progress = Progress(**{key: facts[key] for key in _KEPT}, checked=set(facts["checked"]))
        return self._go_on(context, self.endpoints())

    def on_kill(self) -> None:
        """Go back when somebody has ended the task; not when only its worker has to go.

        In a thread, because this interrupts the task anywhere.
        """
        threading.Thread(target=self._undo_if_ended_by_somebody, daemon=True).start()

    def _undo_if_ended_by_somebody(self) -> None:
        state = state_of(self._ti)
        if state is None or state in GOES_ON:
            self.log.warning(
                "The worker has to go, the task is %s: the next try goes on", state or "not known"
            )
            self._leaves = True
        else:
            self.log.info("The task is %s: the endpoint goes back", state)
            self._undo(f"its task was ended: {state}", _KILLED_S)

    def _finish_undoing(self, there: Endpoints) -> None:
        """Before anything new: an earlier deployment has to be back, and this one takes over from others."""
        name, status = self.spec.name, patiently(there.status, self.spec.name)
        if status is None:
            return
        if status.notes.get(UNDO) and not go_back(there, name, status.notes[UNDO], self._deadline()):
            raise DeploymentFailed(f"endpoint {name} is not back yet from an earlier deployment")
        if status.notes.get(OWNER, "") <= self._owner:
            patiently(there.note, name, **{OWNER: self._owner})

    @property
    def _patience_s(self) -> float:
        return self.config.timeout_minutes * 60

    def _deadline(self) -> float:
        """Of the change that is under way."""
        return max(self._started, self._progress.asked_at) + self._patience_s

    def _go_on(self, context: Context, there: Endpoints) -> dict[str, Any]:
        self.link_to(there)
        plan = self.rollout(context, there, patiently(there.status, self.spec.name))
        while True:
            status = patiently(there.status, plan.name)
            step = next_step(plan, status, self._progress, time.time())
            if step.do is Do.LEAVE:
                self.log.warning("Endpoint %s: %s", plan.name, step.reason)
                return {"endpoint": plan.name, "superseded": True}
            if step.do is Do.FAIL:
                raise self._failed(step.reason)
            if step.do is Do.SETTLE:
                return self._settle(there, plan, status)
            if step.do is Do.DELETE:
                return self._anew(context, there, plan)
            try:
                self._take(there, plan, step, status)
            except NightshiftError as error:
                if error.retryable:
                    raise
                raise self._failed(error.what, error.fix) from error

    def _take(self, there: Endpoints, plan: Rollout, step: Step, status: EndpointStatus | None) -> None:
        before = status.reason if status else ""
        take: dict[Do, Callable[[], None]] = {
            Do.DEPLOY: lambda: self._deploy(there, plan, step.release, before),
            Do.CHECK: lambda: self._check(there, step),
            Do.SHIFT: lambda: self._shift(there, plan),
            Do.WAIT: lambda: self._wait(there, self._deadline(), 0.0),
            Do.BAKE: lambda: self._wait(there, step.until + self._patience_s, step.until),
        }
        take[step.do]()

    def _deploy(self, there: Endpoints, plan: Rollout, release: str, before: str) -> None:
        self.log.info("Endpoint %s is to serve %s", plan.name, release)
        now = time.time()
        if patiently(there.deploy, plan.name, release, self.spec, {OWNER: plan.owner}):
            self._progress.ask(release, now, before)

    def _anew(self, context: Context, there: Endpoints, plan: Rollout) -> dict[str, Any]:
        """With its endpoint, what was made for it goes too."""
        self.log.warning("Endpoint %s never served: it is made anew", plan.name)
        patiently(there.delete, plan.name)
        return self._go_on(context, there)

    def _check(self, there: Endpoints, step: Step) -> None:
        self.check(there, step.variant)
        self._progress.checked.add(step.release)

    def _shift(self, there: Endpoints, plan: Rollout) -> None:
        self.log.info("Endpoint %s: %g of its requests for the new model", plan.name, plan.weight)
        patiently(there.shift, plan.name, {CHAMPION: 1.0 - plan.weight, CHALLENGER: plan.weight})
        patiently(there.note, plan.name, **{SINCE: f"{plan.canary} {time.time():.0f}"})

    def _wait(self, there: Endpoints, deadline: float, until: float) -> None:
        """A look's pause, or the way to the triggerer.

        :raises DeploymentFailed: when the change takes too long.
        :raises TaskInterrupted: when the worker has to go.
        """
        now = time.time()
        if self._leaves:
            raise TaskInterrupted(f"the worker has to go, endpoint {self.spec.name} is left to the next try")
        if now >= deadline:
            minutes = self.config.timeout_minutes
            raise DeploymentFailed(f"the endpoint was still being changed after {minutes:g} minutes")
        if self.deferrable and now - max(self._started, self._progress.asked_at) >= self.defer_after_s:
            self._defer(there, deadline, until)
        time.sleep(min(there.poll_s, max(0.0, (until or deadline) - now)))

    def _defer(self, there: Endpoints, deadline: float, until: float) -> None:
        done = self._progress
        kept = {key: getattr(done, key) for key in _KEPT}
        facts = {"started": self._started, **kept, "checked": sorted(done.checked)}
        trigger = EndpointTrigger(
            platform=self.pipeline.platform,
            name=self.spec.name,
            owner=self._owner,
            until=until,
            deadline=deadline,
            poll_s=there.poll_s,
            facts=facts,
            not_before=time.time() + settling_s(),
        )
        self.defer(trigger=trigger, method_name="execute_complete")

    def _settle(self, there: Endpoints, plan: Rollout, status: EndpointStatus | None) -> dict[str, Any]:
        """It serves and was checked: that stays, whatever becomes of what is around it."""
        notes = self.settled(status, plan)
        patiently(there.note, plan.name, **notes)
        self._around(there, plan)
        now = patiently(there.status, plan.name)
        if now is None or now.notes.get(OWNER):
            self.log.warning("Endpoint %s: another deployment has taken over: nothing is removed", plan.name)
            return {"endpoint": plan.name, "superseded": True}
        removed = patiently(there.tidy, plan.name, (notes[STABLE], notes[PREVIOUS]))
        champion = now.variant(CHAMPION)
        found = {
            "endpoint": plan.name,
            "release": plan.full,
            "version": champion.version if champion else "",
            "removed": len(removed),
            "usd_per_hour": round(now.usd_per_hour, 4),
        }
        self.log.info(
            "Endpoint %s serves version %s for %.4f USD an hour",
            *(plan.name, found["version"], found["usd_per_hour"]),
        )
        return found

    def _around(self, there: Endpoints, plan: Rollout) -> None:
        """
        :raises ConfigError: when it cannot be made what the file says; the next try does it.
        """
        try:
            patiently(there.settle, self.spec)
        except NightshiftError as error:
            if error.retryable:
                raise
            raise ConfigError(
                f"endpoint {plan.name} serves release {plan.full}, which was checked and stays; what is "
                f"around it is not yet as the pipeline file says: {error.what}",
                fix=f"{error.fix or 'see the reason'}; then clear the task",
            ) from error

    def _failed(self, why: str, fix: str = "") -> DeploymentFailed:
        try:
            back = self._undo(why, self._patience_s)
            how = "is as it was before" if back else "is on its way back, the reaper looks after it"
        except NightshiftError as error:
            if error.retryable:
                raise
            how = f"is not as it was before, for going back failed too ({error.what})"
        return DeploymentFailed(f"endpoint {self.spec.name} {how}: {why}", fix=fix)

    def _undo(self, why: str, patience_s: float) -> bool:
        there, spec = self.endpoints(), self.spec
        status = patiently(there.status, spec.name)
        if status is not None and status.notes.get(OWNER, "") > self._owner:
            return True  # a newer deployment has taken over
        done = go_back(there, spec.name, why, time.time() + patience_s)
        if done and patiently(there.status, spec.name) is not None:
            try:
                patiently(there.settle, spec)
            except NightshiftError as error:
                self.log.warning("Endpoint %s is back, what is around it is not: %s", spec.name, error)
        return done
