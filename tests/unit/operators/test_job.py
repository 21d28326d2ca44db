"""The one job operator: no second job, the right error, nothing left running."""

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
from nightshift.errors import JobFailed, JobStopped, JobTimedOut
from nightshift.operators import job as job_module
from nightshift.operators.job import JobOperator
from nightshift.platforms.base import JobRef, JobResult, JobSpec, JobState
from nightshift.platforms.local import WARM, LocalPlatform
from nightshift.triggers import job as trigger_module
from tests.contract.platform_contract import wait_for
from tests.fakes.toy_jobs import make_toy_jobs, starts

if TYPE_CHECKING:
    from pathlib import Path

PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")


class ToyOperator(JobOperator):
    """Runs what the test puts into ``spec``."""

    spec: JobSpec
    of: LocalPlatform

    def build_spec(self, context: Any) -> JobSpec:
        self.facts["colour"] = "blue"
        return self.spec

    def platform(self) -> LocalPlatform:
        return self.of

    def finish(self, context: Any, ref: JobRef, result: JobResult) -> dict[str, Any]:
        return {"finished": True}


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
    """One task over all of its tries."""

    platform: LocalPlatform
    spec: JobSpec
    counter: Path
    store: Store = field(default_factory=Store)

    def operator(self, *, deferrable: bool = False, **changes: Any) -> ToyOperator:
        """A new try, as a new worker process would build it."""
        made = ToyOperator(
            task_id="toy", pipeline=PIPELINE, deferrable=deferrable, defer_after_s=0, poll_s=0.02
        )
        made.of, made.spec = self.platform, replace(self.spec, job={**self.spec.job, **changes})
        return made

    @property
    def context(self) -> Any:
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="toy")
        run = SimpleNamespace(partition_key="2013-01-05")
        return {"ti": ti, "dag_run": run, "params": {}, "task_state_store": self.store}

    def event_of(self, operator: ToyOperator) -> dict[str, Any]:
        """Defer, and what the trigger then reports."""
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(self.context)

        async def first() -> Any:
            return await anext(deferred.value.trigger.run())

        found: dict[str, Any] = asyncio.run(first()).payload
        return found


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.delenv(WARM, raising=False)
    platform = LocalPlatform(tmp_path / "home", make_toy_jobs(tmp_path / "toy"), grace_s=0.5)
    monkeypatch.setattr(trigger_module, "connect", lambda *_: platform)
    spec = JobSpec("train", {"counter": str(tmp_path / "starts")}, (), code_sha256="0")
    return Bench(platform, spec, tmp_path / "starts")


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferred"])
def test_a_task_returns_what_its_job_left_behind(bench: Bench, deferrable: bool) -> None:
    operator = bench.operator(deferrable=deferrable)
    if deferrable:
        event = bench.event_of(operator)
        found = bench.operator(deferrable=True).execute_complete(bench.context, event)
    else:
        found = operator.execute(bench.context)
    assert found["finished"]
    assert found["colour"] == "blue"
    assert found["fingerprint"] == bench.spec.fingerprint
    assert len(starts(bench.counter)) == 1


def test_a_retry_waits_for_the_job_its_last_try_left_running(bench: Bench) -> None:
    first = bench.operator(deferrable=True, seconds=0.6)
    with pytest.raises(TaskDeferred):  # and then its worker and its trigger die
        first.execute(bench.context)
    bench.operator(seconds=0.6).execute(bench.context)
    assert len(starts(bench.counter)) == 1


def test_a_short_job_is_waited_for_without_the_triggerer(bench: Bench) -> None:
    operator = bench.operator(deferrable=True, seconds=0.2)
    operator.defer_after_s = 20
    assert operator.execute(bench.context)["finished"]


def test_a_clear_adopts_the_finished_job(bench: Bench) -> None:
    bench.operator().execute(bench.context)
    again = bench.operator(deferrable=True).execute(bench.context)  # does not even defer
    assert again["finished"]
    assert len(starts(bench.counter)) == 1


def test_a_try_after_a_crash_between_submit_and_its_record_finds_the_job(bench: Bench) -> None:
    bench.operator().execute(bench.context)
    bench.store.values.clear()
    bench.operator().execute(bench.context)
    assert len(starts(bench.counter)) == 1


def test_a_changed_spec_stops_the_old_job_and_starts_a_new_one(bench: Bench) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        bench.operator(deferrable=True, seconds=60).execute(bench.context)
    old = JobRef(**deferred.value.trigger.job)
    wait_for(lambda: starts(bench.counter))
    bench.operator(seconds=0).execute(bench.context)
    assert len(starts(bench.counter)) == 2

    def stopped() -> bool:
        status = bench.platform.status(old)
        return status is not None and status.state is JobState.STOPPED

    wait_for(stopped)


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferred"])
def test_a_failed_job_fails_the_task_with_its_own_words(bench: Bench, deferrable: bool) -> None:
    operator = bench.operator(deferrable=deferrable, error="no such column")
    if deferrable:
        event = bench.event_of(operator)
        end = partial(bench.operator(deferrable=True).execute_complete, bench.context, event)
    else:
        end = partial(operator.execute, bench.context)
    with pytest.raises(JobFailed, match="ValueError: no such column"):
        end()


def test_after_a_failure_the_next_try_is_a_new_job_that_shares_the_checkpoints(bench: Bench) -> None:
    names = []
    for _ in range(2):
        operator = bench.operator(error="again")
        with pytest.raises(JobFailed):
            operator.execute(bench.context)
        assert operator._job is not None
        names.append(operator._job.name)
    assert names[1] == f"{names[0]}-r2"
    assert len(starts(bench.counter)) == 2
    assert len(list((bench.platform.home / ".checkpoints").iterdir())) == 1


def test_a_task_past_its_deadline_stops_the_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "_DEADLINE_SLACK_S", -3599.0)
    operator = bench.operator(deferrable=True, seconds=60)
    event = bench.event_of(operator)
    assert event["timed_out"]
    with pytest.raises(JobTimedOut):
        bench.operator(deferrable=True).execute_complete(bench.context, event)
    ref = JobRef(**event["job"])
    wait_for(lambda: (status := bench.platform.status(ref)) and status.state is JobState.STOPPED)


@pytest.mark.parametrize("where", ["worker", "triggerer"])
def test_a_killed_task_stops_its_job(bench: Bench, where: str) -> None:
    operator = bench.operator(deferrable=True, seconds=60)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(bench.context)
    wait_for(lambda: starts(bench.counter))
    if where == "worker":
        operator.on_kill()
    else:
        asyncio.run(deferred.value.trigger.on_kill())
    ref = JobRef(**deferred.value.trigger.job)
    wait_for(lambda: (status := bench.platform.status(ref)) and status.state.is_terminal)
    event = {"job": ref.to_dict(), "facts": {}, "timed_out": False}
    with pytest.raises(JobStopped):
        bench.operator(deferrable=True).execute_complete(bench.context, event)


def test_a_trigger_survives_the_way_to_another_triggerer(bench: Bench) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        bench.operator(deferrable=True).execute(bench.context)
    path, kwargs = deferred.value.trigger.serialize()
    assert path == "nightshift.triggers.job.JobTrigger"
    rebuilt = trigger_module.JobTrigger(**kwargs)
    assert rebuilt.serialize() == (path, kwargs)
