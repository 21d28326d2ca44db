"""A story as one HTML page that needs nothing else and runs no script."""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightshift.pages import template
from nightshift.provenance import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.provenance.why import Story

__all__ = ["html"]

_TEMPLATE = Path(__file__).parent / "templates" / "why.html.j2"

_SHOWN_SLICES = 60


def html(story: Story, history: bytes = b"") -> bytes:
    """The page; every value is escaped: reasons and reports are from outside.

    :param history: a PNG of the metric against the champion's history.
    """
    record, evidence = story.record, story.evidence
    validation = record.get("validation", {})
    text: str = template(_TEMPLATE).render(
        story=story,
        record=record,
        evidence=evidence,
        primary=story.primary,
        slices=_slices(evidence),
        slices_total=len(evidence.get("slices", ())),
        trials=_trials(story),
        splits=words.splits(record),
        validation=validation,
        validation_rows=words.validation_sums(validation)[1],
        tuned=set(((record.get("tuning") or {}).get("best") or {}).get("params", ())),
        words=words,
        link=_link,
        history=base64.b64encode(history).decode(),
        written=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    return text.encode()


def _link(url: str) -> str:
    """An address that a browser may follow; anything that is no web page leads nowhere."""
    return url if url.startswith(("http://", "https://")) else ""


def _slices(evidence: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Regressions first, then the largest."""
    every = evidence.get("slices", ())
    return sorted(every, key=lambda each: (not each["regressed"], -each["rows"]))[:_SHOWN_SLICES]


def _trials(story: Story) -> list[dict[str, Any]]:
    """Trials by number, with whether each is the one that was taken."""
    best = ((story.record.get("tuning") or {}).get("best") or {}).get("number")
    return [
        {**trial, "best": trial["number"] == best}
        for trial in sorted(story.trials, key=lambda trial: trial["number"])
    ]
