"""The whole answer for a pipeline: a service for every need, what it costs, what is not needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.advice.rules import RULES
from nightshift.advice.services import NEEDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from nightshift.advice.rules import Pick
    from nightshift.advice.services import Need
    from nightshift.advice.situation import Situation

__all__ = ["Advice", "Recommendation", "recommend"]


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer to one need."""

    need: Need
    pick: Pick

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        pick, other = self.pick, self.need.option(self.pick.other)
        return {
            "need": self.need.name,
            "service": self.need.option(pick.option).service,
            "instance_type": pick.instance or None,
            "why": list(pick.why),
            "usd_per_month": round(pick.cost.usd, 2) if pick.cost else None,
            "usd_is_at_most": pick.cost.is_limit if pick.cost else None,
            "usd_words": pick.cost.words if pick.cost else None,
            "alternative": other.service,
            "alternative_when": pick.other_when or other.when,
            "not_needed": [
                {"service": self.need.option(name).service, "because": why} for name, why in pick.unneeded
            ],
        }

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        found = self.to_dict()
        on = f" on {found['instance_type']}" if found["instance_type"] else ""
        yield f"{self.need.name}: {found['service']}{on}"
        yield f"    why     {'; '.join(found['why'])}"
        if self.pick.cost:
            yield f"    a month {_usd(self.pick.cost.usd, self.pick.cost.is_limit)}: {self.pick.cost.words}"
        yield f"    else    {found['alternative']}: when {found['alternative_when']}"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answers, and what they cost together."""

    situation: Situation
    advice: tuple[Advice, ...]

    @property
    def usd(self) -> float:
        """US dollars a month of what the price table knows."""
        return math.fsum(each.pick.cost.usd for each in self.advice if each.pick.cost)

    @property
    def is_limit(self) -> bool:
        """Whether it is a limit, because something of it was never measured."""
        return any(each.pick.cost.is_limit for each in self.advice if each.pick.cost)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        table, situation = self.situation.prices, self.situation
        return {
            "pipeline": situation.pipeline.pipeline,
            "platform": situation.pipeline.platform,
            "rows_per_day": situation.rows,
            "team": situation.team,
            "advice": [each.to_dict() for each in self.advice],
            "usd_per_month": round(self.usd, 2),
            "usd_is_at_most": self.is_limit,
            "budget_usd_per_month": situation.budget,
            "prices": {
                "date": table.date,
                "region": table.region,
                "asked": table.asked,
                "source": table.source,
            },
        }

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        situation = self.situation
        yield f"{situation.pipeline.pipeline}: {situation.rows_words}; a {situation.team} team"
        for each in self.advice:
            yield ""
            yield from each.lines()
        unneeded = [entry for each in self.advice for entry in each.to_dict()["not_needed"]]
        if unneeded:
            yield "\nnot needed"
            yield from (f"    {entry['service']}: {entry['because']}" for entry in unneeded)
        yield ""
        yield from self._money()

    def _money(self) -> Iterator[str]:
        table = self.situation.prices
        yield f"together {_usd(self.usd, self.is_limit)} a month, of what the price table knows"
        stands = "" if table.is_exact else f" in place of {table.asked}, which it lacks"
        yield f"prices of {table.date}, {table.region}{stands}: {table.source}"
        if (budget := self.situation.budget) is None:
            yield "no budget: set alerts.budget_usd_per_month, or say --budget"
        elif self.usd > budget:
            dearest = max((each for each in self.advice if each.pick.cost), key=_usd_of)
            yield (
                f"that is more than the budget of {budget:,.2f} USD: begin with {dearest.need.name} "
                "(spot: true, a smaller machine, fewer trials, tuning.every)"
            )
        else:
            yield f"within the budget of {budget:,.2f} USD"


def recommend(situation: Situation, needs: Collection[str] = ()) -> Recommendation:
    """The answer.

    :param needs: names of the needs to answer; empty means all.
    """
    asked = [need for need in NEEDS if not needs or need.name in needs]
    return Recommendation(situation, tuple(Advice(need, RULES[need.name](situation)) for need in asked))


def _usd_of(advice: Advice) -> float:
    return advice.pick.cost.usd if advice.pick.cost else 0.0


def _usd(usd: float, is_limit: bool) -> str:
    return f"{'at most ' if is_limit else 'about '}{usd:,.2f} USD"
