"""Worker processes: what they say, and that they end."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.contract import BadInput
from jobs.models import Pruned
from jobs.trial_workers import Crew, Died, Done, Event, Failed, GivenUp, Point, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.trial_workers import Fit


def talk(fit: Fit, values: dict[str, Any], answer: bool = False) -> list[Event]:
    """What one worker says about one trial."""
    with Crew(fit, 1) as crew:
        worker = crew.workers[0]
        worker.assign(values)
        said: list[Event] = []
        while not said or isinstance(said[-1], Point):
            for _, event in crew.events({worker: None}):
                said.append(event)
                if isinstance(event, Point):
                    worker.answer(answer)
        return said


def curve(values: Any, report: Callable[[int, float], bool]) -> float:
    for step in (1, 2):
        if report(step, values["x"] / step):
            raise Pruned
    return float(values["x"])


def test_a_trial_reports_its_curve_and_its_value() -> None:
    first, second, end = talk(curve, {"x": 4.0})
    assert (first, second) == (Point(1, 4.0), Point(2, 2.0))
    assert isinstance(end, Done)
    assert end.value == 4.0


def test_a_trial_told_to_give_up_does() -> None:
    first, end = talk(curve, {"x": 4.0}, answer=True)
    assert first == Point(1, 4.0)
    assert isinstance(end, GivenUp)


@pytest.mark.parametrize(
    ("error", "bad_input"), [(ValueError("no such leaf"), False), (BadInput("no such parameter"), True)]
)
def test_a_fit_that_raises_is_told_with_its_traceback(error: Exception, bad_input: bool) -> None:
    def fit(*_: Any) -> float:
        raise error

    (end,) = talk(fit, {})
    assert isinstance(end, Failed)
    assert end.reason == f"{type(error).__name__}: {error}"
    assert "in fit" in end.trace
    assert end.bad_input is bad_input


def test_a_killed_worker_is_told_with_its_signal() -> None:
    def fit(*_: Any) -> float:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0.0

    (end,) = talk(fit, {})
    assert end == Died("its process was killed by SIGKILL (out of memory?)")


def test_a_dead_worker_is_replaced_by_one_that_works() -> None:
    def fit(values: Any, _: Any) -> float:
        if values["x"] < 0:
            os._exit(3)
        return float(values["x"])

    with Crew(fit, 2) as crew:
        worker = crew.workers[0]
        worker.assign({"x": -1})
        ((_, event),) = crew.events({worker: None})
        assert event == Died("its process ended with exit code 3")
        fresh = crew.replace(worker)
        fresh.assign({"x": 5})
        ((_, event),) = crew.events({fresh: None})
        assert isinstance(event, Done)
        assert len(crew.workers) == 2


def test_a_trial_keeps_to_its_share_of_the_processors() -> None:
    def fit(*_: Any) -> float:
        return float(os.environ["OMP_NUM_THREADS"])

    (end,) = talk(fit, {})
    assert isinstance(end, Done)
    assert end.value == len(os.sched_getaffinity(0))


def test_what_a_fit_prints_is_no_part_of_the_jobs_log(capfd: pytest.CaptureFixture[str]) -> None:
    def fit(*_: Any) -> float:
        return 1.0

    talk(fit, {})
    assert capfd.readouterr().out == ""


def test_no_worker_is_left_when_the_crew_ends() -> None:
    def forever(*_: Any) -> float:
        signal.pause()
        return 0.0

    with suppress(KeyError), Crew(forever, 2) as crew:
        pids = [_pid(worker) for worker in crew.workers]
        for worker in crew.workers:
            worker.assign({})
        raise KeyError
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def _pid(worker: Worker) -> int:
    assert worker._process.pid is not None
    return worker._process.pid
