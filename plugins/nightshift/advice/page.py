"""The decision table as Markdown: the part of ``docs/aws/which-service.md`` that is not written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightshift.advice.services import NEEDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nightshift.advice.services import Need

__all__ = ["BEGIN", "END", "table"]

BEGIN = "<!-- rendered: nightshift recommend --table -->"
END = "<!-- end of what is rendered -->"


def table() -> str:
    """Every need with its services, between the two marks."""
    return "\n".join([BEGIN, "", *(line for need in NEEDS for line in _section(need)), END])


def _section(need: Need) -> Iterator[str]:
    yield f"### {need.name}: {need.question}"
    yield ""
    yield f"Here: {need.here}"
    yield ""
    yield "| service | take it when | volume | latency | budget | team |"
    yield "|---|---|---|---|---|---|"
    for one in need.options:
        cells = (one.service, one.when, one.volume, one.latency, one.budget, one.team)
        yield f"| {' | '.join(cells)} |"
    yield ""
