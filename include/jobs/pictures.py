"""The pictures people look at before they trust a model: PNGs, drawn without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs.contract import atomic
from jobs.metrics import compute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np

__all__ = ["draw_all", "new_figure", "save_figure"]

_BLUE, _GREY, _RED = "#1f5fa8", "#8a8a8a", "#b3372f"
_SHOWN = 15
_BINS = 10


def draw_all(
    folder: Path,
    title: str,
    labels: np.ndarray,
    scores: np.ndarray,
    importances: Mapping[str, float],
    positive: str,
) -> None:
    """Write roc, precision_recall, calibration, confusion and feature_importance (.png).

    ``title`` says pipeline, partition and rows; ``positive`` what a label of 1 means.
    """
    draw: dict[str, Callable[[Any], None]] = {
        "roc": lambda axes: _roc(axes, labels, scores),
        "precision_recall": lambda axes: _precision_recall(axes, labels, scores, positive),
        "calibration": lambda axes: _calibration(axes, labels, scores, positive),
        "confusion": lambda axes: _confusion(axes, labels, scores, positive),
        "feature_importance": lambda axes: _importance(axes, importances),
    }
    for name, onto in draw.items():
        figure, axes = new_figure()
        if len(set(labels)) < 2 and name != "confusion":
            axes.text(0.5, 0.5, "The rows are all of one class:\nnothing to draw", ha="center", va="center")
            axes.set_axis_off()
        else:
            onto(axes)
        heading = f"{axes.get_title(loc='left')}\n{title}".strip()
        axes.set_title(heading, fontsize=10, loc="left")
        save_figure(figure, folder / f"{name}.png")


def new_figure(width: float = 6.4, height: float = 4.8) -> tuple[Any, Any]:
    """Return a figure of that many inches, without pyplot's global state, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG atomically."""
    with atomic(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _roc(axes: Any, labels: np.ndarray, scores: np.ndarray) -> None:
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(labels, scores)
    area = compute(labels, scores, ("roc_auc",))["roc_auc"]
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="guessing (0.5)")
    axes.plot(false, true, color=_BLUE, linewidth=2, label=f"model (area {area:.3f})")
    axes.set(xlabel="False alarms: share of negatives flagged", ylabel="Found: share of positives flagged")
    axes.set_title("ROC curve", loc="left")
    axes.legend(loc="lower right", frameon=False)


def _precision_recall(axes: Any, labels: np.ndarray, scores: np.ndarray, positive: str) -> None:
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(labels, scores)
    average = compute(labels, scores, ("average_precision",))["average_precision"]
    share = float(labels.mean())
    axes.axhline(
        share, color=_GREY, linestyle="--", linewidth=1, label=f"guessing (share {positive} {share:.3f})"
    )
    axes.plot(recall, precision, color=_BLUE, linewidth=2, label=f"model (average precision {average:.3f})")
    axes.set(
        xlabel=f"Recall: share of {positive} rows found",
        ylabel=f"Precision: share of flagged that are {positive}",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("Precision and recall", loc="left")
    axes.legend(loc="upper right", frameon=False)


def _calibration(axes: Any, labels: np.ndarray, scores: np.ndarray, positive: str) -> None:
    """Ten bins of equally many rows; bars are the range in which an honest bin lies 19 times of 20."""
    import numpy as np

    order = np.array_split(np.argsort(scores, kind="stable"), min(_BINS, len(scores)))
    said = np.array([scores[rows].mean() for rows in order])
    seen = np.array([labels[rows].mean() for rows in order])
    spread = np.array(
        [1.96 * np.sqrt(max(s * (1 - s), 0) / len(r)) for s, r in zip(said, order, strict=True)]
    )
    most = min(1.0, 1.1 * max(said.max(), seen.max()))
    axes.plot([0, most], [0, most], color=_GREY, linestyle="--", linewidth=1, label="perfect")
    axes.errorbar(
        said,
        seen,
        yerr=spread,
        color=_BLUE,
        marker="o",
        linewidth=1.5,
        capsize=3,
        label="model, tenths of the rows",
    )
    axes.set(
        xlabel=f"Predicted probability of {positive}", ylabel=f"Share that was {positive}", xlim=(0, most)
    )
    axes.set_ylim(bottom=0)
    axes.set_title("Calibration", loc="left")
    axes.legend(loc="upper left", frameon=False)


def _confusion(axes: Any, labels: np.ndarray, scores: np.ndarray, positive: str) -> None:
    """Flags as many rows as there are positives: at 0.5 a rare class is hardly ever flagged."""
    import numpy as np

    threshold = np.sort(scores)[::-1][max(int(labels.sum()) - 1, 0)] if len(scores) else 0.5
    flagged, truth = scores >= threshold, labels > 0.5
    counts = np.array(
        [
            [(~truth & ~flagged).sum(), (~truth & flagged).sum()],
            [(truth & ~flagged).sum(), (truth & flagged).sum()],
        ]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(2, 2):
        text = f"{counts[row, column]:,}\n{shares[row, column]:.1%} of row"
        dark = shares[row, column] > 0.6
        axes.text(
            column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=12
        )
    axes.set_xticks([0, 1], [f"not {positive}", positive])
    axes.set_yticks([0, 1], [f"not {positive}", positive])
    axes.spines[:].set_visible(False)
    axes.set(xlabel=f"Predicted (flagged from {threshold:.3f} on)", ylabel="Was")
    axes.set_title("Confusion, with as many rows flagged as were positive", loc="left")


def _importance(axes: Any, importances: Mapping[str, float]) -> None:
    top = sorted(importances.items(), key=lambda item: item[1])[-_SHOWN:]
    colours = [_BLUE if value >= 0 else _RED for _, value in top]
    axes.barh([name for name, _ in top], [value for _, value in top], color=colours)
    axes.axvline(0, color=_GREY, linewidth=0.8)
    axes.set(xlabel="Average precision lost when the column is shuffled")
    axes.tick_params(axis="y", labelsize=8)
    axes.set_title(f"Feature importance, first {len(top)} of {len(importances)}", loc="left")
