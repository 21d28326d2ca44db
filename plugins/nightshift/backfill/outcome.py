"""How a backfill ended: its plan held against what is there now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightshift.backfill.state import Mark, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.backfill.plan import Plan
    from nightshift.backfill.records import Results
    from nightshift.backfill.state import Marks

__all__ = ["Outcome", "StepOutcome", "settle"]

_NOT_REACHED = "was not reached: its chunk did not end"


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """One step.

    :param done: partitions of the work that are good now.
    :param left: those of the work, and those that could not be done, that are not good; and why.
    :param now: the state of every partition of the range.
    :param seconds: that its partitions took, one after the other.
    """

    done: tuple[str, ...]
    left: Mapping[str, str]
    now: Mapping[str, Mark]
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of them."""

    steps: Mapping[str, StepOutcome]

    @property
    def left(self) -> dict[str, str]:
        """Every partition that is not as it was asked for, with its first step that is not, and why."""
        found: dict[str, str] = {}
        for name, step in self.steps.items():
            for key, why in step.left.items():
                found.setdefault(key, f"{name}: {why}")
        return dict(sorted(found.items()))

    def newest(self, step: str) -> str | None:
        """The newest partition that a step made good; None when it made none, or was not asked for."""
        done = self.steps[step].done if step in self.steps else ()
        return max(done, default=None)


def settle(plan: Plan, now: Marks, results: Results) -> Outcome:
    """What became of the plan.

    A partition that was there before counts as done only where its chunk says that it did it again.
    """
    before = plan.marks()
    found = {}
    for name, step in plan.steps.items():
        reported = results.get(name, {})
        left = dict(step.impossible)
        done = []
        for key in step.work:
            mark = now[name][key]
            told = key in reported or before[name][key].state is not State.PRESENT
            if mark.state is State.PRESENT and told:
                done.append(key)
            else:
                left[key] = mark.why or _NOT_REACHED
        seconds = sum(float(each.get("seconds", 0.0)) for each in reported.values())
        found[name] = StepOutcome(tuple(done), dict(sorted(left.items())), now[name], seconds)
    return Outcome(found)
