"""A task over all of its tries, on real processes: the operator, its store, and a platform with faults."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT
from nightshift.operators.learn import TrainOperator, TuneOperator
from nightshift.operators.score import BatchScoreOperator
from nightshift.platforms.local import LocalPlatform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nightshift.platforms.base import JobRef, JobResult, JobSpec, JobStatus, LogChunk

__all__ = ["Bench", "FaultyPlatform", "Store"]

PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")


class FaultyPlatform(LocalPlatform):
    """A local platform whose calls fail as they are told to, as a cloud's API does.

    ``faults[method]`` are raised one after the other, before the call; ``lost_replies`` is how many
    submits do their work and then raise.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.faults: dict[str, list[Exception]] = {}
        self.lost_replies: list[Exception] = []
        self.calls: list[str] = []

    def _fault(self, method: str) -> None:
        self.calls.append(method)
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    def submit(self, spec: JobSpec, name: str) -> JobRef:
        self._fault("submit")
        ref = super().submit(spec, name)
        if self.lost_replies:
            raise self.lost_replies.pop(0)
        return ref

    def status(self, ref: JobRef) -> JobStatus | None:
        self._fault("status")
        return super().status(ref)

    def logs(self, ref: JobRef, position: int = 0) -> LogChunk:
        self._fault("logs")
        return super().logs(ref, position)

    def stop(self, ref: JobRef, reason: str = "asked to stop") -> None:
        self._fault("stop")
        super().stop(ref, reason)


class Toy:
    """Lets a job operator run what the test puts into ``spec``."""

    spec: JobSpec
    of: LocalPlatform

    facts: dict[str, str | int]
    pipeline: Any

    def build_spec(self, context: Any) -> JobSpec:
        self.facts["colour"] = "blue"
        return self.spec

    def platform(self) -> LocalPlatform:
        return self.of

    def lake(self) -> Any:
        from nightshift.lake.storage import Location
        from nightshift.lake.tables import Lake

        return Lake(Location((self.of.home.parent / "lake").as_uri()), self.pipeline.pipeline)

    def finish(self, context: Any, ref: JobRef, result: JobResult) -> dict[str, Any]:
        return {"finished": True}


class ToyTrain(Toy, TrainOperator):
    """The verb train."""


class ToyTune(Toy, TuneOperator):
    """The verb tune."""


class ToyScore(Toy, BatchScoreOperator):
    """The verb score."""


@dataclass
class Store:
    """A task state store, shared by the tries of a task."""

    values: dict[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = value


@dataclass
class Bench:
    """One task over all of its tries.

    :param clears: how often a user has cleared the task.
    :param poll_s: seconds between two looks at the job; None: what the platform finds right.
    """

    platform: FaultyPlatform
    spec: JobSpec
    counter: Path
    store: Store = field(default_factory=Store)
    params: Mapping[str, Any] = field(default_factory=dict)
    clears: int = 0
    verb: str = "train"
    partition: str = "2013-01-05"
    poll_s: float | None = 0.02

    def operator(self, *, deferrable: bool = False, **changes: Any) -> Any:
        """A new try, as a new worker process would build it."""
        common = {"task_id": "toy", "pipeline": PIPELINE, "deferrable": deferrable}
        pace = {"defer_after_s": 0, "poll_s": self.poll_s}
        made: Any
        if self.verb == "score":
            made = ToyScore(**common, **pace)
        else:
            made = {"train": ToyTrain, "tune": ToyTune}[self.verb](plan={"tune": True}, **common, **pace)
        made.of = self.platform
        made.spec = replace(self.spec, kind=self.verb, job={**self.spec.job, **changes})
        return made

    @property
    def context(self) -> Any:
        """What Airflow gives to a try: each clear lets the task try that much more often."""
        ti = SimpleNamespace(
            dag_id="d", run_id="r", task_id="toy", map_index=-1, max_tries=3 + 4 * self.clears
        )
        run = SimpleNamespace(partition_key=self.partition)
        return {"ti": ti, "dag_run": run, "params": dict(self.params), "task_state_store": self.store}

    def deferred(self, operator: Any) -> Any:
        """Defer; the trigger."""
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(self.context)
        return deferred.value.trigger

    @staticmethod
    def fired(trigger: Any) -> dict[str, Any]:
        """What a trigger reports at its end."""

        async def first() -> Any:
            return await anext(trigger.run())

        found: dict[str, Any] = asyncio.run(first()).payload
        return found

    def event_of(self, operator: Any) -> dict[str, Any]:
        """Defer, and what the trigger then reports."""
        return self.fired(self.deferred(operator))

    def run(self, *, deferrable: bool, **changes: Any) -> dict[str, Any]:
        """One try to its end: in the worker, or through the triggerer as often as the worker defers."""
        step = partial(self.operator(deferrable=deferrable, **changes).execute, self.context)
        while True:
            try:
                found: dict[str, Any] = step()
                return found
            except TaskDeferred as deferred:
                event = self.fired(deferred.trigger)
                woken = self.operator(deferrable=True, **changes)
                step = partial(woken.execute_complete, self.context, event)
