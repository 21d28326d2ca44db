"""The evidence in Markdown, for Airflow's approval form: no HTML, and pictures at most 300 pixels wide."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["approval_body", "number", "p_value", "plain", "signed"]

_MOST_SLICES, _MOST_REASONS, _MOST_DIFFERENCES = 12, 8, 4
_LONGEST_VALUE, _LONGEST_REASON, _LONGEST_LIST = 48, 250, 600
_NOTHING = "–"
_SYNTAX = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&:])")
_LINKS = re.compile(r"(?i)(https?|ftp|www|mailto|xmpp|@)")
_JOINER = "\u2060"


def approval_body(evidence: Mapping[str, Any], picture_url: str, page_url: str) -> str:
    """What a person reads who is asked whether the challenger may take the champion's place.

    Under 20 KB whatever the data hold, and nothing that came from data is Markdown.

    :param picture_url: of :func:`nightshift.gate.picture.draw`'s picture.
    :param page_url: of the whole evidence.
    """
    champion = f"the champion, version {evidence['champion']}" if evidence["champion"] else "no champion yet"
    parts = [
        f"**Version {plain(evidence['challenger'])} against {plain(champion)}**, on "
        f"{evidence['holdout']['rows']:,} rows that neither was fitted on.",
        _reasons(evidence["reasons"]),
        f"[![How sure the gain is]({picture_url})]({page_url})",
        f"[The whole evidence]({page_url})",
        "### Metrics\n" + _metrics(evidence),
        _slices(evidence),
        _rest(evidence),
        "If nobody answers in time, nothing changes.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def number(value: float | None) -> str:
    """Five digits that count; a dash for nothing."""
    return _NOTHING if value is None else f"{value:.5g}"


def signed(value: float | None) -> str:
    """A gain."""
    return _NOTHING if value is None else f"{value:+.5f}"


def p_value(value: float | None) -> str:
    """A probability; tiny ones only as such."""
    if value is None:
        return _NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _reasons(reasons: Sequence[str]) -> str:
    shown = [f"- {plain(each, _LONGEST_REASON)}" for each in reasons[:_MOST_REASONS]]
    more = len(reasons) - len(shown)
    return "\n".join([*shown, *([f"- and {more} more"] if more > 0 else [])])


def _metrics(evidence: Mapping[str, Any]) -> str:
    first = evidence["gate"]["metric"]
    rows = [
        (
            f"**{plain(each['metric'])}**" if each["metric"] == first else plain(each["metric"]),
            number(each["challenger"]),
            number(each["champion"]),
            signed(each["gain"]),
            _interval(each),
        )
        for each in sorted(evidence["metrics"], key=lambda each: str(each["metric"]) != first)
    ]
    sure = f"{100 * (1 - 2 * evidence['gate']['alpha']):g} % interval"
    return _table(("metric", "challenger", "champion", "gain", sure), rows)


def _slices(evidence: Mapping[str, Any]) -> str:
    slices = sorted(evidence["slices"], key=_worst_first)
    if not slices:
        return ""
    rows = [
        (
            _code(f"{each['column']} = {each['value']}"),
            f"{each['rows']:,}",
            number(each["challenger"]),
            number(each["champion"]),
            signed(each["gain"]),
            _slice_verdict(each),
        )
        for each in slices[:_MOST_SLICES]
    ]
    table = _table(("slice", "rows", "challenger", "champion", "gain", ""), rows)
    more = len(slices) - len(rows)
    return "### Slices\n" + table + (f"\n\nand {more} more on the page" if more > 0 else "")


def _worst_first(each: Mapping[str, Any]) -> tuple[bool, float, int]:
    judged = each["p_adjusted"]
    return not each["regressed"], 2.0 if judged is None else judged, -each["rows"]


def _slice_verdict(each: Mapping[str, Any]) -> str:
    if each["regressed"]:
        return "**worse**"
    return plain(each["note"]) if each["note"] else ""


def _rest(evidence: Mapping[str, Any]) -> str:
    """Days left out, limits and what does not fit: only where there is something to say."""
    holdout = evidence["holdout"]
    lines = [
        f"- {plain(each['what'])}: {number(each['value'])}, limit {number(each['limit'])}"
        f"{'' if each['holds'] else ' **not kept**'}"
        for each in evidence["limits"]
    ]
    lines += [
        f"- {plain(each, _LONGEST_REASON)}"
        for each in evidence["signature"]["differences"][:_MOST_DIFFERENCES]
    ]
    if holdout["left_out"]:
        days = plain(", ".join(holdout["left_out"]), _LONGEST_LIST)
        lines.append(f"- left out: {days} ({plain(holdout['why_left_out'], _LONGEST_REASON)})")
    return "### Besides\n" + "\n".join(lines) if lines else ""


def _interval(each: Mapping[str, Any]) -> str:
    if each["low"] is None or each["high"] is None:
        return _NOTHING
    return f"{signed(each['low'])} to {signed(each['high'])}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def plain(text: str, longest: int = _LONGEST_VALUE) -> str:
    """Text that Markdown leaves as it is, and makes no link of."""
    return _LINKS.sub(rf"\1{_JOINER}", _SYNTAX.sub(r"\\\1", _line(text, longest)))


def _code(text: str) -> str:
    """A code span; a grave accent would end it, a bar the table's cell."""
    return "`" + _line(text, _LONGEST_VALUE).replace("`", "'").replace("\\", "∖").replace("|", "\\|") + "`"


def _line(text: str, longest: int) -> str:
    clean = "".join(char if char.isprintable() else " " for char in str(text))
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
