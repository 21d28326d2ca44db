"""What MLflow shows on the page of a model and of a version: short Markdown, with links to the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.gate.words import plain
from nightshift.provenance import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.provenance.why import Story
    from nightshift.registry.ledger import Entry

__all__ = ["of_model", "of_version"]

_MOST = 5000
"""Characters that MLflow keeps of a description."""
_DECISIONS = 10
_REASON = 240
_ACTION = {
    "promote": "promoted version",
    "hold": "held back version",
    "rollback": "rolled back to version",
    "adopt": "took over version",
}
_STATE = {
    "champion": "is the **champion**",
    "was champion": "**was champion**",
    "never champion": "was **never champion**",
}


def of_version(story: Story, picture_url: str = "") -> str:
    """What it is, what it learned from, how it compares, what was decided, where to read on."""
    picture = f"![Its metric among all versions]({picture_url})" if picture_url else ""
    parts = [_what(story), _measured(story), _decided(story), _links(story), picture]
    return _fitting([part for part in parts if part])


def of_model(description: str, champion: str, entries: Sequence[Entry]) -> str:
    """What the model is for, who is champion and the newest decisions of the ledger."""
    since = next((entry.at for entry in reversed(entries) if _took_place(entry, champion)), "")
    now = "No champion yet."
    if champion:
        now = f"**Champion: version {champion}**{f', since {words.when(since)}' if since else ''}."
    newest = [_line(entry) for entry in reversed(entries[-_DECISIONS:])]
    decisions = "\n".join(["Newest decisions of the ledger:", "", *newest]) if newest else ""
    return _fitting([part for part in (_plain(description), now, decisions) if part])


def _line(entry: Entry) -> str:
    reasons = _plain("; ".join(entry.reasons))
    return f"- {words.when(entry.at)}: {_ACTION[entry.action]} {entry.version}: {reasons}"


def _took_place(entry: Entry, champion: str) -> bool:
    return entry.version == champion == entry.champion and entry.action != "hold"


def _what(story: Story) -> str:
    record = story.record
    if not record:
        return f"Trained on partitions up to {story.partition}. It was registered before records were kept."
    train, clean = record["splits"]["train"], record["manifests"]["clean"]
    return (
        f"Trained on {words.span(train)} for partition **{story.partition}**, from version "
        f"{clean['version']} of table `clean` ({clean['rows']:,} rows of {len(clean['partitions'])} days "
        f"with lookback and holdout). It {_STATE[story.state]}."
    )


def _measured(story: Story) -> str:
    """A table of the metrics, beside the champion's on the same rows where there was one."""
    measured = story.evidence.get("metrics", ())
    if not measured or measured[0]["champion"] is None:
        values = [f"| {name} | {words.number(value)} |" for name, value in sorted(story.metrics.items())]
        return "\n".join(["| metric on its holdout | value |", "|---|---|", *values]) if values else ""
    gain = f"gain, above 0 is better ({words.interval(story.evidence)} interval)"
    head = f"| metric on the same rows | this version | champion {story.evidence['champion']} | {gain} |"
    return "\n".join([head, "|---|---|---|---|", *(_row(each) for each in measured)])


def _row(each: Mapping[str, Any]) -> str:
    low, high = words.number(each["low"], sign=True), words.number(each["high"], sign=True)
    gain = words.number(each["gain"], sign=True)
    return (
        f"| {each['metric']} | {words.number(each['challenger'])} | {words.number(each['champion'])} "
        f"| {gain} ({low} to {high}) |"
    )


def _decided(story: Story) -> str:
    return "\n".join(
        f"- {words.when(each.at)}: **{words.decided(each)}**"
        f"{f' (approved by {_plain(each.approved_by)})' if each.approved_by else ''}"
        f"{': ' + _plain('; '.join(each.reasons)) if each.reasons else ''}"
        for each in story.decisions[-_DECISIONS:]
    )


def _links(story: Story) -> str:
    links = [f"[{name}]({url})" for name, url in story.links.items() if url.startswith("http")]
    return " · ".join(links)


def _plain(text: str) -> str:
    """Words from outside: one line, cut, and no Markdown."""
    return plain(" ".join(text.split()), _REASON)


def _fitting(parts: Sequence[str]) -> str:
    """The parts, the last ones left out where MLflow would not keep them all."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + len(part) + 2 <= _MOST:
            text = f"{text}\n\n{part}"
    return text[:_MOST]
