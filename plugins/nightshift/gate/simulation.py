"""How often the gate would promote: simulated retrains of which the truth is known, through the real gate.

A simulated retrain draws as many rows as there are, with replacement and within each partition, from real
predictions in which every row counts twice, once with the scores of challenger and champion swapped. The two
are exchangeable there, so no metric of them truly differs, whole or on any slice. For a true improvement the
challenger's scores are moved towards the labels, on the logit scale, until the gate's metric of all rows is
better by as much as asked.
"""

from __future__ import annotations

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from nightshift.config.pipeline import LimitsConfig
from nightshift.errors import ConfigError
from nightshift.gate.comparison import Comparison, compare, units_of
from nightshift.gate.metrics import compute, higher_is_better
from nightshift.gate.verdict import Candidate, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from nightshift.config.pipeline import GateConfig
    from nightshift.gate.bootstrap import Units
    from nightshift.gate.predictions import Predictions

__all__ = ["POWER", "Simulation", "binomial_bound", "simulate"]

POWER = 0.8
_SURE = 1e-12
_FARTHEST = 30.0
_STEPS = 60
_BEYOND = 0.01
_COPY = "(copy of a cluster)"
_MOST_AT_ONCE = 4
"""Retrains; each of them keeps several processors busy already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What became of the simulated retrains.

    :param naive_promoted: how often "the metric is better on the same rows" would have promoted.
    :param bound: more promotions than this have a probability under 1 % when each has ``alpha``.
    :param effect: the true improvement asked for, in multiples of ``min_effect``.
    :param true_difference: the true improvement, in the metric.
    :param standard_error: how much the measured difference varies between retrains.
    :param least_margin: the smallest margin of which the double is promoted in 80 of 100 cases, as far as
        the margin decides.
    """

    metric: str
    retrains: int
    promoted: int
    promoted_share: float
    naive_promoted: int
    naive_share: float
    alpha: float
    bound: int
    effect: float
    min_effect: float
    true_difference: float
    standard_error: float
    least_margin: float
    seed: int
    resamples: int
    rows: int
    partitions: int
    source: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form."""
        return asdict(self)


def simulate(
    predictions: Predictions,
    gate: GateConfig,
    *,
    retrains: int = 200,
    effect: float = 0.0,
    seed: int = 1,
    workers: int = 0,
    source: str = "",
    each: Callable[[int], None] = lambda done: None,
) -> Simulation:
    """Put ``retrains`` challengers that are truly better by ``effect`` margins through the gate.

    Limits, signature and ``promote`` of the gate are left out: they do not depend on the rows.

    :param workers: retrains at once; 0 for a few. The numbers do not depend on it.
    :param source: where the predictions come from, in words.
    :param each: called with the number of retrains that are done.
    :raises ConfigError: when there is nothing to compare, or no such improvement is possible.
    """
    begun = time.monotonic()
    if predictions.champion is not None and np.array_equal(predictions.challenger, predictions.champion):
        raise ConfigError(
            "both models say the same of every row: there is no chance between them to learn from",
            fix="give the predictions of two models with --predictions",
        )
    gate = gate.model_copy(update={"promote": "automatic", "limits": LimitsConfig(), "signature": "any"})
    world, true_difference = _world(predictions, gate, retrains, effect)
    seeds = np.random.SeedSequence(seed).spawn(retrains)
    outcomes: list[_Outcome] = []
    with ThreadPoolExecutor(workers or min(_MOST_AT_ONCE, os.cpu_count() or 1)) as threads:
        for outcome in threads.map(lambda own: _retrain(world, own), seeds):
            outcomes.append(outcome)
            each(len(outcomes))
    promoted, naive = sum(one.promoted for one in outcomes), sum(one.gain > 0 for one in outcomes)
    error = float(np.std([one.gain for one in outcomes if math.isfinite(one.gain)] or [0.0]))
    return Simulation(
        metric=gate.metric,
        retrains=retrains,
        promoted=promoted,
        promoted_share=promoted / retrains,
        naive_promoted=naive,
        naive_share=naive / retrains,
        alpha=gate.alpha,
        bound=binomial_bound(retrains, gate.alpha),
        effect=effect,
        min_effect=gate.min_effect,
        true_difference=true_difference,
        standard_error=error,
        least_margin=error * (NormalDist().inv_cdf(1 - gate.alpha) + NormalDist().inv_cdf(POWER)),
        seed=seed,
        resamples=gate.resamples,
        rows=len(predictions),
        partitions=len(np.unique(predictions.partition)),
        source=source,
        seconds=round(time.monotonic() - begun, 1),
    )


def binomial_bound(tries: int, share: float) -> int:
    """The largest number of hits that is not exceeded with a probability of 1 % or more."""
    beyond = 1.0
    for hits in range(tries + 1):
        ways = math.lgamma(tries + 1) - math.lgamma(hits + 1) - math.lgamma(tries - hits + 1)
        beyond -= math.exp(ways + hits * math.log(share) + (tries - hits) * math.log1p(-share))
        if beyond < _BEYOND:
            return hits
    return tries


@dataclass(frozen=True, slots=True)
class _Outcome:
    promoted: bool
    gain: float


@dataclass(frozen=True, slots=True, eq=False)
class _World:
    """All rows twice, the second time with swapped scores, and what is drawn of them together."""

    pool: Predictions
    units: Units
    gate: GateConfig

    def draw(self, rng: np.random.Generator) -> Predictions:
        """As many units as there are, each with or without the swap."""
        drawn = replace(self.units, of_row=None).draw(rng, 1)[0]
        swapped = rng.binomial(drawn, 0.5)
        counts = [drawn - swapped, swapped]
        if self.units.of_row is not None:
            counts = [count[self.units.of_row] for count in counts]
        often = np.concatenate(counts)
        taken = self.pool.take(np.repeat(np.arange(len(often)), often))
        return taken if self.units.of_row is None else self._apart(taken, often)

    def _apart(self, taken: Predictions, often: NDArray[Any]) -> Predictions:
        """With a name for each copy of a cluster: drawn twice, it is two clusters."""
        assert self.units.of_row is not None
        copy = np.arange(len(taken)) - np.repeat(np.cumsum(often) - often, often)
        side = np.repeat(np.arange(len(often)) >= len(often) // 2, often)
        unit = np.repeat(np.tile(self.units.of_row, 2), often)
        _, name = np.unique(np.stack([unit, side, copy], axis=1), axis=0, return_inverse=True)
        names = name.reshape(-1).astype(str)
        if self.gate.cluster is None:
            return replace(taken, partition=names)
        return replace(taken, slices={**taken.slices, _COPY: names})


def _world(predictions: Predictions, gate: GateConfig, retrains: int, effect: float) -> tuple[_World, float]:
    if predictions.champion is None:
        raise ConfigError(
            "these predictions hold no champion's scores, so there is nothing to compare",
            fix="take those of a model that was compared with a champion",
        )
    if retrains < 1:
        raise ConfigError(f"{retrains} retrains say nothing", fix="ask for one at least")
    if effect and not gate.min_effect:
        raise ConfigError(
            f"an effect of {effect:g} times the minimum effect is nothing, for that is 0",
            fix="set gate.min_effect in the pipeline file, or try one with --min-effect 0.01",
        )
    pool, true_difference = _improved(_swapped(predictions), gate.metric, effect * gate.min_effect)
    units = units_of(predictions, gate)
    if gate.cluster is not None:
        gate = gate.model_copy(update={"cluster": _COPY})
    return _World(pool, units, gate), true_difference


def _swapped(predictions: Predictions) -> Predictions:
    """Every row as it is, then every row with the scores of the two models swapped."""
    both = predictions.take(np.tile(np.arange(len(predictions)), 2))
    first, second = predictions.challenger, predictions.champion
    assert second is not None
    return replace(both, challenger=np.concatenate([first, second]), champion=np.concatenate([second, first]))


def _improved(pool: Predictions, metric: str, wanted: float) -> tuple[Predictions, float]:
    """The pool with a challenger that is better by ``wanted``, and by how much it is; found by bisection."""
    if not wanted:
        return pool, 0.0
    before = compute(metric, pool.labels, pool.challenger)
    sign = 1.0 if higher_is_better(metric) else -1.0

    def at(distance: float) -> tuple[Predictions, float]:
        moved = _moved(pool, math.copysign(distance, wanted))
        return moved, sign * (compute(metric, moved.labels, moved.challenger) - before)

    near, far = 0.0, _FARTHEST
    if abs(at(far)[1]) < abs(wanted):
        than = "better" if wanted > 0 else "worse"
        raise ConfigError(
            f"{metric} is {before:.5g} and cannot be {than} by {abs(wanted):g}",
            fix="ask for a smaller effect",
        )
    for _ in range(_STEPS):
        middle = (near + far) / 2
        near, far = (near, middle) if abs(at(middle)[1]) >= abs(wanted) else (middle, far)
    return at(far)


def _moved(pool: Predictions, distance: float) -> Predictions:
    """With the challenger's scores moved towards the labels by ``distance`` on the logit scale."""
    sure = np.clip(pool.challenger, _SURE, 1 - _SURE)
    logit = np.log(sure) - np.log1p(-sure) + distance * (2 * pool.labels - 1)
    return replace(pool, challenger=1 / (1 + np.exp(-logit)))


def _retrain(world: _World, seed: np.random.SeedSequence) -> _Outcome:
    """One retrain through the gate; the slices are compared only where they can still change the verdict."""
    gate, (drawing, comparing) = world.gate, seed.spawn(2)
    drawn, number = world.draw(np.random.default_rng(drawing)), int(comparing.generate_state(1)[0])
    found = compare(drawn, gate, seed=number, with_slices=False)
    promoted = _promotes(gate, found)
    if promoted and gate.slices is not None:
        promoted = _promotes(gate, compare(drawn, gate, seed=number))
    gain = found.of(gate.metric).gain
    return _Outcome(promoted, math.nan if gain is None else gain)


def _promotes(gate: GateConfig, found: Comparison) -> bool:
    return judge(gate, found, Candidate(), Candidate()).verdict == "promote"
