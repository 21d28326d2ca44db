"""The walk-forward report: how the models of a range of partitions would have done, on days they never saw.

Every model was trained on nothing newer than its own partition's window, and is measured on that window's
holdout days: what a team would have had, night after night (Pardo, *Design, Testing and Optimization of
Trading Systems*, 1992, calls it walk-forward; Hyndman & Athanasopoulos, *Forecasting*, section 5.10,
evaluation on a rolling forecasting origin).
"""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.registry.models import ModelVersion
    from nightshift.registry.tracking import Tracking

__all__ = ["Point", "log_walk_forward", "points_of"]

_HEIGHT, _WIDTH = 1.9, 9.0
_BLUE = "#1f5fa8"


@dataclass(frozen=True, slots=True)
class Point:
    """One partition's model and how it did on its holdout."""

    partition: str
    version: str
    metrics: Mapping[str, float]


def points_of(versions: Mapping[str, ModelVersion], partitions: Sequence[str]) -> list[Point]:
    """A point for every one of ``partitions`` that has a model version, oldest first.

    :param versions: by partition.
    """
    return [
        Point(key, versions[key].version, versions[key].metrics)
        for key in sorted(partitions)
        if key in versions
    ]


def log_walk_forward(
    tracking: Tracking, experiment: str, name: str, points: Sequence[Point], first: str
) -> str:
    """Leave the report in MLflow: a picture, the numbers as JSON, and every metric as a series by partition.

    :param name: of what made it, e.g. a backfill's id: the same name is the same MLflow run.
    :param first: the metric to draw on top.
    :returns: the run's id.
    """
    span = f"{points[0].partition}..{points[-1].partition}"
    tags = {"nightshift.walk_forward": span, "nightshift.pipeline": experiment}
    run = tracking.find_or_create_run(experiment, f"walk-forward-{name}", f"walk-forward {span}", tags)
    with TemporaryDirectory(prefix="nightshift-walk-forward-") as folder:
        files = [Path(folder) / "walk_forward.png", Path(folder) / "walk_forward.json"]
        files[0].write_bytes(_png(experiment, points, first))
        files[1].write_text(json.dumps([asdict(point) for point in points], indent=1))
        tracking.log_series(run, {point.partition: point.metrics for point in points}, files)
    return run


def _png(title: str, points: Sequence[Point], first: str) -> bytes:
    """One strip a metric over the partitions, all with the same time axis."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = {name for point in points for name in point.metrics}
    names = sorted(found, key=lambda name: (name != first, name))
    figure = Figure(figsize=(_WIDTH, 0.6 + _HEIGHT * max(1, len(names))), layout="constrained")
    FigureCanvasAgg(figure)
    strips = figure.subplots(max(1, len(names)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(strips, names, strict=False):
        _strip(axes, name, points)
    figure.suptitle(
        f"{title}: {len(points)} models, each on the holdout days of its own partition",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    figure.autofmt_xdate(rotation=0, ha="center")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _strip(axes: Any, name: str, points: Sequence[Point]) -> None:
    days = [dt.date.fromisoformat(point.partition) for point in points]
    values = [point.metrics.get(name, math.nan) for point in points]
    axes.plot(days, values, marker="o", markersize=3, linewidth=1, color=_BLUE)
    measured = [value for value in values if math.isfinite(value)]
    if measured:
        mean = math.fsum(measured) / len(measured)
        axes.axhline(mean, color="#8a8a8a", linewidth=0.8, linestyle="--")
        axes.annotate(f"mean {mean:.4f}", (1.0, mean), xycoords=("axes fraction", "data"), fontsize=7,
                      ha="right", va="bottom", color="#555555")  # fmt: skip
    axes.set_ylabel(name, fontsize=8)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
