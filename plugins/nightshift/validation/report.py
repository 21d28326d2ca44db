"""The report of one partition: one HTML page that needs nothing else, and the same as JSON."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from nightshift.pages import template
from nightshift.validation.summary import example_text, short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.validation.engine import Verdict
    from nightshift.validation.profile import Picture
    from nightshift.validation.summary import ValidationSummary

__all__ = ["Page", "html", "to_json"]

_TEMPLATE = Path(__file__).parent / "templates" / "report.html.j2"

_CELL = 120
_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Page:
    """Everything a report shows."""

    summary: ValidationSummary
    reasons: Sequence[str]
    verdicts: Sequence[Verdict]
    rows: Sequence[Mapping[str, Any]]
    pictures: Sequence[Picture]
    parameters: Mapping[str, Any]
    versions: Mapping[str, str]


def html(page: Page) -> bytes:
    """The page; every value is escaped and cut, for rows hold whatever a source sends."""
    columns = [name for name in (page.rows[0] if page.rows else ()) if name not in ("reasons", "partition")]
    first = [name for name in columns if name == "row_id"]
    text: str = template(_TEMPLATE).render(
        summary=page.summary,
        reasons=page.reasons,
        verdicts=[_line(verdict) for verdict in page.verdicts],
        counts=_counts(page.verdicts),
        columns=[*first, *(name for name in columns if name not in first)],
        rows=page.rows,
        pictures=[(each.title, each.caption, Markup(each.svg)) for each in page.pictures],
        parameters=page.parameters,
        versions=page.versions,
        cell=lambda value: "" if value is None else short(value, _CELL),
        written=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    return text.encode()


def to_json(page: Page) -> bytes:
    """The same facts for programs; examples and sample rows included."""
    data = {
        **page.summary.to_dict(),
        "reasons": list(page.reasons),
        "expectations": [_line(verdict) for verdict in page.verdicts],
        "quarantined_sample": [dict(row) for row in page.rows],
        "parameters": dict(page.parameters),
        "versions": dict(page.versions),
    }
    return json.dumps(data, indent=1, default=str, ensure_ascii=False).encode()


def _line(verdict: Verdict) -> dict[str, Any]:
    check = verdict.check
    share = verdict.unexpected / verdict.examined if verdict.unexpected and verdict.examined else 0.0
    return {
        "type": check.type,
        "columns": list(check.columns),
        "label": check.label,
        "description": check.description,
        "severity": check.severity,
        "row_level": check.row_level,
        "mostly": check.kwargs.get("mostly"),
        "success": verdict.success,
        "unexpected": verdict.unexpected,
        "examined": verdict.examined,
        "share": share,
        "observed": None if verdict.observed is None else short(verdict.observed, 4 * _CELL),
        "examples": [short(example_text(each), _CELL) for each in verdict.examples[:_EXAMPLES]],
        "error": short(verdict.error, 4 * _CELL),
    }


def _counts(verdicts: Sequence[Verdict]) -> dict[str, int]:
    held = sum(verdict.success for verdict in verdicts)
    return {"held": held, "failed": len(verdicts) - held, "all": len(verdicts)}
