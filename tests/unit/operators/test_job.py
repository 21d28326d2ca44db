"""The one job operator: no second job, the right error, nothing left running."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferred

from nightshift.errors import CapacityUnavailable, JobFailed, JobStopped, JobTimedOut, TaskInterrupted
from nightshift.operators import job as job_module
from nightshift.platforms.base import JobRef, JobSpec, JobState, Machine
from nightshift.triggers import job as trigger_module
from tests.contract.platform_contract import wait_for
from tests.fakes.toy_jobs import starts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.operators.job_bench import Bench


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


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "in the worker"])
def test_a_task_hands_on_what_names_the_rows_that_its_job_read(bench: Bench, deferrable: bool) -> None:
    clean = {"version": 9, "rows": 700, "sha256": "5" * 64}
    found = bench.run(deferrable=deferrable, manifests={"clean": {**clean, "files": [{"path": "a"}]}})
    assert found["inputs"] == {"clean": clean}


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


def test_a_task_past_its_deadline_stops_the_job(bench: Bench) -> None:
    bench.spec = replace(bench.spec, max_runtime_s=3600, max_wait_s=-3599)
    operator = bench.operator(deferrable=True, seconds=60)
    event = bench.event_of(operator)
    assert event["timed_out"]
    with pytest.raises(JobTimedOut):
        bench.operator(deferrable=True).execute_complete(bench.context, event)
    ref = JobRef(**event["job"])
    wait_for(lambda: (status := bench.platform.status(ref)) and status.state is JobState.STOPPED)


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "restarting", "removed", "gone"])
def test_a_task_that_somebody_ended_in_its_worker_stops_its_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(job_module, "state_of", lambda ti: state)
    operator = bench.operator(seconds=60)
    waiting = in_a_thread(operator, bench)
    operator.on_kill()
    assert type(waiting()) is JobStopped
    assert len(starts(bench.counter)) == 1


def test_a_stop_that_comes_while_the_job_is_submitted_reaches_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "state_of", lambda ti: "failed")
    operator, submit = bench.operator(seconds=60), bench.platform.submit

    def slowly(spec: JobSpec, name: str) -> JobRef:
        operator.on_kill()
        wait_for(lambda: "stop" in bench.platform.calls)
        return submit(spec, name)

    monkeypatch.setattr(bench.platform, "submit", slowly)
    with pytest.raises(JobStopped):
        operator.execute(bench.context)


@pytest.mark.parametrize("state", ["running", "queued", "scheduled", "up_for_retry", None])
def test_a_worker_that_has_to_go_leaves_its_job_to_the_next_try(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    monkeypatch.setattr(job_module, "state_of", lambda ti: state)
    operator = bench.operator(seconds=1.5)
    waiting = in_a_thread(operator, bench)
    operator.on_kill()
    error = waiting()
    assert type(error) is TaskInterrupted
    assert error.retryable
    assert bench.operator(seconds=1.5).execute(bench.context)["finished"]
    assert len(starts(bench.counter)) == 1


def test_an_adopted_job_that_somebody_stops_with_the_task_is_not_started_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "state_of", lambda ti: "failed")
    bench.deferred(bench.operator(deferrable=True, seconds=60))
    operator = bench.operator(seconds=60)
    waiting = in_a_thread(operator, bench)
    operator.on_kill()
    assert type(waiting()) is JobStopped
    assert len(starts(bench.counter)) == 1


def test_a_task_that_takes_longer_than_its_execution_timeout_stops_its_job(bench: Bench) -> None:
    def expire(*_: object) -> None:
        raise AirflowTaskTimeout

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(AirflowTaskTimeout):
            bench.operator(seconds=60).execute(bench.context)
    finally:
        signal.signal(signal.SIGALRM, before)
    (job,) = bench.platform.find({})
    assert job.status.state in (JobState.STOPPING, JobState.STOPPED)


@pytest.mark.parametrize(
    ("state", "ends"), [("failed", True), ("cleared", True), (None, True), ("deferred", False)]
)
def test_a_deferred_task_that_a_user_ended_stops_its_job_and_one_that_moved_does_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, state: str | None, ends: bool
) -> None:
    monkeypatch.setattr(trigger_module, "state_of", lambda ti: state)
    trigger = bench.deferred(bench.operator(deferrable=True, seconds=60))
    wait_for(lambda: starts(bench.counter))
    asyncio.run(trigger.on_kill())
    ref = JobRef(**trigger.job)
    if not ends:
        assert (status := bench.platform.status(ref))
        assert status.state is JobState.RUNNING
        bench.platform.stop(ref)
        return
    wait_for(lambda: (status := bench.platform.status(ref)) and status.state is JobState.STOPPED)
    with pytest.raises(JobStopped):
        bench.operator(deferrable=True).execute_complete(bench.context, bench.fired(trigger))


def in_a_thread(operator: Any, bench: Bench) -> Callable[[], BaseException]:
    """Let a try wait for its job; what it raised in the end."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            operator.execute(bench.context)
        except BaseException as error:  # noqa: BLE001 it is what the test asks for
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_for(lambda: starts(bench.counter) and operator._job)

    def waited() -> BaseException:
        thread.join(20)
        return raised[0]

    return waited


def test_a_trigger_does_not_fire_before_the_scheduler_has_heard_of_the_deferral(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "settling_s", lambda: 1.0)
    trigger = bench.deferred(bench.operator(deferrable=True, seconds=0.1))
    bench.fired(trigger)
    assert time.time() >= trigger.not_before


def test_a_trigger_survives_the_way_to_another_triggerer(bench: Bench) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        bench.operator(deferrable=True).execute(bench.context)
    path, kwargs = deferred.value.trigger.serialize()
    assert path == "nightshift.triggers.job.JobTrigger"
    rebuilt = trigger_module.JobTrigger(**kwargs)
    assert rebuilt.serialize() == (path, kwargs)


def test_the_deadline_counts_from_the_jobs_start_over_all_tries(bench: Bench) -> None:
    first = bench.deferred(bench.operator(deferrable=True, seconds=60))
    second = bench.deferred(bench.operator(deferrable=True, seconds=60))
    assert second.deadline == first.deadline
    bench.platform.stop(JobRef(**first.job))


def test_a_clear_of_a_run_that_asks_for_it_starts_a_new_job(bench: Bench) -> None:
    bench.params = {"force_new": True}
    bench.operator().execute(bench.context)
    bench.operator().execute(bench.context)  # a retry
    assert len(starts(bench.counter)) == 1
    bench.clears = 1
    bench.operator().execute(bench.context)
    bench.operator().execute(bench.context)
    assert len(starts(bench.counter)) == 2


def test_a_clear_that_asks_for_a_new_job_stops_the_old_one(bench: Bench) -> None:
    bench.params = {"force_new": True}
    trigger = bench.deferred(bench.operator(deferrable=True, seconds=60))
    wait_for(lambda: starts(bench.counter))
    bench.clears = 1
    again = bench.deferred(bench.operator(deferrable=True, seconds=60))
    assert again.job != trigger.job
    old = JobRef(**trigger.job)
    wait_for(lambda: (status := bench.platform.status(old)) and status.state is JobState.STOPPED)
    bench.platform.stop(JobRef(**again.job))


def test_a_task_asks_for_the_next_machine_when_there_is_none_of_the_first(bench: Bench) -> None:
    bench.spec = replace(bench.spec, candidates=(Machine(gpus=4), Machine(gpus=1), Machine(cpus=1)))
    found = bench.operator().execute(bench.context)
    assert found["finished"]
    assert bench.platform.calls.count("submit") == 3
    assert len(starts(bench.counter)) == 1


def test_a_task_whose_machines_are_all_out_says_so_and_may_be_tried_again(bench: Bench) -> None:
    bench.spec = replace(bench.spec, candidates=(Machine(gpus=4), Machine(gpus=1)))
    with pytest.raises(CapacityUnavailable, match="asks for 1 GPUs, this machine has 0"):
        bench.operator().execute(bench.context)
    assert starts(bench.counter) == []


def test_a_new_try_waits_until_the_job_that_a_clear_stops_has_ended_and_starts_its_own(bench: Bench) -> None:
    trigger = bench.deferred(bench.operator(deferrable=True, seconds=1.5, ignore_term=True))
    wait_for(lambda: starts(bench.counter))
    bench.platform.stop(JobRef(**trigger.job), "cleared")  # still stopping when the new try looks
    assert bench.operator(seconds=1.5, ignore_term=True).execute(bench.context)["finished"]
    assert len(starts(bench.counter)) == 2


def test_a_stop_meant_for_the_try_before_does_not_fail_the_new_one(bench: Bench) -> None:
    trigger = bench.deferred(bench.operator(deferrable=True, seconds=1.0))
    wait_for(lambda: starts(bench.counter))
    cleared = bench.deferred(bench.operator(deferrable=True, seconds=1.0))  # has adopted the job
    asyncio.run(trigger.on_kill())  # and now the old trigger hears of the clear
    found = bench.operator(seconds=1.0).execute_complete(bench.context, bench.fired(cleared))
    assert found["finished"]
    assert found["job"].endswith("-r2")
    assert len(starts(bench.counter)) == 2


def test_a_mapped_task_does_not_stop_the_job_of_a_partition_that_moved_to_another_index(
    bench: Bench,
) -> None:
    trigger = bench.deferred(bench.operator(deferrable=True, seconds=60))
    bench.partition = "2013-01-06"
    bench.operator(other="document").execute(bench.context)
    status = bench.platform.status(JobRef(**trigger.job))
    assert status is not None
    assert not status.state.is_terminal
    bench.platform.stop(JobRef(**trigger.job))


def test_the_result_says_what_the_job_cost(bench: Bench) -> None:
    found = bench.operator(seconds=0.2).execute(bench.context)
    assert found["billable_seconds"] == found["seconds"] >= 0.2
    assert found["cost_usd"] == pytest.approx(found["seconds"] * 0.001, abs=1e-5)
