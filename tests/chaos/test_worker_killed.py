"""A worker is killed at the worst moments: one job, and the next try ends well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.deployment import ended_well, kill_task, kill_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.deployment import Chaos, ToyRun

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

LONG = {"seconds": 120}
MOMENTS: dict[str, dict[str, Any]] = {
    "before it submits": {"halts": ["before-submit"], "job": {"seconds": 1}},
    "between submit and its record": {"halts": ["after-submit"], "job": LONG},
    "while it waits": {"job": LONG},
    "after the job has ended": {"halts": ["in-finish"], "job": {"seconds": 1}},
    "after the job of a deferred task has ended": {
        "halts": ["in-finish"],
        "job": {"seconds": 1},
        "deferred": True,
    },
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(kill_task, id="task process", marks=pytest.mark.fast),
        pytest.param(kill_worker, id="whole worker"),
    ],
)
def runs(chaos: Chaos, request: pytest.FixtureRequest) -> Iterator[dict[str, ToyRun]]:
    """One run for each moment, all at once: Airflow takes its time to see that a whole worker is dead."""
    with chaos.runs() as start:
        found = {moment: start(f"killed {moment}", **plan) for moment, plan in MOMENTS.items()}
        for moment, plan in MOMENTS.items():
            if "halts" not in plan:
                found[moment].waiting(deferred=False)
            worker = found[moment].at(plan["halts"][0]) if "halts" in plan else found[moment].worker()
            request.param(worker)
        yield found


@pytest.mark.parametrize("moment", MOMENTS)
def test_one_job_when_the_worker_is_killed(runs: dict[str, ToyRun], moment: str) -> None:
    run = runs[moment]
    run.until("running", "success", "failed", tries=2)
    run.enough()
    ended_well(run, tries=2)
