"""How a release comes to an endpoint, one step at a time, and how it goes back.

Every step is decided from what the endpoint says of itself, so that whoever comes next, after a crash or a
clear, goes on where the last one was.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from nightshift.errors import DeploymentFailed
from nightshift.platforms.endpoints import (
    CHALLENGER,
    CHAMPION,
    OWNER,
    PREVIOUS,
    SINCE,
    STABLE,
    UNDO,
    EndpointState,
)
from nightshift.platforms.patience import patiently

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.platforms.endpoints import Endpoints, EndpointStatus

__all__ = [
    "Do",
    "Probe",
    "Progress",
    "Rollout",
    "Step",
    "check_answers",
    "go_back",
    "next_step",
    "settled_notes",
]

_NOTICED_S = 30.0
"""A platform may take so long to show that a change has begun."""
_CLOSE = 1e-6


class Do(StrEnum):
    """What comes next."""

    WAIT = "wait"
    DEPLOY = "deploy"
    CHECK = "check"
    SHIFT = "shift"
    BAKE = "bake"
    SETTLE = "settle"
    DELETE = "delete"
    LEAVE = "leave"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Step:
    """One step; which of the fields count depends on what it is."""

    do: Do
    release: str = ""
    variant: str = ""
    until: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """A deployment.

    :param owner: begins with the time of its run, so that the newer of two goes on and the older leaves.
    :param full: the release with the new model alone; ``canary`` the one with both, empty for at once.
    :param weight: the new model's share while both answer, for ``bake_s`` seconds.
    """

    name: str
    owner: str
    full: str
    canary: str = ""
    weight: float = 0.0
    bake_s: float = 0.0


@dataclass(slots=True)
class Progress:
    """What this try has done; nothing of it has to outlive it.

    :param asked: the release that the endpoint was told to take, when, and whether it began to.
    :param before: what it said then of an earlier change that had failed.
    :param checked: releases whose answers were right.
    """

    asked: str = ""
    asked_at: float = 0.0
    begun: bool = False
    before: str = ""
    checked: set[str] = field(default_factory=set)

    def ask(self, release: str, now: float, before: str) -> None:
        """Remember what the endpoint was told."""
        self.asked, self.asked_at, self.begun, self.before = release, now, False, before


@dataclass(frozen=True, slots=True)
class Probe:
    """A real row as a request, and what a batch of the same model says of it."""

    line: str
    row_id: int
    prediction: float


def next_step(plan: Rollout, status: EndpointStatus | None, done: Progress, now: float) -> Step:
    """What to do now. The new model is checked before it gets a single request, and again at the end."""
    if status is None:
        return Step(Do.DEPLOY, plan.full)
    if status.notes.get(OWNER, "") > plan.owner:
        return Step(Do.LEAVE, reason=f"a newer deployment has taken over: {status.notes[OWNER]}")
    if status.notes.get(UNDO):
        return Step(Do.FAIL, reason=f"it was told to go back: {status.notes[UNDO]}")
    if done.asked and status.notes.get(OWNER) != plan.owner:
        return Step(Do.FAIL, reason="somebody has brought it back meanwhile")
    if status.state is EndpointState.CHANGING:
        done.begun = True
        return Step(Do.WAIT)
    if status.state is EndpointState.FAILED:
        return _failed(plan, status, done)
    if done.asked and status.release != done.asked:
        return _not_taken(status, done, now)
    if status.release == plan.full:
        return Step(Do.SETTLE) if plan.full in done.checked else Step(Do.CHECK, plan.full, CHAMPION)
    if plan.canary and status.release == plan.canary:
        return _with_both(plan, status, done, now)
    return Step(Do.DEPLOY, plan.canary or plan.full)


def _failed(plan: Rollout, status: EndpointStatus, done: Progress) -> Step:
    """One that never served is made anew; one that has broken on the wanted release gets it once more."""
    stable = status.notes.get(STABLE)
    if not stable and done.asked != plan.full:
        return Step(Do.DELETE)
    if not done.asked and status.release == stable == plan.full:
        return Step(Do.DEPLOY, plan.full)
    return Step(Do.FAIL, reason=status.reason or "the platform does not say why")


def _not_taken(status: EndpointStatus, done: Progress, now: float) -> Step:
    is_news = done.begun or status.reason not in ("", done.before)
    if not is_news and now < done.asked_at + _NOTICED_S:
        return Step(Do.WAIT)
    why = status.reason or "the platform does not say why"
    return Step(Do.FAIL, reason=f"the endpoint went back to {status.release}: {why}")


def _with_both(plan: Rollout, status: EndpointStatus, done: Progress, now: float) -> Step:
    if plan.canary not in done.checked:
        return Step(Do.CHECK, plan.canary, CHALLENGER)
    release, _, since = status.notes.get(SINCE, "").partition(" ")
    challenger = status.variant(CHALLENGER)
    share = challenger.weight if challenger else 0.0
    if not math.isclose(share, plan.weight, abs_tol=_CLOSE) or release != plan.canary:
        return Step(Do.SHIFT, plan.canary)
    until = float(since) + plan.bake_s
    return Step(Do.BAKE, until=until) if now < until else Step(Do.DEPLOY, plan.full)


def check_answers(
    endpoints: Endpoints, name: str, variant: str, probes: Sequence[Probe], tolerance: float
) -> None:
    """Ask the rows and compare, row for row.

    :raises DeploymentFailed: when an answer is missing, of another row, or another number.
    """
    found = patiently(endpoints.ask, name, variant, [each.line for each in probes])
    if len(found) != len(probes):
        raise DeploymentFailed(f"{variant} of {name} gave {len(found)} answers to {len(probes)} rows")
    for probe, line in zip(probes, found, strict=True):
        wrong = _difference(probe, line, tolerance)
        if wrong:
            raise DeploymentFailed(
                f"{variant} of {name}: {wrong}",
                fix="compare the code and the libraries of the serving image with those of the jobs",
            )


def _difference(probe: Probe, line: str, tolerance: float) -> str:
    """Empty where the answer is the batch prediction."""
    try:
        answer = json.loads(line)
        row_id, prediction = int(answer["row_id"]), float(answer["prediction"])
    except (ValueError, KeyError, TypeError):
        return f"row {probe.row_id} was answered with {line[:200]!r}"
    if row_id != probe.row_id:
        return f"row {probe.row_id} was answered as row {row_id}"
    if not abs(prediction - probe.prediction) <= tolerance:
        return (
            f"row {row_id} was answered with {prediction!r}, in a batch it is {probe.prediction!r}: they may "
            f"differ by {tolerance:g}"
        )
    return ""


def go_back(endpoints: Endpoints, name: str, why: str, until: float) -> bool:
    """Bring the endpoint back to its stable release; one that never had any is deleted.

    That it has to go back is noted first, so that another may finish it.

    :param until: seconds since the epoch; how long it may take here.
    :returns: whether it is done.
    """
    status = patiently(endpoints.status, name)
    if status is None:
        return True
    broken = status.state is EndpointState.FAILED
    if status.notes.get(STABLE) != status.release or status.going_to or broken:
        patiently(endpoints.note, name, **{UNDO: why})
    while True:
        if status is None or _is_back(endpoints, status):
            return True
        if time.time() >= until:
            return False
        time.sleep(min(endpoints.poll_s, max(0.0, until - time.time())))
        status = patiently(endpoints.status, name)


def _is_back(endpoints: Endpoints, status: EndpointStatus) -> bool:
    """One step on the way back; whether there was none to take."""
    name, stable = status.name, status.notes.get(STABLE, "")
    if status.state is EndpointState.CHANGING:
        return False
    if not stable:
        patiently(endpoints.delete, name)
        return True
    if status.release == stable and status.state is EndpointState.SERVING:
        patiently(endpoints.note, name, **{OWNER: "", SINCE: "", UNDO: ""})
        return True
    if _answers_beside(endpoints, status, stable):
        patiently(endpoints.shift, name, {CHAMPION: 1.0, CHALLENGER: 0.0})  # at once; the rest takes minutes
    else:
        patiently(endpoints.deploy, name, stable)
    return False


def _answers_beside(endpoints: Endpoints, status: EndpointStatus, stable: str) -> bool:
    """Whether a challenger still gets requests beside the stable release's own model."""
    champion, challenger = status.variant(CHAMPION), status.variant(CHALLENGER)
    if champion is None or challenger is None or challenger.weight <= 0.0:
        return False
    return champion.model in {each.model for each in patiently(endpoints.variants_of, stable)}


def settled_notes(status: EndpointStatus | None, release: str) -> Mapping[str, str]:
    """The notes of an endpoint whose release ``release`` was deployed and checked."""
    notes = status.notes if status else {}
    before = notes.get(STABLE, "")
    previous = notes.get(PREVIOUS, "") if before == release else before
    return {STABLE: release, PREVIOUS: previous, OWNER: "", SINCE: "", UNDO: ""}
