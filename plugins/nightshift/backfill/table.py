"""A plan, and what became of it, as a table for a log or a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightshift.backfill.plan import SLOTS
from nightshift.backfill.state import State
from nightshift.backfill.steps import REPROCESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.backfill.outcome import Outcome
    from nightshift.backfill.plan import Plan

__all__ = ["duration", "outcome_lines", "plan_lines", "price"]

_SHOWN = 20


def duration(seconds: float) -> str:
    """``90 s``, ``12 min``, ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def price(usd: float) -> str:
    """``$0.42``."""
    return f"${usd:,.2f}"


def plan_lines(plan: Plan) -> list[str]:
    """The plan: a line a step, then what it starts from."""
    asked = plan.request
    days, what = len(asked.partitions), REPROCESS[asked.reprocess]
    head = f"{plan.pipeline} {asked.first}..{asked.last}: {days} partitions; to do: {what}"
    rows = [["step", "present", "missing", "failed", "to do", "not possible", "chunks", "time", "cost"]]
    for name, step in plan.steps.items():
        counts = [str(step.count(state)) for state in State]
        work = [str(len(step.work)), str(len(step.impossible)), str(len(step.chunks))]
        rows.append([name, *counts, *work, duration(step.seconds), price(step.usd)])
    total = f"Estimate: {duration(60 * plan.minutes)} with {SLOTS} chunks at once, {price(plan.usd)}"
    lines = [head, *_aligned(rows), total]
    lines += [f"  {name}: {_basis(plan, name)}" for name in plan.steps]
    if "retrain" in plan.steps and asked.first < asked.models_from:
        lines.append(f"  retrain begins with {asked.models_from}, the first with a whole training window")
    for name, step in plan.steps.items():
        lines += _listed(f"{name} failed before", step.reasons)
        lines += _listed(f"{name} is not possible", step.impossible)
    return lines


def outcome_lines(plan: Plan, outcome: Outcome) -> list[str]:
    """What became of it."""
    rows = [["step", "to do", "done", "not good", "present now"]]
    for name, step in outcome.steps.items():
        present = sum(mark.state is State.PRESENT for mark in step.now.values())
        work = len(plan.steps[name].work)
        rows.append([name, str(work), str(len(step.done)), str(len(step.left)), str(present)])
    return [*_aligned(rows), *_listed("Not good", outcome.left)]


def _basis(plan: Plan, name: str) -> str:
    pace = plan.steps[name].pace
    on = f"measured on {pace['measured']}" if pace["measured"] else "a guess, nothing was measured yet"
    return f"{pace['seconds']:.2f} s a partition ({on})"


def _listed(title: str, found: Mapping[str, str]) -> list[str]:
    if not found:
        return []
    lines = [f"{title}:", *(f"  {key}  {why}" for key, why in list(found.items())[:_SHOWN])]
    return [*lines, f"  ... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, numbers to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
