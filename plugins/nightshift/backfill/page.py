"""The page of a backfill, one file without a script: first the plan, later what became of it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from nightshift.backfill.calendar import DEFINITIONS, calendar
from nightshift.backfill.state import State
from nightshift.backfill.steps import REPROCESS
from nightshift.backfill.table import duration, price
from nightshift.pages import template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.backfill.outcome import Outcome, StepOutcome
    from nightshift.backfill.plan import Plan, StepPlan
    from nightshift.backfill.state import Mark

__all__ = ["html"]

_TEMPLATE = Path(__file__).parent / "templates" / "backfill.html.j2"

_LISTED = 400
_LEGEND = {
    "present": "present",
    "missing": "missing",
    "failed": "failed",
    "impossible": "cannot be done",
}


def html(plan: Plan, outcome: Outcome | None = None, *, run_url: str = "", announced: str = "") -> bytes:
    """The page; reasons come from data and are escaped like everything else.

    :param outcome: of a backfill that has ended.
    :param run_url: its run in Airflow.
    :param announced: what was told to the DAGs that wait, e.g. ``2013-01-31 of flight_delays_clean``.
    """
    marks = plan.marks()
    left = outcome.left if outcome else {}
    text: str = template(_TEMPLATE).render(
        plan=plan,
        outcome=outcome,
        reprocess=REPROCESS[plan.request.reprocess],
        verdict=_verdict(plan, outcome),
        duration=duration,
        price=price,
        steps=[_step(name, plan, marks[name], outcome) for name in plan.steps],
        left=list(left.items())[:_LISTED],
        left_total=len(left),
        failed=_failed(plan)[:_LISTED],
        failed_total=len(_failed(plan)),
        legend=_LEGEND,
        definitions=Markup(DEFINITIONS),
        run_url=run_url,
        announced=announced,
        written=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    return text.encode()


def _verdict(plan: Plan, outcome: Outcome | None) -> str:
    if plan.request.dry_run:
        return "dry run"
    if outcome is None:
        return "planned"
    return "failed" if outcome.left else "done"


def _step(name: str, plan: Plan, before: Mapping[str, Mark], outcome: Outcome | None) -> dict[str, Any]:
    step = plan.steps[name]
    ended = outcome.steps[name] if outcome else None
    pictures = [("Before" if ended else "Now", Markup(_picture(name, before, step, "before")))]
    if ended is not None:
        pictures.append(("Now", Markup(_picture(name, ended.now, None, "now"))))
    return {
        "name": name,
        "plan": step,
        "counts": {state.value: step.count(state) for state in State},
        "ended": ended,
        "rate": _rate(ended),
        "pictures": pictures,
    }


def _rate(ended: StepOutcome | None) -> str:
    return duration(ended.seconds) if ended and ended.seconds else ""


def _picture(name: str, marks: Mapping[str, Mark], step: StepPlan | None, when: str) -> str:
    hindered = step.impossible if step else {}
    kinds = {key: "impossible" if key in hindered else mark.state.value for key, mark in marks.items()}
    return calendar(kinds, f"{name}, {when}")


def _failed(plan: Plan) -> list[tuple[str, str, str]]:
    """Partition, step and reason of what had failed, or cannot be done, when the plan was made."""
    found = [
        (key, name, why)
        for name, step in plan.steps.items()
        for key, why in {**step.reasons, **step.impossible}.items()
    ]
    return sorted(found)
