"""The paired bootstrap: how often each row is drawn in each resample, and what the results say.

Rows are drawn with replacement within their partition (stratified: Davison & Hinkley, *Bootstrap Methods and
their Application*, 1997, section 3.2), or whole clusters of rows are, where the rows of a day depend on each
other (Field & Welsh, *Bootstrapping clustered data*, JRSS B 69, 2007). Both models see the same draw, so that
what makes a day hard for both cancels (paired). Bounds and p-values are percentiles of the resamples (Efron &
Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 13 and 16). Ranking metrics of a resample, in
which rows repeat, lie a little off those of the rows themselves; in the difference of two models that
cancels, and correcting for it only let more equal models through (5.6 % for an alpha of 5 %, against 4.9 %).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Units", "bounds", "each_block", "holm", "p_not_above"]

_BLOCK_CELLS = 300_000
"""Rows times resamples that are worked on at once: small enough for a processor's cache."""
_MOST_THREADS = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """What is drawn: rows or clusters of rows, each within its stratum.

    With the units sorted by stratum, ``place`` says where each one is, and ``sizes`` how many each stratum
    has. ``of_row`` gives each row's unit, None where every row is one.
    """

    place: NDArray[np.int64]
    sizes: NDArray[np.int64]
    of_row: NDArray[np.int64] | None

    @classmethod
    def rows(cls, strata: NDArray[Any]) -> Units:
        """Every row by itself, within its stratum."""
        _, code = np.unique(strata, return_inverse=True)
        return cls(np.argsort(np.argsort(code, kind="stable")), np.bincount(code), None)

    @classmethod
    def clusters(cls, strata: NDArray[Any], cluster: NDArray[Any] | None) -> Units:
        """The values of ``cluster`` within each stratum; without it the strata themselves."""
        _, stratum = np.unique(strata, return_inverse=True)
        if cluster is None:
            count = int(stratum.max(initial=-1)) + 1
            return cls(np.arange(count), np.asarray([count]), stratum)
        _, value = np.unique(cluster, return_inverse=True)
        pairs, of_row = np.unique(np.stack([stratum, value], axis=1), axis=0, return_inverse=True)
        return cls(np.arange(len(pairs)), np.bincount(pairs[:, 0]), of_row.reshape(-1))

    def draw(self, rng: np.random.Generator, resamples: int) -> NDArray[np.int32]:
        """How often each row is drawn, shape ``(resamples, rows)``."""
        total = len(self.place)
        drawn = np.empty((resamples, total), dtype=np.int64)
        first = 0
        for size in self.sizes:
            drawn[:, first : first + size] = rng.integers(first, first + size, (resamples, size))
            first += int(size)
        drawn += np.arange(resamples)[:, None] * total
        by_place = np.bincount(drawn.ravel(), minlength=resamples * total).reshape(resamples, total)
        counts = by_place.astype(np.int32).take(self.place, axis=1)
        return counts if self.of_row is None else counts.take(self.of_row, axis=1)


def each_block(
    units: Units, rows: int, resamples: int, seed: int, work: Callable[[NDArray[np.int32]], T]
) -> Iterator[T]:
    """What ``work`` makes of the weights of all resamples, block by block, in order.

    Memory does not grow with the number of resamples; the numbers depend on ``seed`` alone, not on how many
    processors there are.
    """
    size = max(1, min(resamples, _BLOCK_CELLS // max(1, rows)))
    sizes = [min(size, resamples - first) for first in range(0, resamples, size)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))

    def block(number: int) -> T:
        return work(units.draw(np.random.default_rng(seeds[number]), sizes[number]))

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        yield from threads.map(block, range(len(sizes)))


def bounds(resampled: NDArray[np.float64], alpha: float) -> tuple[float, float]:
    """Lower and upper bound of a value, each missed by the truth with probability ``alpha``."""
    low, high = np.quantile(resampled, [alpha, 1 - alpha])
    return float(low), float(high)


def p_not_above(resampled: NDArray[np.float64], threshold: float) -> float:
    """The p-value of "the true value is not above ``threshold``"; never 0: there could be more resamples.

    At most ``alpha`` just where the lower bound at ``alpha`` is above the threshold.
    """
    return float((np.count_nonzero(resampled <= threshold) + 1) / (len(resampled) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted for how many there are: Holm, *A simple sequentially rejective multiple test procedure*,
    Scandinavian Journal of Statistics 6, 1979."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
