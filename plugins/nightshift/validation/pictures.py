"""Small pictures as inline SVG, drawn by hand: no library, colours from the page's style sheet."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["compared_bars", "histogram", "row_counts"]

_W, _H = 340, 132
_LEFT, _TOP, _BOTTOM = 8, 10, 22


def row_counts(recent: Mapping[str, int], partition: str, rows: int) -> str:
    """A bar a partition, the newest at the right in the accent colour."""
    bars = [*recent.items(), (partition, rows)][-31:]
    top = max(count for _, count in bars) or 1
    step = (_W - 2 * _LEFT) / len(bars)
    width = min(step * 0.76, 26.0)
    parts = []
    for place, (key, count) in enumerate(bars):
        height = (_H - _TOP - _BOTTOM) * count / top
        left = _LEFT + place * step + (step - width) / 2
        kind = "now" if place == len(bars) - 1 else "past"
        title = f"<title>{escape(key)}: {count:,} rows</title>"
        parts.append(_rect(left, _H - _BOTTOM - height, width, height, kind, title))
    parts.append(_text(_LEFT, _H - 7, bars[0][0]) + _text(_W - _LEFT, _H - 7, partition, "end"))
    return _svg(parts, f"Rows per partition, {partition}: {rows:,}")


def histogram(edges: Sequence[float], now: Sequence[float], past: Sequence[float], name: str) -> str:
    """Shares per bin: bars for this partition, a line for the recent ones; the end bins are open."""
    top = max([*now, *past, 1e-9])
    step = (_W - 2 * _LEFT) / len(now)
    scale = (_H - _TOP - _BOTTOM) / top
    parts = []
    for place, share in enumerate(now):
        title = f"<title>{_span(edges, place)}: {share:.1%}{_usual(past, place)}</title>"
        left = _LEFT + place * step
        parts.append(_rect(left + 0.5, _H - _BOTTOM - share * scale, step - 1, share * scale, "now", title))
    if past:
        points = []
        for place, share in enumerate(past):
            left, y = _LEFT + place * step, _H - _BOTTOM - share * scale
            points.append(f"{left:.1f},{y:.1f} {left + step:.1f},{y:.1f}")
        parts.append(f'<polyline class="line" points="{" ".join(points)}"/>')
    parts.append(_text(_LEFT, _H - 7, f"{edges[0]:g}") + _text(_W - _LEFT, _H - 7, f"{edges[-1]:g}", "end"))
    return _svg(parts, f"Distribution of {name}")


def compared_bars(rows: Sequence[tuple[str, float, float | None]], label: str) -> str:
    """A horizontal bar a name with its share, and a tick where the recent partitions are."""
    line = 19
    height = _TOP + line * len(rows) + 4
    name_width, share_width = 104, 46
    scale = _W - name_width - share_width - _LEFT
    top = max([share for _, share, _ in rows] + [past or 0.0 for _, _, past in rows] + [1e-9])
    parts = []
    for place, (name, share, past) in enumerate(rows):
        y = _TOP + place * line
        shown = name if len(name) <= 15 else name[:14] + "…"
        usual = "" if past is None else f", recently {past:.1%}"
        title = f"<title>{escape(name)}: {share:.1%}{usual}</title>"
        parts.append(_text(name_width - 8, y + 11, shown, "end"))
        parts.append(_rect(name_width, y + 2, max(scale * share / top, 0.8), 11, "now", title))
        if past is not None:
            x = name_width + scale * past / top
            parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 15}"/>')
        parts.append(_text(_W - _LEFT, y + 11, f"{share:.1%}", "end"))
    return _svg(parts, label, height)


def _span(edges: Sequence[float], place: int) -> str:
    low, high = f"{edges[place]:g}", f"{edges[place + 1]:g}"
    if place == 0:
        return f"below {high}"
    return f"{low} and above" if place == len(edges) - 2 else f"{low} to {high}"


def _usual(past: Sequence[float], place: int) -> str:
    return f", recently {past[place]:.1%}" if past else ""


def _rect(x: float, y: float, width: float, height: float, kind: str, inside: str) -> str:
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0.0):.1f}"'
    return f'<rect class="{kind}" {size}>{inside}</rect>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], label: str, height: float = _H) -> str:
    head = f'<svg viewBox="0 0 {_W} {height:.0f}" role="img" aria-label="{escape(label, quote=True)}">'
    return head + "".join(parts) + "</svg>"
