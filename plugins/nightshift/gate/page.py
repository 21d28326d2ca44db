"""The evidence as one HTML page that needs nothing else and runs no script."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightshift.gate.words import number, p_value, signed
from nightshift.pages import template

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["render"]

_TEMPLATE = Path(__file__).parent / "templates" / "evidence.html.j2"

_VERDICTS = {"promote": "promoted", "hold": "not promoted", "ask": "a person is asked"}
_CUT = 200


def render(evidence: Mapping[str, Any], title: str, picture: bytes) -> str:
    """The page; values of slices come from data and are escaped like everything else.

    :param title: of the pipeline.
    :param picture: what :func:`nightshift.gate.picture.draw` made of the same evidence.
    """
    gate = evidence["gate"]
    text: str = template(_TEMPLATE).render(
        it=evidence,
        title=title,
        picture=base64.b64encode(picture).decode(),
        verdict=_VERDICTS[evidence["verdict"]],
        first=next(each for each in evidence["metrics"] if each["metric"] == gate["metric"]),
        floors=[_floor(name, floor, evidence) for name, floor in gate["floors"].items()],
        slices=sorted(evidence["slices"], key=lambda each: (each["column"], -each["rows"])),
        sure=f"{100 * (1 - 2 * gate['alpha']):g} %",
        sure_above=f"{100 * (1 - gate['alpha']):g} %",
        settings=_settings(gate),
        number=number,
        signed=signed,
        p_value=p_value,
        cut=lambda value: value if len(str(value)) <= _CUT else f"{str(value)[:_CUT]}…",
    )
    return text


def _floor(name: str, floor: float, evidence: Mapping[str, Any]) -> dict[str, Any]:
    found = next(each for each in evidence["metrics"] if each["metric"] == name)
    value = found["challenger"]
    holds = value is not None and (value >= floor if found["higher_is_better"] else value <= floor)
    return {"what": name, "value": value, "limit": floor, "holds": holds}


def _settings(gate: Mapping[str, Any]) -> dict[str, str]:
    """What the pipeline file says, without what it leaves out."""
    words = {name: _words(value) for name, value in gate.items()}
    return {name: value for name, value in words.items() if value}


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_words(each)}" for key, each in value.items() if each is not None)
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return "" if value is None else str(value)
