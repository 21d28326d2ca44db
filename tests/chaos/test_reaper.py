"""What slips through: nobody was there to stop the job, and the reaper finds it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.deployment import ended_well

if TYPE_CHECKING:
    from tests.chaos.deployment import Chaos, Start

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

DAG_ID = "reap_orphans"
LONG = {"seconds": 120}


def reap(chaos: Chaos) -> list[dict[str, Any]]:
    """One round of the reaper (its schedule may add another at once); what the rounds returned."""
    api = chaos.api
    api.call("POST", f"dags/{DAG_ID}/dagRuns", json={"logical_date": None})
    api.unpause(DAG_ID)
    deadline = time.monotonic() + 120
    while True:
        found = api.call("GET", f"dags/{DAG_ID}/dagRuns").json()["dag_runs"]
        runs = [api.run(DAG_ID, each["dag_run_id"]) for each in found]
        if all(run.is_over for run in runs):
            break
        assert time.monotonic() < deadline, runs
        time.sleep(0.5)
    chaos.pause(DAG_ID)
    return [api.returned(task) for run in runs for task in api.tasks(run) if task.task_id == "reap"]


@pytest.mark.fast
def test_jobs_that_a_dead_triggerer_cannot_stop_are_reaped_told_and_added_up(
    chaos: Chaos, start: Start
) -> None:
    failed, cleared, wanted = (
        start(what, deferred=True, job=LONG) for what in ("failed", "cleared", "wanted")
    )
    for run in (failed, cleared, wanted):
        run.waiting(deferred=True)
    with chaos.without("triggerer"), chaos.paused("chaos"):
        failed.mark("failed")
        cleared.clear()
        rounds = reap(chaos)
        for run in (failed, cleared):
            run.wait(lambda run=run: run.ends == ["stopped"], "the orphan is stopped")
    told = [stopped for each in rounds for stopped in each["stopped"]]
    assert {(each["job"], each["run"], each["state_of_task"]) for each in told} == {
        (failed.jobs[0].name, failed.run_id, "failed"),
        (cleared.jobs[0].name, cleared.run_id, "cleared"),
    }
    assert all(0 < each["saved_seconds"] <= 300 for each in told)
    saved = sum(each["saved_seconds"] for each in told)
    assert sum(each["saved_seconds"] for each in rounds) == pytest.approx(saved, abs=0.01)
    wanted.enough()
    ended_well(wanted, tries=1)
