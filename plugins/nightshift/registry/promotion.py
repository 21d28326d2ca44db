"""Whether a challenger takes the champion's place, and the one place where it does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nightshift.errors import RegistryError
from nightshift.registry.names import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.config.pipeline import GateConfig
    from nightshift.registry.models import Models, ModelVersion

__all__ = ["MINIMISED", "Verdict", "apply", "decide"]

MINIMISED = frozenset({"log_loss", "brier"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """``promote`` or ``hold``, and why, in words with numbers."""

    verdict: Literal["promote", "hold"]
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """JSON-safe form."""
        return {"verdict": self.verdict, "reasons": list(self.reasons)}


def decide(
    gate: GateConfig,
    challenger: Mapping[str, float | None],
    champion: Mapping[str, float | None] | None,
    challenger_partition: str,
    champion_partition: str | None,
) -> Verdict:
    """Judge a challenger by metrics of the same holdout rows.

    Floors always hold; the first model needs nothing else. After that the challenger must beat the champion
    by more than nothing and by at least ``gate.min_effect``, and must not be older.

    :param champion: the champion's metrics on those rows, None when it was not measured.
    :param champion_partition: None when there is no champion yet.
    :raises RegistryError: when a metric that the gate names was not measured.
    """
    held = _below_floors(gate, challenger)
    if champion_partition is None:
        passed = ("there is no champion yet and every floor holds",)
        return Verdict("hold", held) if held else Verdict("promote", passed)
    if challenger_partition < champion_partition:
        held += (
            f"the challenger's partition {challenger_partition} is older than the champion's "
            f"{champion_partition}",
        )
    if champion is None:
        return Verdict("hold", (*held, "the champion was not measured on the same rows: evaluate again"))
    better, words = _compare(gate, challenger, champion)
    if held or not better:
        return Verdict("hold", (*held, words))
    return Verdict("promote", (words,))


def _below_floors(gate: GateConfig, metrics: Mapping[str, float | None]) -> tuple[str, ...]:
    reasons = []
    for name, floor in gate.floors.items():
        value = _metric(metrics, name, "challenger")
        # written so that a value that is not a number is outside too
        inside = value <= floor if name in MINIMISED else value >= floor
        if not inside:
            side = "above" if name in MINIMISED else "below"
            reasons.append(f"{name} {value:.5g} is {side} its floor {floor:.5g}")
    return tuple(reasons)


def _compare(
    gate: GateConfig, challenger: Mapping[str, float | None], champion: Mapping[str, float | None]
) -> tuple[bool, str]:
    name = gate.metric
    mine, theirs = _metric(challenger, name, "challenger"), _metric(champion, name, "champion")
    gain = theirs - mine if name in MINIMISED else mine - theirs
    better = gain > 0 and gain >= gate.min_effect
    direction = "lower is better" if name in MINIMISED else "higher is better"
    return better, (
        f"{name} {mine:.5f} against the champion's {theirs:.5f} ({direction}): gain {gain:+.5f}, "
        f"{'enough' if better else 'not enough'}, asked is {_asked(gate)}"
    )


def _asked(gate: GateConfig) -> str:
    return f"at least {gate.min_effect:.5g}" if gate.min_effect > 0 else "more than 0"


def _metric(metrics: Mapping[str, float | None], name: str, whose: str) -> float:
    """The metric; NaN, which passes no gate, where the rows did not define it."""
    if name not in metrics:
        known = ", ".join(sorted(metrics)) or "none"
        raise RegistryError(
            f"the gate needs the {whose}'s {name}, measured are: {known}",
            fix="name a metric that the evaluate job writes in 'gate' of the pipeline file",
        )
    value = metrics[name]
    return math.nan if value is None else float(value)


def apply(models: Models, challenger: ModelVersion, verdict: Verdict) -> ModelVersion | None:
    """Set the aliases that ``verdict`` asks for; the champion afterwards (None when there is none).

    Safe to repeat. The champion is looked at again right before the alias moves, so that a verdict from
    before a newer champion came never takes its place.

    :raises RegistryError: when an alias does not read back as it was set.
    """
    models.set_alias(challenger.name, CHALLENGER, challenger.version)
    champion = models.champion(challenger.name)
    if verdict.verdict != "promote":
        return champion
    if champion is not None and champion.partition > challenger.partition:
        return champion
    return models.set_alias(challenger.name, CHAMPION, challenger.version)
