"""A picture for the model's page: one version's metric among all the others, with the champions marked."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nightshift.registry.ledger import Entry
    from nightshift.registry.models import ModelVersion

__all__ = ["Point", "draw", "points_of"]

_WIDTH, _HEIGHT = 6.4, 3.2  # as wide as MLflow's page of a version
_BLUE, _GREY, _RED = "#1f5fa8", "#9aa3ad", "#b3372f"


@dataclass(frozen=True, slots=True)
class Point:
    """A version's metric on the holdout of its own partition; ``champion`` when it is or was one."""

    version: str
    day: dt.date
    value: float
    champion: bool


def points_of(
    versions: Iterable[ModelVersion], entries: Sequence[Entry], metric: str, champion: str
) -> list[Point]:
    """Every version whose partition and metric are known, oldest partition first.

    :param champion: today's, where the ledger does not say.
    """
    champions = {entry.champion for entry in entries} | {champion}
    found = [
        Point(
            each.version,
            dt.date.fromisoformat(each.partition),
            each.metrics[metric],
            each.version in champions,
        )
        for each in versions
        if _is_day(each.partition) and math.isfinite(each.metrics.get(metric, math.nan))
    ]
    return sorted(found, key=lambda point: (point.day, int(point.version)))


def _is_day(partition: str) -> bool:
    """Versions that somebody registered by hand may carry anything."""
    try:
        dt.date.fromisoformat(partition)
    except ValueError:
        return False
    return True


def draw(name: str, metric: str, points: Sequence[Point], version: str, rival: float | None) -> bytes:
    """The picture, as PNG.

    :param version: the one to point at.
    :param rival: what the champion of its night reached on the same rows, None where there was none.
    """
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _every(axes, points)
    for point in points:
        if point.version == version:
            _pointed_at(axes, point, rival)
    _frame(axes, [point.day for point in points])
    axes.set_ylabel(metric, fontsize=9)
    axes.set_title(
        f"{name}: version {version} among {len(points)}, each on the holdout of its partition",
        fontsize=9,
        loc="left",
    )
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="best")
    figure.autofmt_xdate(rotation=0, ha="center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def _frame(axes: Any, days: Sequence[dt.date]) -> None:
    """Whole days on the axis, at least a week of them: one point alone would get years."""
    if days:
        room = dt.timedelta(days=max(3.5, 0.03 * (max(days) - min(days)).days))
        axes.set_xlim(_noon(min(days)) - room, _noon(max(days)) + room)


def _noon(day: dt.date) -> dt.datetime:
    return dt.datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a place on an axis, not a time


def _every(axes: Any, points: Sequence[Point]) -> None:
    others = [point for point in points if not point.champion]
    champions = [point for point in points if point.champion]
    axes.plot(
        [point.day for point in others],
        [point.value for point in others],
        marker="o", markersize=4, linestyle="", color=_GREY, label="never champion",
    )  # fmt: skip
    axes.plot(
        [point.day for point in champions],
        [point.value for point in champions],
        marker="o", markersize=5, linewidth=1, color=_BLUE, label="champions",
    )  # fmt: skip


def _pointed_at(axes: Any, point: Point, rival: float | None) -> None:
    axes.plot([point.day], [point.value], marker="o", markersize=12, fillstyle="none", linestyle="",
              color=_RED, label=f"version {point.version}: {point.value:.4f}")  # fmt: skip
    if rival is not None and math.isfinite(rival):
        axes.plot([point.day], [rival], marker="_", markersize=16, markeredgewidth=2, linestyle="",
                  color=_BLUE, label=f"its night's champion, same rows: {rival:.4f}")  # fmt: skip
