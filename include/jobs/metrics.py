"""The metrics of a binary classifier: the same code for early stopping, training and the gate.

A metric that the rows do not define is NaN (``null`` in JSON), never a made-up number: the ranking
metrics where only one class occurs, and all of them where there are no rows. Who compares must treat
NaN as "cannot say".
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

__all__ = ["HIGHER_IS_BETTER", "METRICS", "best", "better", "compute"]

METRICS = ("roc_auc", "average_precision", "log_loss", "brier", "accuracy")
HIGHER_IS_BETTER: Mapping[str, bool] = MappingProxyType(
    {"roc_auc": True, "average_precision": True, "log_loss": False, "brier": False, "accuracy": True}
)
_THRESHOLD = 0.5
_NEEDS_BOTH_CLASSES = frozenset({"roc_auc", "average_precision"})


def compute(labels: np.ndarray, scores: np.ndarray, names: Sequence[str] = METRICS) -> dict[str, float]:
    """Return each named metric. ``labels``: 0 or 1, no gaps; ``scores``: probabilities, same length.

    :raises ValueError: on a label or score that is NaN, or a metric that is not known.
    """
    import numpy as np

    labels, scores = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    if labels.shape != scores.shape:
        raise ValueError(f"{labels.shape[0]} labels but {scores.shape[0]} scores")
    if np.isnan(labels).any() or np.isnan(scores).any():
        raise ValueError("a label or a score is NaN")
    classes = len(np.unique(labels))
    return {name: _one(name, labels, scores, classes) for name in names}


def _one(name: str, labels: np.ndarray, scores: np.ndarray, classes: int) -> float:
    if name not in METRICS:
        raise ValueError(f"there is no metric {name!r} (there are {', '.join(METRICS)})")
    if classes == 0 or (classes == 1 and name in _NEEDS_BOTH_CLASSES):
        return float("nan")
    return float(_FUNCTIONS[name](labels, scores))


def _roc_auc(labels: np.ndarray, scores: np.ndarray) -> Any:
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(labels, scores)


def _average_precision(labels: np.ndarray, scores: np.ndarray) -> Any:
    from sklearn.metrics import average_precision_score

    return average_precision_score(labels, scores)


def _log_loss(labels: np.ndarray, scores: np.ndarray) -> Any:
    import numpy as np

    sure = np.clip(scores, 1e-15, 1 - 1e-15)
    return -np.mean(labels * np.log(sure) + (1 - labels) * np.log1p(-sure))


def _brier(labels: np.ndarray, scores: np.ndarray) -> Any:
    return ((scores - labels) ** 2).mean()


def _accuracy(labels: np.ndarray, scores: np.ndarray) -> Any:
    return ((scores >= _THRESHOLD) == (labels > _THRESHOLD)).mean()


_FUNCTIONS: Mapping[str, Callable[[np.ndarray, np.ndarray], Any]] = MappingProxyType(
    {
        "roc_auc": _roc_auc,
        "average_precision": _average_precision,
        "log_loss": _log_loss,
        "brier": _brier,
        "accuracy": _accuracy,
    }
)


def better(name: str, value: float, than: float) -> bool:
    """Whether ``value`` beats ``than``; NaN beats nothing, and anything beats NaN."""
    if value != value:
        return False
    if than != than:
        return True
    return value > than if HIGHER_IS_BETTER[name] else value < than


def best(name: str, values: Sequence[float]) -> int | None:
    """Return the position of the best value, the first of equals; None when all are NaN."""
    found: int | None = None
    for position, value in enumerate(values):
        if value == value and (found is None or better(name, value, values[found])):
            found = position
    return found
