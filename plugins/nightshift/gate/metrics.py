"""The metrics of a binary classifier under row weights, for many weightings and many groups of rows at once.

A weighting is what a bootstrap resample is: how often each row was drawn. The values are those of
scikit-learn's ``average_precision_score`` and ``roc_auc_score`` (ties share a threshold), and of the
evaluation job, on the rows repeated so often. A metric that the rows do not define (one class only, no
rows) is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nightshift.config.pipeline import MINIMISED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["METRICS", "Ranking", "compute", "higher_is_better", "loss_of"]

RANKED = ("roc_auc", "average_precision")
AVERAGED = ("log_loss", "brier", "accuracy")
METRICS = (*RANKED, *AVERAGED)

_THRESHOLD = 0.5
_SURE = 1e-15


def higher_is_better(metric: str) -> bool:
    """The direction of a metric."""
    return metric not in MINIMISED


def loss_of(metric: str, labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
    """What each row contributes to a metric that is an average over rows, shape ``(rows,)``."""
    if metric == "brier":
        return np.asarray((scores - labels) ** 2, dtype=np.float64)
    if metric == "accuracy":
        return np.asarray((scores >= _THRESHOLD) == (labels > _THRESHOLD), dtype=np.float64)
    sure = np.clip(scores, _SURE, 1 - _SURE)
    return np.asarray(-(labels * np.log(sure) + (1 - labels) * np.log1p(-sure)), dtype=np.float64)


def compute(metric: str, labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """One metric of rows with these labels (0 or 1) and scores (probabilities)."""
    if metric in AVERAGED:
        return float(loss_of(metric, labels, scores).mean()) if len(labels) else float("nan")
    ranking = Ranking.of(labels, scores, np.zeros(len(labels), dtype=np.int64), 1)
    once = np.ones((1, len(labels)), dtype=np.int32)
    return float(ranking.values((metric,), once)[metric][0, 0])


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Rows sorted by group and falling score, with the places where precision is looked at.

    Only blocks of equal scores that hold a positive row matter: average precision changes nowhere else, and
    the area under the ROC curve counts, for each of them, the negatives above it.
    """

    order: NDArray[np.int64]
    positives: NDArray[np.int64]
    """Rows with label 1, in that order."""
    first_positive: NDArray[np.int64]
    """Per block, its first place in ``positives``."""
    ends: NDArray[np.int64]
    """Per block, its last place in ``order``."""
    starts: NDArray[np.int64]
    """Per block, its first place in ``order``."""
    first_block: NDArray[np.int64]
    """Per group with a positive row, its first block."""
    groups: NDArray[np.int64]
    """Those groups."""
    block_group: NDArray[np.int64]
    """Per block, the position of its group in ``groups``."""
    group_starts: NDArray[np.int64]
    group_ends: NDArray[np.int64]
    """Per group in ``groups``, its first and last place in ``order``."""
    has_ties: bool
    n_groups: int

    @classmethod
    def of(cls, labels: NDArray[Any], scores: NDArray[Any], group: NDArray[Any], n_groups: int) -> Ranking:
        """Rank rows; ``group`` numbers the group of each row from 0 to ``n_groups - 1``."""
        order = np.lexsort((-scores, group))
        scores_in_order, group_in_order = scores[order], group[order]
        is_new = np.ones(len(order), dtype=bool)
        is_new[1:] = (np.diff(scores_in_order) != 0) | (np.diff(group_in_order) != 0)
        block = np.cumsum(is_new) - 1
        block_starts = np.flatnonzero(is_new)
        block_ends = np.append(block_starts[1:], len(order)) - 1
        places = np.flatnonzero(labels[order] > _THRESHOLD)
        kept, first_positive = np.unique(block[places], return_index=True)
        kept_group = group_in_order[block_ends[kept]] if len(kept) else kept
        groups, first_block, block_group = np.unique(kept_group, return_index=True, return_inverse=True)
        return cls(
            order=order,
            positives=order[places],
            first_positive=first_positive,
            ends=block_ends[kept],
            starts=block_starts[kept],
            first_block=first_block,
            groups=groups,
            block_group=block_group,
            group_starts=np.searchsorted(group_in_order, groups, "left"),
            group_ends=np.searchsorted(group_in_order, groups, "right") - 1,
            has_ties=bool((block_starts[kept] < block_ends[kept]).any()),
            n_groups=n_groups,
        )

    def values(self, metrics: Sequence[str], weights: NDArray[np.int32]) -> dict[str, NDArray[np.float64]]:
        """Ranked metrics, each of shape ``(weightings, groups)``.

        :param weights: how often each row counts, shape ``(weightings, rows)``, in the rows' own order.
        """
        found = {name: np.full((len(weights), self.n_groups), np.nan) for name in metrics}
        if not len(self.positives):
            return found
        rows_so_far = np.cumsum(weights.take(self.order, axis=1), axis=1, dtype=np.int32)
        mine = weights.take(self.positives, axis=1)
        if len(self.ends) < len(self.positives):  # equal scores: one block for several positives
            mine = np.add.reduceat(mine, self.first_positive, axis=1, dtype=np.int32)
        true_so_far = np.cumsum(mine, axis=1, dtype=np.int32)
        at_end, group_ends = rows_so_far.take(self.ends, axis=1), self.group_ends
        before = at_end - mine
        if self.has_ties:
            before = _before(rows_so_far, self.starts)
        rows_before, true_before = (
            _before(rows_so_far, self.group_starts),
            _before(true_so_far, self.first_block),
        )
        positives = np.add.reduceat(mine, self.first_block, axis=1, dtype=np.int32)
        rows = rows_so_far.take(group_ends, axis=1) - rows_before
        if self.n_groups > 1:  # running sums of the group alone
            at_end = at_end - rows_before.take(self.block_group, axis=1)
            before = before - rows_before.take(self.block_group, axis=1)
            true_so_far = true_so_far - true_before.take(self.block_group, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            if "average_precision" in found:
                precision = true_so_far / np.maximum(at_end, 1)
                value = self._sum(mine * precision) / positives
                found["average_precision"][:, self.groups] = np.where(positives < rows, value, np.nan)
            if "roc_auc" in found:
                # negatives above a block, and half of those in it
                false_above = at_end + before - 2 * true_so_far + mine
                pairs = positives.astype(np.float64) * (rows - positives)
                value = 1.0 - self._sum(mine * (0.5 * false_above)) / pairs
                found["roc_auc"][:, self.groups] = np.where(pairs > 0, value, np.nan)
        return found

    def _sum(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over the blocks of each group."""
        return np.add.reduceat(parts, self.first_block, axis=1)


def _before(so_far: NDArray[np.int32], places: NDArray[np.int64]) -> NDArray[np.int32]:
    """The running sums just before each of ``places``."""
    return np.where(places > 0, so_far.take(np.maximum(places - 1, 0), axis=1), 0)
