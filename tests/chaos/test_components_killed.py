"""A component of Airflow is killed while jobs run, and comes back: one job each, and the tasks end well."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.chaos.deployment import ended_well

if TYPE_CHECKING:
    from tests.chaos.deployment import Chaos, Start

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

LONG = {"seconds": 120}
SETTLED_S = 6.0
"""After so long a triggerer that wakes up has heard what is not its own any more."""


@pytest.mark.fast
def test_one_job_when_the_triggerer_is_killed(chaos: Chaos, start: Start) -> None:
    ends_meanwhile, ends_later = (start(what, deferred=True, job=LONG) for what in ("meanwhile", "later"))
    for run in (ends_meanwhile, ends_later):
        run.waiting(deferred=True)
    with chaos.without("triggerer"):
        ends_meanwhile.enough()
        ends_meanwhile.wait(lambda: ends_meanwhile.ends == ["succeeded"], "its job ends unseen")
    ends_later.enough()
    for run in (ends_meanwhile, ends_later):
        ended_well(run, tries=1)


def test_a_triggerer_that_was_frozen_leaves_the_job_to_the_one_that_took_over(
    chaos: Chaos, start: Start
) -> None:
    run = start("frozen", deferred=True, job=LONG)
    run.waiting(deferred=True)
    with chaos.second_triggerer():
        with chaos.frozen("triggerer"):
            run.wait(lambda: run.triggerers() == 2, "the other triggerer has taken over")
        time.sleep(SETTLED_S)
        assert run.ends == ["running"]
        run.enough()
        ended_well(run, tries=1)


@pytest.mark.parametrize("with_workers", [True, False], ids=["and all workers", "alone"])
def test_one_job_when_the_scheduler_is_killed(chaos: Chaos, start: Start, with_workers: bool) -> None:
    in_worker, deferred = start("in worker", job=LONG), start("deferred", deferred=True, job=LONG)
    in_worker.waiting(deferred=False)
    deferred.waiting(deferred=True)
    chaos.kill("scheduler", with_children=with_workers)
    chaos.revive("scheduler")
    in_worker.until("running", tries=2)  # a new scheduler adopts no local worker: it starts the task anew
    for run in (in_worker, deferred):
        run.enough()
    ended_well(in_worker, tries=2)
    ended_well(deferred, tries=1)


@pytest.mark.parametrize("gone", ["killed", "frozen"])
def test_one_job_when_the_api_server_is_gone_for_ten_seconds(chaos: Chaos, start: Start, gone: str) -> None:
    ends_meanwhile = [start(f"meanwhile {d}", deferred=d, job=LONG) for d in (False, True)]
    ends_later = [start(f"later {d}", deferred=d, job=LONG) for d in (False, True)]
    for in_worker, deferred in (ends_meanwhile, ends_later):
        in_worker.waiting(deferred=False)
        deferred.waiting(deferred=True)
    with chaos.without("api-server", at_least_s=10) if gone == "killed" else chaos.frozen("api-server", 10):
        for run in ends_meanwhile:
            run.enough()
    for run in ends_later:
        run.enough()
    for run in (*ends_meanwhile, *ends_later):
        ended_well(run)  # a worker that cannot report the end fails; a later try adopts the job


def test_a_worker_that_is_shut_down_leaves_its_job_to_the_next_try(chaos: Chaos, start: Start) -> None:
    run = start("shut down", job=LONG)
    run.waiting(deferred=False)
    chaos.stack.services.stop(["scheduler"])  # SIGTERM to all, as when the stack or a node is restarted
    chaos.revive("scheduler")
    run.until("running", tries=2)
    run.enough()
    ended_well(run, tries=2)


@pytest.mark.fast
def test_tasks_go_on_when_workers_are_killed_that_wait_for_one(chaos: Chaos, start: Start) -> None:
    idle = chaos.idle_workers()
    assert len(idle) > 2
    for pid in idle[:-2]:  # the one that reads the queue is among them, or another round of this finds it
        os.kill(pid, signal.SIGKILL)
    ended_well(start("after idle workers", job={"seconds": 0.2}), tries=1)
    for pid in chaos.idle_workers():
        os.kill(pid, signal.SIGKILL)
    ended_well(start("after all of them", job={"seconds": 0.2}), tries=1)
