"""The reaper: stops what nobody waits for, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.config.settings import Settings
from nightshift.operators import reap as reap_module
from nightshift.operators.reap import WAITING, ReapOperator, orphans_among
from nightshift.platforms.base import JobRef, JobState, JobStatus, TaggedJob
from nightshift.triggers.instances import GONE
from tests.contract.platform_contract import wait_for
from tests.fakes.toy_jobs import starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.unit.operators.job_bench import Bench

TAGS = {
    "deployment": "nightshift",
    "pipeline": "flight_delays",
    "partition": "2013-01-05",
    "dag": "flight_delays_retrain",
    "run": "r1",
    "task": "learn.train",
    "map_index": "-1",
}


def job(name: str = "j", *, state: JobState = JobState.RUNNING, at: float = 1.0, **tags: str) -> TaggedJob:
    """A live job of one task instance."""
    status = JobStatus(state, seconds=60, submitted_at=at)
    return TaggedJob(JobRef("local", name), {**TAGS, **tags}, status, 3600, 1.0)


def found(jobs: Sequence[TaggedJob], states: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The orphans' names and the states of their tasks."""
    return {each.job.ref.name: each.state_of_task for each in orphans_among(jobs, lambda dag, runs: states)}


@pytest.mark.parametrize("state", sorted(WAITING))
def test_a_job_whose_task_waits_or_will_be_tried_again_is_left_alone(state: str) -> None:
    assert found([job()], {"r1": {"learn.train": state}}) == {}


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed", "removed"])
def test_a_job_whose_task_has_ended_is_an_orphan(state: str) -> None:
    assert found([job()], {"r1": {"learn.train": state}}) == {"j": state}


def test_a_job_whose_task_was_cleared_and_is_not_scheduled_again_is_an_orphan() -> None:
    assert found([job()], {"r1": {"learn.train": None}}) == {"j": "cleared"}


def test_a_job_whose_run_or_task_is_gone_is_an_orphan() -> None:
    assert found([job()], {}) == {"j": GONE}
    assert found([job()], {"r1": {"learn.tune": "running"}}) == {"j": GONE}


def test_a_mapped_task_is_known_by_its_index() -> None:
    jobs = [job("a", map_index="0"), job("b", map_index="1")]
    states = {"r1": {"learn.train_0": "success", "learn.train_1": "deferred"}}
    assert found(jobs, states) == {"a": "success"}


def test_of_two_jobs_of_one_task_the_older_is_an_orphan() -> None:
    jobs = [job("old", at=1.0), job("new", at=2.0), job("other", at=0.5, partition="2013-01-06")]
    assert found(jobs, {"r1": {"learn.train": "deferred"}}) == {"old": "deferred, for a newer job"}


def test_a_job_that_is_being_stopped_is_not_stopped_again() -> None:
    assert found([job(state=JobState.STOPPING)], {}) == {}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> list[str]:
    """Titles of the alerts; the reaper looks at the bench's platform."""
    titles: list[str] = []
    monkeypatch.setattr(reap_module, "connect", lambda *_: bench.platform)
    monkeypatch.setattr(reap_module, "current_settings", lambda: Settings.from_lookup({}.get))
    monkeypatch.setattr(
        reap_module, "tell", lambda pipeline, message, cause: titles.append(message.title) or True
    )
    return titles


def reap(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """One round, to which Airflow answers with these states, look after look."""

    def get_task_states(*, dag_id: str, run_ids: list[str]) -> dict[str, Any]:
        return answers.pop(0)

    ti = SimpleNamespace(get_task_states=get_task_states)
    context: Any = {"ti": ti}
    return ReapOperator(task_id="reap", platforms=["local"], confirm_s=0.05).execute(context)


def test_an_orphan_is_stopped_told_and_what_it_saved_is_added_up(bench: Bench, told: list[str]) -> None:
    bench.spec = replace(bench.spec, max_runtime_s=3600)
    bench.deferred(bench.operator(deferrable=True, seconds=60))  # and then the triggerer dies
    wait_for(lambda: starts(bench.counter))
    result = reap([{"r": {"toy": "failed"}}] * 2)
    assert (result["looked_at"], result["stopped_total"]) == (1, 1)
    (stopped,) = result["stopped"]
    assert (stopped["dag"], stopped["run"], stopped["task"]) == ("d", "r", "toy")
    assert stopped["state_of_task"] == "failed"
    assert 3500 < result["saved_seconds"] <= 3600
    assert result["saved_usd"] == pytest.approx(3.6, abs=0.1)
    assert told == ["[nightshift] flight_delays: 1 orphaned job stopped"]
    (left,) = bench.platform.find({})
    wait_for(lambda: (status := bench.platform.status(left.ref)) and status.state is JobState.STOPPED)
    assert reap([]) == {
        "looked_at": 0, "stopped": [], "stopped_total": 0, "saved_seconds": 0.0, "saved_usd": 0.0,
    }  # fmt: skip


def test_what_looks_like_an_orphan_only_once_is_left_alone(bench: Bench, told: list[str]) -> None:
    bench.deferred(bench.operator(deferrable=True, seconds=60))
    wait_for(lambda: starts(bench.counter))
    assert reap([{"r": {"toy": None}}, {"r": {"toy": "queued"}}])["stopped"] == []
    (left,) = bench.platform.find({}, live=True)
    assert told == []
    bench.platform.stop(left.ref)


def test_jobs_of_another_deployment_are_none_of_ours(bench: Bench, told: list[str]) -> None:
    bench.platform.submit(replace(bench.spec, job={**bench.spec.job, "seconds": 5}, tags={}), "strange")
    assert reap([])["looked_at"] == 0
    bench.platform.stop(JobRef("local", "strange"))


def test_it_looks_at_this_machine_and_at_every_platform_that_a_pipeline_runs_on() -> None:
    shipped = Settings.from_lookup({}.get)
    assert reap_module.in_use(shipped) == ["local"]
    assert reap_module.in_use(replace(shipped, platform="sagemaker")) == ["local", "sagemaker"]
