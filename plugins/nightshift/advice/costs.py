"""What a month of a pipeline's jobs costs, by the price table and by what the last jobs took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightshift.errors import CapacityUnavailable
from nightshift.platforms.base import Machine
from nightshift.platforms.sagemaker.machines import choose, for_features, for_transform

if TYPE_CHECKING:
    from nightshift.advice.situation import Situation
    from nightshift.config.pipeline import MachineConfig, ResourcesConfig

__all__ = [
    "HOURS",
    "NIGHTS",
    "TRANSFER_S",
    "Cost",
    "always_on",
    "of_jobs",
    "of_scoring",
    "of_tuning",
    "type_of",
]

NIGHTS = 365 / 12
"""Nights a month."""
HOURS = 730
"""Hours a month, of a machine that is always on."""
TRANSFER_S = 60
"""Seconds a job is billed besides its work, for fetching image and data and storing the model: assumed."""


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars a month; ``words`` say how they come about; ``is_limit``: not more, for nobody measured."""

    usd: float
    words: str
    is_limit: bool = False


def type_of(situation: Situation, config: MachineConfig, *, transform: bool = False) -> str:
    """The instance type for what the file asks for; empty where the table has none."""
    try:
        return choose(_machine(config), situation.prices, transform=transform).type.name
    except CapacityUnavailable:
        return ""


def of_jobs(
    situation: Situation, resources: ResourcesConfig, kinds: tuple[str, ...], *, nights: float = NIGHTS
) -> Cost | None:
    """One job of each kind a night, on the first machine that the file asks for."""
    found = [situation.seconds(kind) for kind in kinds]
    measured = [each for each in found if each is not None]
    known = len(measured) == len(kinds)
    seconds = sum(measured) + TRANSFER_S * len(kinds) if known else resources.max_runtime_s * len(kinds)
    return _priced(situation, _machine(resources), seconds, nights, is_limit=not known)


def of_tuning(situation: Situation, per_trial_s: float | None) -> Cost | None:
    """A job for every trial, in the nights in which a search is due."""
    tuning = situation.pipeline.tuning
    if tuning is None:
        return None
    known = per_trial_s is not None
    # The whole search has one limit of time, in which so many trials run beside each other.
    longest = tuning.resources.max_runtime_s * min(tuning.parallelism, tuning.trials)
    seconds = ((per_trial_s or 0) + TRANSFER_S) * tuning.trials if known else longest
    return _priced(situation, _machine(tuning.resources), seconds, NIGHTS / tuning.every, is_limit=not known)


def of_scoring(situation: Situation) -> Cost | None:
    """The two stages of a scoring: features, then the transform."""
    resources = situation.pipeline.scoring.resources
    seconds = situation.seconds("score")
    each, known = (seconds or 0) + TRANSFER_S, seconds is not None
    if not known:
        each = resources.max_runtime_s
    asked = _machine(resources)
    first = _priced(situation, for_features(asked), each, NIGHTS, is_limit=not known)
    second = _priced(situation, for_transform(asked), each, NIGHTS, is_limit=not known, transform=True)
    if first is None or second is None:
        return None
    return Cost(first.usd + second.usd, f"features: {first.words}; transform: {second.words}", not known)


def always_on(situation: Situation, config: MachineConfig, count: int) -> Cost | None:
    """Machines that wait for requests all month."""
    name = type_of(situation, config, transform=True)
    price = situation.prices.types[name].usd_per_hour if name in situation.prices.types else None
    if price is None:
        return None
    usd = price * HOURS * count
    return Cost(usd, f"{count} x {name} x {HOURS} h x {price:g} USD an hour (of batch transform)")


def _priced(
    situation: Situation,
    machine: Machine,
    seconds: float,
    nights: float,
    *,
    is_limit: bool,
    transform: bool = False,
) -> Cost | None:
    try:
        fleet = choose(machine, situation.prices, transform=transform)
    except CapacityUnavailable:
        return None
    price = fleet.type.usd_per_hour
    if price is None:
        return None
    usd = seconds / 3600 * price * fleet.count * nights
    count = f"{fleet.count} x " if fleet.count > 1 else ""
    spot = ", less by what spot saves" if fleet.spot else ""
    words = (
        f"{nights:.1f} nights x {seconds:,.0f} s x {count}{fleet.type.name} at {price:g} USD an hour{spot}"
    )
    return Cost(usd, words, is_limit or fleet.spot)


def _machine(config: MachineConfig) -> Machine:
    names = Machine.__dataclass_fields__
    return Machine(**{name: getattr(config, name) for name in names})
