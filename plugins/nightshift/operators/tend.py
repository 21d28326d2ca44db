"""Brings endpoints back whose deployment was given up half-way, and tells those that nobody wants."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from nightshift.config.loader import load_all
from nightshift.errors import ConfigError, NightshiftError, PlatformUnavailable
from nightshift.hooks.endpoints import endpoints
from nightshift.hooks.settings import current_settings
from nightshift.notifiers import metrics
from nightshift.notifiers.alerts import tell
from nightshift.notifiers.messages import endpoint_unwanted
from nightshift.operators.base import retry_policy
from nightshift.operators.reap import WAITING
from nightshift.operators.rollout import endpoint_spec, task_of
from nightshift.platforms.endpoints import ENDPOINT_PLATFORMS, OWNER, UNDO, endpoint_name
from nightshift.platforms.patience import patiently
from nightshift.platforms.rollout import go_back
from nightshift.triggers.instances import named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings
    from nightshift.platforms.endpoints import Endpoints, EndpointStatus

__all__ = ["TendEndpointsOperator"]


@dataclass(slots=True)
class _Round:
    """What one look at all endpoints has found."""

    looked_at: int = 0
    went_back: list[dict[str, Any]] = field(default_factory=list)
    unwanted: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, Exception] = field(default_factory=dict)


class TendEndpointsOperator(BaseOperator):
    """Looks at the endpoint of every pipeline: one that has to go back, or whose deployment no task goes on
    with, goes back to its stable release. One that no pipeline file asks for is told, and left alone.

    :param patience_s: for each endpoint; what takes longer is gone on with the next time.
    """

    def __init__(self, *, patience_s: float = 480.0, **kwargs: Any) -> None:
        kwargs.setdefault("retries", 1)
        kwargs.setdefault("retry_delay", timedelta(seconds=30))
        kwargs.setdefault("retry_policy", retry_policy())
        super().__init__(**kwargs)
        self.patience_s = patience_s

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{looked_at, went_back: [{endpoint, why, done}], unwanted: [{endpoint, usd_per_hour}]}``.
        :raises ConfigError: when some could not be looked after, after all others; names each.
        :raises PlatformUnavailable: the same, where waiting may help.
        """
        settings, found = current_settings(), _Round()
        good, bad = load_all(settings)
        on_clouds = [each for each in good if each.platform in ENDPOINT_PLATFORMS]
        for pipeline in on_clouds:
            if pipeline.endpoint is not None:
                self._look_after(pipeline, settings, context["ti"].get_task_states, found)
        known = {path.stem for path in bad} | {each.pipeline for each in good if each.endpoint is not None}
        wanted = {endpoint_name(each, settings.deployment) for each in known}
        for platform in dict.fromkeys(each.platform for each in on_clouds):
            self._look_for_others(platform, wanted, on_clouds, settings, found)
        self.log.info("%d endpoints looked at, %d had to go back", found.looked_at, len(found.went_back))
        if found.errors:
            raise _all_of(found.errors)
        return {"looked_at": found.looked_at, "went_back": found.went_back, "unwanted": found.unwanted}

    def _look_after(self, pipeline: Pipeline, settings: Settings, ask: Any, found: _Round) -> None:
        """One endpoint; what is wrong with it is no reason to leave the others."""
        found.looked_at += 1
        try:
            if one := self._tend(pipeline, settings, ask):
                found.went_back.append(one)
        except Exception as error:
            self.log.exception("The endpoint of %s could not be looked after", pipeline.pipeline)
            found.errors[pipeline.pipeline] = error

    def _look_for_others(
        self,
        platform: str,
        wanted: set[str],
        pipelines: Sequence[Pipeline],
        settings: Settings,
        found: _Round,
    ) -> None:
        try:
            there = patiently(endpoints(platform, settings).find, {"deployment": settings.deployment})
        except Exception as error:
            if not found.looked_at:  # a deployment without endpoints may not even be allowed to look
                self.log.warning("Nobody can say whether there are endpoints on %s: %s", platform, error)
                return
            self.log.exception("The endpoints of %s could not be listed", platform)
            found.errors[platform] = error
            return
        others = [each for each in there if each.name not in wanted]
        for each in others:
            found.unwanted.append({"endpoint": each.name, "usd_per_hour": round(each.usd_per_hour, 4)})
            self._tell(each, pipelines, settings)
        metrics.endpoints_unwanted(platform, math.fsum(each.usd_per_hour for each in others))

    def _tell(self, endpoint: EndpointStatus, pipelines: Sequence[Pipeline], settings: Settings) -> None:
        """Its pipeline's channels; where its file is gone, those of the others."""
        self.log.warning(
            "Endpoint %s costs %.4f USD an hour, and no pipeline file asks for it: put its section back, or "
            "'nightshift endpoint delete %s --yes'",
            *(endpoint.name, endpoint.usd_per_hour, endpoint.name),
        )
        of_its_own = [p for p in pipelines if endpoint_name(p.pipeline, settings.deployment) == endpoint.name]
        for pipeline in of_its_own or pipelines:
            message = endpoint_unwanted(pipeline.pipeline, endpoint.name, endpoint.usd_per_hour)
            tell(pipeline, message, cause=f"endpoint unwanted:{endpoint.name}:{endpoint.created_at:.0f}")

    def _tend(self, pipeline: Pipeline, settings: Settings, ask: Any) -> dict[str, Any] | None:
        there, spec = endpoints(pipeline.platform, settings), endpoint_spec(pipeline, settings)
        status = patiently(there.status, spec.name)
        why = self._why(status, ask)
        if not why:
            return None
        self.log.warning("Endpoint %s goes back: %s", spec.name, why)
        done = go_back(there, spec.name, why, time.time() + self.patience_s)
        if done and _is_there(there, spec.name):
            patiently(there.settle, spec)
        return {"endpoint": spec.name, "why": why, "done": done}

    def _why(self, status: EndpointStatus | None, ask: Any) -> str:
        """Empty where there is nothing to be done."""
        if status is None:
            return ""
        if status.notes.get(UNDO):
            return status.notes[UNDO]
        task = task_of(status.notes.get(OWNER, ""))
        if task is None:
            return ""
        dag, run, name = task
        state = named(ask(dag_id=dag, run_ids=[run]).get(run, {}), name)
        return "" if state in WAITING else f"its task {name} of {dag} {run} is {state}"


def _all_of(errors: Mapping[str, Exception]) -> NightshiftError:
    """One error that names all; a retry may cure it where it may cure each of them."""
    told = "; ".join(f"{name}: {error}" for name, error in errors.items())
    may_pass = all(isinstance(error, NightshiftError) and error.retryable for error in errors.values())
    kind = PlatformUnavailable if may_pass else ConfigError
    return kind(f"{len(errors)} of the endpoints could not be looked after: {told}")


def _is_there(there: Endpoints, name: str) -> bool:
    return patiently(there.status, name) is not None
