"""A calendar as inline SVG: a cell a day, its state by shape as well as by colour, the months labelled."""

from __future__ import annotations

import datetime as dt
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DEFINITIONS", "KINDS", "calendar"]

KINDS = ("present", "missing", "failed", "impossible")
"""What a cell can be; the page's legend says what each means."""

DEFINITIONS = (
    '<svg width="0" height="0" class="definitions" aria-hidden="true"><defs>'
    '<g id="present"><rect class="present" width="11" height="11" rx="2"/></g>'
    '<g id="missing"><rect class="missing" x=".6" y=".6" width="9.8" height="9.8" rx="2"/></g>'
    '<g id="failed"><rect class="failed" width="11" height="11" rx="2"/>'
    '<path class="cut" d="M3 3 8 8M8 3 3 8"/></g>'
    '<g id="impossible"><rect class="impossible" x=".6" y=".6" width="9.8" height="9.8" rx="2"/>'
    '<path class="bar" d="M3 5.5H8"/></g>'
    "</defs></svg>"
)
"""The shapes; once in a page."""

_PITCH, _LEFT, _TOP = 13, 30, 16
_NAME_DAYS = 28  # that a month's name with its year takes
_WEEKS = 54  # of one strip: a year, whatever day it begins on


def calendar(kinds: Mapping[str, str], label: str) -> str:
    """The days of ``kinds`` (ISO day to one of :data:`KINDS`) in strips of a year, a column a week."""
    every = {dt.date.fromisoformat(key): kind for key, kind in kinds.items()}
    days = sorted(every)
    monday = days[0] - dt.timedelta(days=days[0].weekday())
    strips: dict[int, list[dt.date]] = {}
    for day in days:
        strips.setdefault((day - monday).days // (7 * _WEEKS), []).append(day)
    drawn = [
        _strip(part, every, monday + dt.timedelta(weeks=_WEEKS * number), label)
        for number, part in strips.items()
    ]
    return "".join(drawn)


def _strip(days: Sequence[dt.date], kinds: Mapping[dt.date, str], monday: dt.date, label: str) -> str:
    weeks = (days[-1] - monday).days // 7 + 1
    width, height = _LEFT + max(weeks, 4) * _PITCH, _TOP + 7 * _PITCH
    parts = [_text(0, _TOP + row * _PITCH + 9, name) for row, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"))]
    parts += _months(days, monday)
    parts += [_cell(day, kinds[day], monday) for day in days]
    span = f"{days[0]} to {days[-1]}"
    return (
        f'<svg class="calendar" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="{escape(label)}, {span}">{"".join(parts)}</svg>'
    )


def _cell(day: dt.date, kind: str, monday: dt.date) -> str:
    week, row = divmod((day - monday).days, 7)
    x, y = _LEFT + week * _PITCH, _TOP + row * _PITCH
    return f'<use href="#{kind}" x="{x}" y="{y}"><title>{day} {kind}</title></use>'


def _months(days: Sequence[dt.date], monday: dt.date) -> list[str]:
    """A month's name over its first week; the year beside the first of them and beside January."""
    begins = [day for day in days if day == days[0] or day.day == 1]
    if len(begins) > 1 and (begins[1] - begins[0]).days < _NAME_DAYS:
        del begins[0]  # the end of a month has no room for its name
    return [
        _text(
            _LEFT + (day - monday).days // 7 * _PITCH,
            10,
            day.strftime("%b %Y" if day == begins[0] or day.month == 1 else "%b"),
        )
        for day in begins
    ]


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}">{escape(text)}</text>'
