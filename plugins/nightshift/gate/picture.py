"""The evidence as a picture: how sure the gain is, and how it is on every slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["draw"]

_WIDTH, _TOP, _ROW, _FRAME = 5.6, 2.5, 0.21, 0.9
_MOST_SLICES, _LONGEST = 24, 18
_BLUE, _RED, _GREY, _INK = "#2f6fde", "#c4314b", "#8a94a3", "#1c2430"


def draw(evidence: Mapping[str, Any]) -> bytes:
    """A PNG: the resampled gains with the margin above, every slice's gain with its interval below.

    Of a first model, which has nothing to be compared with: its metrics and its slices' values.
    """
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    compared = bool(evidence["histogram"])
    what = "gain" if compared else "challenger"
    slices = _shown([each for each in evidence["slices"] if each[what] is not None])
    heights = [_TOP, _FRAME + _ROW * len(slices)] if slices else [_TOP]
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    (_gains if compared else _levels)(panels[0], evidence)
    if slices:
        _forest(panels[1], slices, evidence, what)
    for axes in panels:
        axes.tick_params(labelsize=7.5, colors=_INK)
        axes.locator_params(axis="x", nbins=7)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _gains(axes: Any, evidence: Mapping[str, Any]) -> None:
    """The resampled gains of the gate's metric as bars; zero, the margin and the interval on them."""
    gate, edges = evidence["gate"], evidence["histogram"]["edges"]
    found = next(each for each in evidence["metrics"] if each["metric"] == gate["metric"])
    width = edges[1] - edges[0]
    axes.bar(edges[:-1], evidence["histogram"]["counts"], width, align="edge", color=_BLUE, alpha=0.35)
    axes.set_xlim(min(edges[0], 0) - width, max(edges[-1], 0, gate["min_effect"]) + width)
    axes.set_yticks([])
    axes.axvline(0, color=_GREY, linewidth=1)
    _limit(axes, gate["min_effect"])
    below = f"{evidence['method']['resamples']:,} resamples of {evidence['holdout']['rows']:,} rows"
    if gate["min_effect"]:
        below += f", red: the margin {gate['min_effect']:g}"
    if found["gain"] is not None and found["low"] is not None:
        axes.axvspan(found["low"], found["high"], color=_BLUE, alpha=0.12, linewidth=0)
        axes.axvline(found["gain"], color=_BLUE, linewidth=1.6)
        words = f"gain {found['gain']:+.4f}, surely above {found['low']:+.4f}"
        axes.set_xlabel(f"{words} (at {100 * (1 - gate['alpha']):g} %)", fontsize=8, color=_INK)
    _title(axes, f"{gate['metric']}: version {evidence['challenger']} against {evidence['champion']}", below)


def _levels(axes: Any, evidence: Mapping[str, Any]) -> None:
    """What the model reaches alone, with its floors."""
    floors = evidence["gate"]["floors"]
    known = [each for each in evidence["metrics"] if each["challenger"] is not None]
    for place, each in enumerate(known):
        axes.plot([each["challenger"]], [-place], marker="o", markersize=5, color=_BLUE)
        axes.annotate(f"{each['challenger']:.4f}", (each["challenger"], -place), xytext=(6, 3),
                      textcoords="offset points", fontsize=7.5, color=_INK)  # fmt: skip
        if each["metric"] in floors:
            axes.plot([floors[each["metric"]]], [-place], marker="|", markersize=16, color=_RED)
    axes.set_yticks([-place for place in range(len(known))], [each["metric"] for each in known])
    axes.margins(x=0.15, y=0.12)
    axes.grid(axis="x", alpha=0.3)
    nobody = "alone: there is no champion yet" if not evidence["champion"] else "alone"
    _title(axes, f"version {evidence['challenger']}, {nobody}", "floors in red" if floors else "")


def _forest(axes: Any, slices: Sequence[Mapping[str, Any]], evidence: Mapping[str, Any], what: str) -> None:
    """A line a slice: its value of ``what`` and, where it was judged, the interval."""
    for place, each in enumerate(slices):
        color = _RED if each["regressed"] else _GREY if what == "gain" and each["note"] else _BLUE
        if each["low"] is not None and each["high"] is not None:
            axes.plot([each["low"], each["high"]], [-place, -place], color=color, linewidth=1.6)
        face = "none" if color == _GREY else color
        axes.plot([each[what]], [-place], marker="o", markersize=4, color=color, markerfacecolor=face)
    names = [f"{_short(each['column'])} {_short(each['value'])} ({each['rows']:,})" for each in slices]
    axes.set_yticks([-place for place in range(len(names))], names, parse_math=False)
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.grid(axis="x", alpha=0.3)
    metric, below = evidence["gate"]["metric"], ""
    if what == "gain":
        limit = evidence["gate"]["slices"]["max_regression"]
        axes.axvline(0, color=_GREY, linewidth=1)
        _limit(axes, -limit)
        below = f"red: limit {-limit:g}; hollow: too few rows" if limit else "hollow: too few rows"
    if more := len(evidence["slices"]) - len(slices):
        axes.set_xlabel(f"and {more} more in the table", fontsize=8, color=_INK)
    _title(axes, f"{'gain in ' if what == 'gain' else ''}{metric} by slice", below)


def _shown(slices: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """At most so many, the regressed and the large ones before others; then by column, the largest first."""
    first = sorted(slices, key=lambda each: (not each["regressed"], bool(each["note"]), -each["rows"]))
    return sorted(first[:_MOST_SLICES], key=lambda each: (each["column"], -each["rows"]))


def _limit(axes: Any, at: float) -> None:
    if at:
        axes.axvline(at, color=_RED, linewidth=1.2, linestyle="--")


def _title(axes: Any, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, fontweight="bold", color=_INK, pad=16 if below else 6)
    if below:
        axes.annotate(below, (0, 1), xycoords="axes fraction", xytext=(0, 4), textcoords="offset points",
                      fontsize=7.5, color="#667085")  # fmt: skip


def _short(text: str) -> str:
    """One line that fits: a value comes from data."""
    clean = "".join(char if char.isprintable() else " " for char in text)
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…"
