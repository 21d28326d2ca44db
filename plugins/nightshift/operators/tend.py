"""Brings endpoints back whose deployment was given up half-way, when whoever should have done it died."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from nightshift.config.loader import load_all
from nightshift.hooks.endpoints import endpoints
from nightshift.hooks.settings import current_settings
from nightshift.operators.base import retry_policy
from nightshift.operators.reap import WAITING
from nightshift.operators.rollout import endpoint_spec, task_of
from nightshift.platforms.endpoints import ENDPOINT_PLATFORMS, OWNER, UNDO
from nightshift.platforms.patience import patiently
from nightshift.platforms.rollout import go_back
from nightshift.triggers.instances import named

if TYPE_CHECKING:
    from airflow.sdk import Context

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings
    from nightshift.platforms.endpoints import Endpoints, EndpointStatus

__all__ = ["TendEndpointsOperator"]


class TendEndpointsOperator(BaseOperator):
    """Looks at the endpoint of every pipeline: one that has to go back, or whose deployment no task goes on
    with, goes back to its stable release.

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
        :returns: ``{looked_at, went_back: [{endpoint, why, done}]}``.
        """
        settings, looked_at = current_settings(), 0
        went_back = []
        for pipeline in load_all(settings)[0]:
            if pipeline.endpoint is None or pipeline.platform not in ENDPOINT_PLATFORMS:
                continue
            looked_at += 1
            if found := self._tend(pipeline, settings, context["ti"].get_task_states):
                went_back.append(found)
        self.log.info("%d endpoints looked at, %d had to go back", looked_at, len(went_back))
        return {"looked_at": looked_at, "went_back": went_back}

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


def _is_there(there: Endpoints, name: str) -> bool:
    return patiently(there.status, name) is not None
