"""Whoever ends a task ends its job, within :data:`STOP_WITHIN_S`, in the worker and while deferred."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.chaos.deployment import STOP_WITHIN_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.deployment import Start, ToyRun

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

WHERE = pytest.mark.parametrize("deferred", [False, True], ids=["in the worker", "deferred"])
LONG = {"seconds": 120}
SETTLED_S = 6.0
"""After so long the old trigger has heard that it is not wanted any more, and the new try has met that."""


@WHERE
@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda run: run.mark("failed"), "failed"),
        (lambda run: run.mark("success"), "success"),
        (lambda run: run.mark_run("failed"), "failed"),
    ],
    ids=["task is marked failed", "task is marked success", "run is marked failed"],
)
def test_the_job_is_stopped_when_the(
    start: Start, deferred: bool, end: Callable[[ToyRun], None], state: str
) -> None:
    run = start("marked", deferred=deferred, job=LONG)
    run.waiting(deferred=deferred)
    end(run)
    run.stopped()
    assert (run.starts, run.task.state) == (1, state)


def test_a_clear_in_the_worker_stops_the_job_and_the_next_try_runs_well_with_a_new_one(start: Start) -> None:
    run = start("cleared", job=LONG)
    run.waiting(deferred=False)
    run.clear()
    run.stopped()
    run.wait(lambda: run.ends == ["stopped", "running"], "a new job runs")
    run.enough()
    task = run.until("success", "failed")
    assert (task.state, run.starts, run.ends) == ("success", 2, ["stopped", "succeeded"]), run.story()


@pytest.mark.fast
def test_a_clear_while_deferred_leaves_one_live_job_and_the_next_try_runs_well_with_it(start: Start) -> None:
    run = start("cleared deferred", deferred=True, job=LONG)
    run.waiting(deferred=True)
    run.clear()
    run.until("deferred", tries=2)
    time.sleep(SETTLED_S)
    assert [end for end in run.ends if end != "stopped"] == ["running"]  # the old one, adopted, or a new one
    run.enough()
    task = run.until("success", "failed")
    assert task.state == "success", run.story()
    assert run.ends in (["succeeded"], ["stopped", "succeeded"])
    assert run.starts == len(run.ends)


def test_the_job_is_stopped_when_the_execution_timeout_passes(start: Start) -> None:
    run = start("hurried", dag_id="chaos_hurried", job=LONG)
    run.running()
    run.stopped(within_s=6 + STOP_WITHIN_S)
    assert (run.until("failed").try_number, run.starts) == (1, 1)


@WHERE
def test_the_job_is_stopped_when_its_deadline_passes(start: Start, deferred: bool) -> None:
    run = start("late", deferred=deferred, job=LONG, spec={"max_runtime_s": 300, "max_wait_s": -295})
    run.running()
    run.stopped(within_s=5 + STOP_WITHIN_S)
    assert (run.until("failed").try_number, run.starts) == (1, 1)
    assert "passed its deadline and was stopped" in run.log()


@WHERE
def test_a_job_past_its_longest_runtime_fails_the_task(start: Start, deferred: bool) -> None:
    run = start("too long", deferred=deferred, job=LONG, spec={"max_runtime_s": 3})
    run.until("failed")
    assert (run.starts, run.ends) == (1, ["failed"])
    assert "it passed its max_runtime_s" in run.log()
