"""Champion and challenger on the same rows: what each reaches, and how sure the difference is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nightshift.config.pipeline import LEAST_CLUSTERS
from nightshift.errors import ConfigError
from nightshift.gate.bootstrap import Units, bounds, each_block, holm, p_not_above
from nightshift.gate.metrics import AVERAGED, METRICS, RANKED, Ranking, compute, higher_is_better, loss_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nightshift.config.pipeline import GateConfig, SlicesConfig
    from nightshift.gate.predictions import Predictions

__all__ = ["Comparison", "MetricGain", "SliceGain", "compare", "units_of"]

_BINS = 40
_LEAST_OF_A_CLASS = 10
_MOST_UNDEFINED = 0.05
_SOURCE = (
    "paired percentile bootstrap (Efron & Tibshirani 1993, 13 and 16); "
    "stratified (Davison & Hinkley 1997, 3.2) or clustered (Field & Welsh 2007); slices by Holm 1979"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricGain:
    """One metric of both models. A gain above 0 means that the challenger is better, whatever the direction.

    ``low`` and ``high`` bound the gain, each missed with probability alpha; ``p`` is the p-value of "the gain
    is not above the margin" (for other metrics than the gate's: not above 0). None where it cannot be said.
    """

    metric: str
    higher_is_better: bool
    challenger: float | None
    champion: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceGain:
    """The gate's metric on the rows with one value of a column.

    ``p_worse`` is the p-value of "it is not worse by more than max_regression", ``p_adjusted`` the same
    after Holm's correction for all slices that are judged; ``note`` says why one is not.
    """

    column: str
    value: str
    rows: int
    positives: int
    challenger: float | None
    champion: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    p_worse: float | None = None
    p_adjusted: float | None = None
    regressed: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All metrics, all slices and how they were found; ``histogram`` is of the gate's metric's gain."""

    metrics: tuple[MetricGain, ...]
    slices: tuple[SliceGain, ...]
    histogram: Mapping[str, list[float]]
    method: Mapping[str, Any]

    def of(self, metric: str) -> MetricGain:
        """One metric."""
        return next(each for each in self.metrics if each.metric == metric)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe: no NaN."""
        return {
            "metrics": [asdict(each) for each in self.metrics],
            "slices": [asdict(each) for each in self.slices],
            "histogram": dict(self.histogram),
            "method": dict(self.method),
        }


def compare(predictions: Predictions, gate: GateConfig, *, seed: int, with_slices: bool = True) -> Comparison:
    """Compare both models on every row of ``predictions``; one alone where there is no champion.

    2,000 resamples of 300,000 rows take seconds; memory grows with the rows, not with the resamples.

    :raises ConfigError: when a column that the gate names is not among the predictions, or there are too few
        clusters, or resamples for so many slices, to say anything.
    """
    slices = gate.slices if with_slices else None
    groups = [_Groups.whole(predictions), *(_Groups.by(predictions, name) for name in _columns(slices))]
    method = _method(gate, seed)
    if predictions.champion is None:
        return Comparison(
            metrics=tuple(_alone(name, predictions) for name in METRICS),
            slices=tuple(each for found in groups[1:] for each in found.alone(predictions, gate.metric)),
            histogram={},
            method=method,
        )
    sample = _Resampled(predictions, gate, groups, seed)
    gains = tuple(sample.metric(name, gate) for name in METRICS)
    judged = [each for number in range(1, len(groups)) for each in sample.slices(number, gate)]
    return Comparison(
        metrics=gains,
        slices=_adjusted(judged, gate),
        histogram=_histogram(sample.gains[0][gate.metric][:, 0]),
        method=method,
    )


def _columns(slices: SlicesConfig | None) -> Sequence[str]:
    return slices.columns if slices else ()


def _method(gate: GateConfig, seed: int) -> dict[str, Any]:
    unit = "rows, within each partition"
    if gate.resampling == "clustered":
        unit = f"values of {gate.cluster}, within each partition" if gate.cluster else "whole partitions"
    return {
        "resampling": f"{gate.resampling}: {unit}",
        "resamples": gate.resamples,
        "seed": seed,
        "alpha": gate.alpha,
        "interval": f"each bound is missed with probability {gate.alpha:g}",
        "source": _SOURCE,
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Rows by the value of a column, or all in one."""

    column: str
    names: tuple[str, ...]
    code: NDArray[np.int64]

    @classmethod
    def whole(cls, predictions: Predictions) -> _Groups:
        return cls("", ("",), np.zeros(len(predictions), dtype=np.int64))

    @classmethod
    def by(cls, predictions: Predictions, column: str) -> _Groups:
        names, code = np.unique(_column(predictions, column), return_inverse=True)
        return cls(column, tuple(str(name) for name in names), code)

    def slice(self, number: int, predictions: Predictions, metric: str) -> SliceGain:
        """The slice with what the challenger alone reaches."""
        mine = self.code == number
        labels = predictions.labels[mine]
        return SliceGain(
            column=self.column,
            value=self.names[number],
            rows=int(mine.sum()),
            positives=int(labels.sum()),
            challenger=_finite(compute(metric, labels, predictions.challenger[mine])),
        )

    def alone(self, predictions: Predictions, metric: str) -> list[SliceGain]:
        return [self.slice(number, predictions, metric) for number in range(len(self.names))]


class _Resampled:
    """The gains of every resample: per grouping, metric -> ``(resamples, groups)``."""

    def __init__(
        self, predictions: Predictions, gate: GateConfig, groups: Sequence[_Groups], seed: int
    ) -> None:
        assert predictions.champion is not None
        self.predictions = predictions
        self.groups = groups
        self._pairs = [
            _Pair(predictions, found, METRICS if not number else (gate.metric,))
            for number, found in enumerate(groups)
        ]
        units, rows = units_of(predictions, gate), len(predictions)
        blocks = list(each_block(units, rows, gate.resamples, seed, self._gains))
        self.gains = [
            {name: np.concatenate([block[number][name] for block in blocks]) for name in pair.metrics}
            for number, pair in enumerate(self._pairs)
        ]
        once = np.ones((1, rows), dtype=np.int32)
        self.points = [pair.levels(once) for pair in self._pairs]

    def _gains(self, weights: NDArray[np.int32]) -> list[dict[str, NDArray[np.float64]]]:
        return [pair.gains(weights) for pair in self._pairs]

    def metric(self, name: str, gate: GateConfig) -> MetricGain:
        challenger, champion = (float(side[name][0, 0]) for side in self.points[0])
        gain = _gain(name, challenger, champion)
        resampled = _usable(self.gains[0][name][:, 0])
        base = MetricGain(
            metric=name,
            higher_is_better=higher_is_better(name),
            challenger=_finite(challenger),
            champion=_finite(champion),
            gain=_finite(gain),
        )
        if resampled is None or not math.isfinite(gain):
            return base
        low, high = bounds(resampled, gate.alpha)
        margin = gate.min_effect if name == gate.metric else 0.0
        p = p_not_above(resampled, margin)
        return MetricGain(**{**asdict(base), "low": low, "high": high, "p": p})

    def slices(self, number: int, gate: GateConfig) -> list[SliceGain]:
        groups = self.groups[number]
        return [self._slice(number, place, gate) for place in range(len(groups.names))]

    def _slice(self, number: int, place: int, gate: GateConfig) -> SliceGain:
        assert gate.slices is not None
        name, (challenger, champion) = gate.metric, self.points[number]
        base = self.groups[number].slice(place, self.predictions, name)
        mine, theirs = float(challenger[name][0, place]), float(champion[name][0, place])
        gain = _gain(name, mine, theirs)
        shown = {**asdict(base), "champion": _finite(theirs), "gain": _finite(gain)}
        rarest = min(base.positives, base.rows - base.positives)
        if base.rows < gate.slices.min_rows or rarest < _LEAST_OF_A_CLASS:
            return SliceGain(**{**shown, "note": "too few rows to judge"})
        resampled = _usable(self.gains[number][name][:, place])
        if resampled is None or not math.isfinite(gain):
            return SliceGain(**{**shown, "note": "not defined on these rows"})
        low, high = bounds(resampled, gate.alpha)
        worse = p_not_above(-resampled, gate.slices.max_regression)
        return SliceGain(**{**shown, "low": low, "high": high, "p_worse": worse})


class _Pair:
    """Both models on one grouping of the rows, ready for any weighting."""

    def __init__(self, predictions: Predictions, groups: _Groups, metrics: Sequence[str]) -> None:
        assert predictions.champion is not None
        labels, code, count = predictions.labels, groups.code, len(groups.names)
        scores = (predictions.challenger, predictions.champion)
        self.metrics = tuple(metrics)
        self._ranked = tuple(name for name in metrics if name in RANKED)
        self._averaged = tuple(name for name in metrics if name in AVERAGED)
        self._rankings = [Ranking.of(labels, each, code, count) for each in scores] if self._ranked else []
        self._losses = [[loss_of(name, labels, each) for name in self._averaged] for each in scores]
        self._order = np.argsort(code, kind="stable") if count > 1 else None
        self._starts = np.searchsorted(np.sort(code), np.arange(count))

    def levels(self, weights: NDArray[np.int32]) -> list[dict[str, NDArray[np.float64]]]:
        """Every metric of the challenger and of the champion, each ``(weightings, groups)``."""
        found = []
        for side in (0, 1):
            values = self._rankings[side].values(self._ranked, weights) if self._ranked else {}
            found.append({**values, **self._means(side, weights)})
        return found

    def gains(self, weights: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
        """By how much the challenger is better."""
        challenger, champion = self.levels(weights)
        return {
            name: (challenger[name] - champion[name]) * (1.0 if higher_is_better(name) else -1.0)
            for name in self.metrics
        }

    def _means(self, side: int, weights: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
        losses = self._losses[side]
        if not losses:
            return {}
        if self._order is None:
            rows = weights.sum(axis=1, dtype=np.float64)
            # einsum, not @: a library of linear algebra starts threads of its own for this
            sums = (np.einsum("bn,n->b", weights, each) for each in losses)
            return {name: (each / rows)[:, None] for name, each in zip(self._averaged, sums, strict=True)}
        mine = weights.take(self._order, axis=1)
        rows = np.add.reduceat(mine, self._starts, axis=1).astype(np.float64)
        rows[rows == 0] = np.nan
        return {
            name: np.add.reduceat(mine * each[self._order], self._starts, axis=1) / rows
            for name, each in zip(self._averaged, losses, strict=True)
        }


def units_of(predictions: Predictions, gate: GateConfig) -> Units:
    """What the gate draws: rows or clusters of them.

    :raises ConfigError: when there are too few clusters, or the predictions lack their column.
    """
    if gate.resampling == "stratified":
        return Units.rows(predictions.partition)
    cluster = _column(predictions, gate.cluster) if gate.cluster else None
    units = Units.clusters(predictions.partition, cluster)
    fewest = int(units.sizes.min(initial=len(units.place)))
    if fewest < LEAST_CLUSTERS:  # a day with one cluster is drawn as it is, as if nothing in it were chance
        found = f"{fewest} of {gate.cluster} on one of its days" if gate.cluster else f"{fewest} days"
        raise ConfigError(
            f"the holdout has {found}: {LEAST_CLUSTERS} clusters are needed at least to say how sure a "
            "difference is",
            fix="make training.window.holdout longer, name a finer gate.cluster, or set gate.resampling to "
            "stratified",
        )
    return units


def _column(predictions: Predictions, name: str) -> NDArray[np.str_]:
    if name not in predictions.slices:
        raise ConfigError(
            f"the predictions have no column {name!r}, which the gate names",
            fix="clear 'evaluate' of the run: it writes the columns that the pipeline file names today",
        )
    return predictions.slices[name]


def _adjusted(found: Sequence[SliceGain], gate: GateConfig) -> tuple[SliceGain, ...]:
    judged, alpha = [each.p_worse for each in found if each.p_worse is not None], gate.alpha
    if len(judged) > alpha * (gate.resamples + 1):  # the smallest p-value, adjusted, is above alpha
        raise ConfigError(
            f"{len(judged)} slices cannot be judged with {gate.resamples} resamples",
            fix=f"set gate.resamples to {math.ceil(len(judged) / alpha)}, or gate.slices.min_rows higher",
        )
    adjusted = iter(holm(judged))
    return tuple(
        each
        if each.p_worse is None
        else SliceGain(**{**asdict(each), "p_adjusted": (p := next(adjusted)), "regressed": p <= alpha})
        for each in found
    )


def _alone(name: str, predictions: Predictions) -> MetricGain:
    value = compute(name, predictions.labels, predictions.challenger)
    return MetricGain(metric=name, higher_is_better=higher_is_better(name), challenger=_finite(value))


def _gain(metric: str, challenger: float, champion: float) -> float:
    return challenger - champion if higher_is_better(metric) else champion - challenger


def _usable(resampled: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The resamples that define the metric; None when too many do not."""
    found = resampled[np.isfinite(resampled)]
    return found if len(found) >= (1 - _MOST_UNDEFINED) * len(resampled) else None


def _histogram(resampled: NDArray[np.float64]) -> dict[str, list[float]]:
    found = resampled[np.isfinite(resampled)]
    if not len(found):
        return {}
    counts, edges = np.histogram(found, bins=_BINS)
    return {"edges": [float(edge) for edge in edges], "counts": [float(count) for count in counts]}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
