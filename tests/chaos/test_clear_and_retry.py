"""A try after another: it re-attaches, adopts or starts a new job, and never leaves two running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.deployment import ended_well, kill_task

if TYPE_CHECKING:
    from tests.chaos.deployment import Start

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

SHORT, LONG = {"seconds": 0.5}, {"seconds": 120}


def test_a_clear_after_success_adopts_the_job(start: Start) -> None:
    run = start("adopted", job=SHORT)
    ended_well(run, tries=1)
    before = run.returned["job"]
    run.clear()
    run.until("success", tries=2)
    ended_well(run, tries=2)
    assert run.returned["job"] == before


def test_a_clear_with_a_changed_specification_starts_a_second_job(start: Start) -> None:
    run = start("changed", job=SHORT)
    ended_well(run, tries=1)
    run.plan(job={**SHORT, "colour": "red"})
    run.clear()
    run.until("success", tries=2)
    assert (run.starts, run.ends) == (2, ["succeeded", "succeeded"])
    assert run.returned["job"] == run.jobs[1].name


def test_a_clear_of_a_run_with_force_new_starts_a_second_job(start: Start) -> None:
    run = start("forced", job=SHORT, force_new=True)
    ended_well(run, tries=1)
    run.clear()
    run.until("success", tries=2)
    assert (run.starts, run.ends) == (2, ["succeeded", "succeeded"])


@pytest.mark.parametrize("deferred", [False, True], ids=["in the worker", "deferred"])
def test_a_clear_of_a_live_run_with_force_new_stops_the_old_job_and_runs_a_new_one(
    start: Start, deferred: bool
) -> None:
    run = start("forced and live", job=LONG, force_new=True, deferred=deferred)
    run.waiting(deferred=deferred)
    run.clear()
    run.wait(lambda: run.ends == ["stopped", "running"], "the old job is stopped, a new one runs")
    run.enough()
    run.until("success", "failed")
    assert (run.starts, run.ends) == (2, ["stopped", "succeeded"]), run.story()


def test_a_mere_retry_of_a_run_with_force_new_finds_the_job_of_its_last_try(start: Start) -> None:
    run = start("forced and killed", job=LONG, force_new=True)
    run.waiting(deferred=False)
    kill_task(run.worker())
    run.until("running", tries=2)
    run.enough()
    ended_well(run, tries=2)


def test_a_retry_with_a_changed_specification_stops_the_old_job_and_runs_a_new_one(start: Start) -> None:
    run = start("changed between tries", job=LONG)
    run.waiting(deferred=False)
    run.plan(job={**LONG, "colour": "red"})
    kill_task(run.worker())
    run.wait(lambda: run.ends == ["stopped", "running"], "the old job is stopped, a new one runs")
    run.enough()
    run.until("success", "failed")
    assert (run.starts, run.ends) == (2, ["stopped", "succeeded"]), run.story()


def test_two_runs_of_one_partition_at_once_have_one_job_each(start: Start) -> None:
    runs = [start(f"same partition {number}", job=LONG, deferred=number > 0) for number in range(2)]
    for run in runs:
        run.running()
    for run in runs:
        run.enough()
        ended_well(run, tries=1)
    assert runs[0].jobs != runs[1].jobs
