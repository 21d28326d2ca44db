"""However a job ends, and however its platform behaves meanwhile: one job, and the same word for it."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nightshift import errors
from nightshift.errors import ConfigError, JobFailed, JobLost, JobStopped, PlatformUnavailable
from nightshift.operators import job as job_module
from nightshift.platforms import patience
from nightshift.platforms.base import JobState, JobStatus, Machine
from nightshift.platforms.job_folder import JobFolder
from nightshift.triggers import job as trigger_module
from tests.contract.platform_contract import wait_for
from tests.fakes.toy_jobs import starts
from tests.unit.operators.job_bench import FaultyPlatform

if TYPE_CHECKING:
    from collections.abc import Callable

    from nightshift.platforms.base import JobRef
    from tests.unit.operators.job_bench import Bench

both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferred"])
every_verb = pytest.mark.parametrize("verb", ["train", "tune", "score"])


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.05)


def _folder(bench: Bench) -> JobFolder:
    (path,) = [p for p in bench.platform.home.iterdir() if not p.name.startswith(".")]
    return JobFolder(path)


def _stop(bench: Bench) -> None:
    (job,) = bench.platform.find({})
    bench.platform.stop(job.ref, "a person in the console")


def _kill_the_runner(bench: Bench) -> None:
    os.kill((_folder(bench).status() or {})["runner"], signal.SIGKILL)


def _forget(bench: Bench) -> None:
    """As a platform does that deletes old jobs, or the wrong ones."""
    folder = _folder(bench)
    runner = (folder.status() or {})["runner"]
    shutil.rmtree(folder.path)
    os.kill(runner, signal.SIGKILL)


ENDS: dict[str, tuple[dict[str, Any], Callable[[Bench], None] | None, type[Exception] | None, str]] = {
    "succeeded": ({}, None, None, ""),
    "failed": (
        {"error": "no such column"},
        None,
        JobFailed,
        "failed: ValueError: no such column (exit code 1)",
    ),
    "stopped": ({"seconds": 60}, _stop, JobStopped, "was stopped: a person in the console"),
    "lost": (
        {"seconds": 60},
        _kill_the_runner,
        JobLost,
        "failed: its runner died, or the host restarted",
    ),
    "unknown": ({"seconds": 60}, _forget, JobLost, "is gone from local: nobody knows how it ended"),
}


@every_verb
@both_ways
@pytest.mark.parametrize("end", ENDS)
def test_every_end_of_a_job_is_the_same_word_for_every_verb_in_both_modes(
    bench: Bench, end: str, deferrable: bool, verb: str
) -> None:
    document, make_it_end, expected, text = ENDS[end]
    bench.verb = verb
    if make_it_end is not None:

        def act() -> None:
            wait_for(lambda: starts(bench.counter))
            make_it_end(bench)

        threading.Thread(target=act).start()
    if expected is None:
        assert bench.run(deferrable=deferrable, **document)["finished"]
    else:
        with pytest.raises(expected) as raised:
            bench.run(deferrable=deferrable, **document)
        assert type(raised.value) is expected
        assert str(raised.value).endswith(text)
        assert "flight-delays-" + verb in str(raised.value)
    assert len(starts(bench.counter)) == 1


FAULTS = {
    "429": PlatformUnavailable("429 Too Many Requests"),
    "500": PlatformUnavailable("500 Internal Server Error"),
    "timeout": TimeoutError("read timed out"),
    "connection": ConnectionResetError("connection reset by peer"),
}


@both_ways
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["submit", "status", "logs"])
def test_a_platform_in_trouble_is_asked_again_and_gets_one_job(
    bench: Bench, method: str, fault: str, deferrable: bool
) -> None:
    bench.platform.faults[method] = [FAULTS[fault]] * 4
    assert bench.run(deferrable=deferrable, seconds=0.3)["finished"]
    assert bench.platform.faults[method] == []
    assert len(starts(bench.counter)) == 1


@both_ways
def test_the_end_of_a_job_is_seen_though_its_log_cannot_be_read(bench: Bench, deferrable: bool) -> None:
    bench.platform.faults["logs"] = [PlatformUnavailable("429"), ConfigError("not allowed")] * 1000
    assert bench.run(deferrable=deferrable, seconds=0.3)["finished"]
    assert bench.platform.faults["logs"]


class NoFirstMachine(FaultyPlatform):
    """A platform whose first job waits for its machine until it is stopped."""

    stopped = ""

    def status(self, ref: JobRef) -> JobStatus | None:
        found = super().status(ref)
        if found is None:
            return None
        if ref.name.endswith("-r2"):  # has its machine at once, however busy this one is
            return replace(found, state=JobState.RUNNING) if found.state is JobState.PENDING else found
        waits = JobStatus(JobState.PENDING, submitted_at=found.submitted_at)
        return replace(waits, state=JobState.STOPPED, reason=self.stopped) if self.stopped else waits

    def stop(self, ref: JobRef, reason: str = "asked to stop") -> None:
        self.stopped = reason
        super().stop(ref, reason)


@both_ways
def test_a_job_that_gets_no_machine_in_time_is_stopped_and_the_next_machine_is_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    monkeypatch.setattr(job_module, "_SOON_S", 0.3)
    there = NoFirstMachine(bench.platform.home, bench.platform.jobs_dir, grace_s=0.5, gpus=0)
    monkeypatch.setattr(trigger_module, "connect", lambda *_: there)
    bench.platform = there
    bench.spec = replace(bench.spec, max_wait_s=0, candidates=(Machine(cpus=1), Machine(cpus=2)))
    assert bench.run(deferrable=deferrable, seconds=0.2)["finished"]
    assert "no machine" in there.stopped
    first, second = sorted(there.find({}), key=lambda job: job.ref.name)
    assert [there.submitted(job.ref).machine.cpus for job in (first, second)] == [1, 2]  # type: ignore[union-attr]


@both_ways
def test_a_lost_reply_to_a_submit_is_no_second_job(bench: Bench, deferrable: bool) -> None:
    bench.platform.lost_replies = [TimeoutError("read timed out"), ConnectionResetError("reset")]
    assert bench.run(deferrable=deferrable, seconds=0.2)["finished"]
    assert bench.platform.calls.count("submit") == 3
    assert len(starts(bench.counter)) == 1


def test_a_platform_that_stays_in_trouble_is_left_to_the_next_try_which_finds_the_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.2)
    bench.platform.faults["status"] = []
    bench.platform.lost_replies = [PlatformUnavailable("503")] * 1000
    with pytest.raises(PlatformUnavailable) as raised:
        bench.run(deferrable=False, seconds=0.5)
    assert type(raised.value).retryable
    bench.platform.lost_replies = []
    assert bench.run(deferrable=False, seconds=0.5)["finished"]
    assert len(starts(bench.counter)) == 1


def test_a_stop_is_asked_for_again_while_the_platform_is_in_trouble(bench: Bench) -> None:
    trigger = bench.deferred(bench.operator(deferrable=True, seconds=60))
    wait_for(lambda: starts(bench.counter))
    bench.platform.faults["stop"] = [PlatformUnavailable("429")]
    import asyncio

    asyncio.run(trigger.on_kill())
    (job,) = bench.platform.find({})
    wait_for(lambda: (status := bench.platform.status(job.ref)) and status.state is JobState.STOPPED)


def test_a_trigger_that_cannot_go_on_wakes_the_worker_which_waits_on(bench: Bench) -> None:
    bench.platform.faults["logs"] = []
    trigger = bench.deferred(bench.operator(deferrable=True, seconds=0.6))
    bench.platform.faults["status"] = [ValueError("an unknown state")]
    event = bench.fired(trigger)
    assert event["timed_out"] is False
    woken = bench.operator(seconds=0.6)
    assert woken.execute_complete(bench.context, event)["finished"]
    assert len(starts(bench.counter)) == 1


def test_every_class_of_job_error_says_whether_a_retry_is_worth_it() -> None:
    worth = {name for name in errors.__all__ if issubclass(getattr(errors, name), errors.JobError)}
    retried = {name for name in worth if getattr(errors, name).retryable}
    assert retried == {
        "CapacityUnavailable", "JobInterrupted", "JobLost", "PlatformUnavailable", "TaskInterrupted",
    }  # fmt: skip
