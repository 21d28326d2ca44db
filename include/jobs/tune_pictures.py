"""What a person looks at after a search: which parameter mattered, and how the best value came."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from jobs.pictures import new_figure, save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from jobs.trials import Search

__all__ = ["draw", "importances"]

_FEWEST = 4
_DONE, _BEST, _PRUNED = "#1f5fa8", "#b3372f", "#8a8a8a"


def importances(search: Search) -> dict[str, float]:
    """Share of each parameter in the spread of the metric; empty where too few trials can tell."""
    from optuna.importance import get_param_importances

    completed = search.ended("COMPLETE")
    if len(completed) < _FEWEST or len({trial.value for trial in completed}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about parameters with a single value, which count as 0
        try:
            return {name: float(share) for name, share in get_param_importances(search.study).items()}
        except (RuntimeError, ValueError):
            return {}  # the completed trials share no parameter that varies


def draw(search: Search, metric: str, folder: Path) -> None:
    """Write parameter_importance.png and optimization_history.png; also after a single trial."""
    for name, painter in (("parameter_importance", _importance), ("optimization_history", _history)):
        figure, axes = new_figure(7.0, 4.0)
        painter(axes, search, metric)
        save_figure(figure, folder / f"{name}.png")


def _importance(axes: Axes, search: Search, metric: str) -> None:
    shares = importances(search)
    axes.set_title(f"What moved {metric}")
    if not shares:
        few = f"not known: it takes {_FEWEST} completed trials with different values"
        axes.text(0.5, 0.5, few, ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names], color=_DONE)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlabel("share of the spread (fANOVA)")
    axes.margins(x=0.15)


def _history(axes: Axes, search: Search, metric: str) -> None:
    best = search.best()
    done = [(trial.number, trial.value) for trial in search.ended("COMPLETE")]
    given_up = [(trial.number, trial.value) for trial in search.ended("PRUNED")]
    axes.scatter(*_columns(given_up), marker="x", color=_PRUNED, label="given up")
    axes.scatter(*_columns(done), color=_DONE, label="completed")
    pick = min if search.minimised else max
    so_far = [pick(value for _, value in done[: end + 1]) for end in range(len(done))]
    axes.step([number for number, _ in done], so_far, where="post", color=_BEST, label="best so far")
    axes.set_title(f"Trials{'' if best is None else f', best is {best.number} with {best.value:.4f}'}")
    axes.set_xlabel("trial")
    axes.set_ylabel(f"validation {metric}")
    axes.legend(loc="best")


def _columns(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
