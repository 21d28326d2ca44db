"""The platform's API throttles, fails, does not answer or loses its reply: one job, one good end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.deployment import ended_well

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.deployment import Chaos, ToyRun

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

TROUBLE = {
    "429": "throttles",
    "500": "answers 500",
    "timeout": "does not answer",
    "lost": "loses its reply",
}


def _plan(call: str, error: str, where: str) -> dict[str, Any]:
    calls = ("submit",) if call == "submit" else ("status", "logs")
    faults = [{"call": each, "error": error, "times": 2, "where": where} for each in calls]
    return {"deferred": where == "triggerer", "job": {"seconds": 3}, "faults": faults}


PLANS = {
    f"{words} at {'submit' if call == 'submit' else f'polls of a {where}'}": _plan(call, error, where)
    for error, words in TROUBLE.items()
    for call, where in (("submit", "worker"), ("poll", "worker"), ("poll", "triggerer"))
}


@pytest.fixture(scope="module")
def runs(chaos: Chaos) -> Iterator[dict[str, ToyRun]]:
    """One run for each kind of trouble, all at once."""
    with chaos.runs() as start:
        yield {what: start(what, **plan) for what, plan in PLANS.items()}


@pytest.mark.parametrize("what", PLANS)
def test_one_job_when_the_platform(runs: dict[str, ToyRun], what: str) -> None:
    ended_well(runs[what], tries=1)
