"""What an alert says: a pure function from facts to text that is safe to show in a mail or a chat."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Failed", "Message", "compose", "report_url", "run_url"]

_BODY = 3500  # the shortest limit of the usual channels is 4,000 characters
_LINE = 300
_ERROR = 1500
_EXPECTATIONS = 10
_APART = "\u200b"  # breaks a mention or a link, and is not seen


@dataclass(frozen=True, slots=True)
class Failed:
    """One failed task.

    :param summary: of a validation, where the task was one; else empty.
    :param examples: sample rows shown per failing expectation.
    """

    pipeline: str
    dag_id: str
    run_id: str
    task_id: str
    partition: str
    error: str
    try_number: int = 1
    map_index: int = -1
    summary: Mapping[str, Any] = field(default_factory=dict)
    examples: int = 5


@dataclass(frozen=True, slots=True)
class Message:
    """Plain text; channels turn it into what they show, and escape it then."""

    title: str
    body: str


def run_url(ui_url: str, failed: Failed) -> str:
    """The failed task in Airflow's UI."""
    parts = (quote(each, safe="") for each in (failed.dag_id, failed.run_id, failed.task_id))
    dag, run, task = parts
    mapped = f"/mapped/{failed.map_index}" if failed.map_index >= 0 else ""
    return f"{ui_url}/dags/{dag}/runs/{run}/tasks/{task}{mapped}"


def report_url(ui_url: str, pipeline: str, partition: str) -> str:
    """The validation report of the partition."""
    return f"{ui_url}/nightshift/reports/{quote(pipeline, safe='')}/{quote(partition, safe='')}"


def compose(failed: Failed, ui_url: str) -> Message:
    """The alert of a failed task, at most 3,500 characters."""
    where = f"{failed.pipeline} {failed.partition}".strip()
    what = "blocked by validation" if failed.summary else f"task {failed.task_id} failed"
    head = [
        f"Pipeline: {_safe(failed.pipeline)}",
        f"Partition: {_safe(failed.partition) or 'not known'}",
        f"DAG: {_safe(failed.dag_id)}, task {_safe(failed.task_id)}, try {failed.try_number}",
    ]
    links = [f"Airflow: {run_url(ui_url, failed)}"]
    if failed.summary:
        links.insert(0, f"Validation report: {report_url(ui_url, failed.pipeline, failed.partition)}")
        middle = _validation(failed.summary, failed.examples)
    else:
        middle = [f"Error: {_safe(failed.error, _ERROR)}"]
    return Message(_safe(f"[nightshift] {where}: {what}", 120), _fit(head, middle, links))


def _fit(head: list[str], middle: list[str], links: list[str]) -> str:
    """Head and links always; of the middle, the lines that fit."""
    room = _BODY - len("\n".join((*head, "", "", *links))) - len("\n… and more in the report")
    kept: list[str] = []
    for line in middle:
        room -= len(line) + 1
        if room < 0:
            kept.append("… and more in the report" if len(links) > 1 else "…")
            break
        kept.append(line)
    return "\n".join((*head, "", *kept, "", *links))


def _validation(summary: Mapping[str, Any], examples: int) -> list[str]:
    rows = summary.get("rows") or {}
    counts = ", ".join(f"{rows.get(name, '?')} {name}" for name in ("ingested", "clean", "quarantined"))
    lines = [f"Rows: {counts}", f"Reason: {_safe(summary.get('reason'))}", "", "Failing expectations:"]
    failing = list(summary.get("failed") or ())
    for each in failing[:_EXPECTATIONS]:
        lines += _expectation(each, examples)
    more = int(summary.get("failed_total") or len(failing)) - len(failing[:_EXPECTATIONS])
    return [*lines, f"… and {more} more"] if more > 0 else lines


def _expectation(each: Mapping[str, Any], examples: int) -> list[str]:
    on = f" ({_safe(each.get('column'))})" if each.get("column") else ""
    found = f"observed {_safe(each.get('observed')) or 'nothing'}"
    if each.get("row_level") and each.get("unexpected") is not None:
        found = f"{each['unexpected']} rows"
    line = f"- {_safe(each.get('severity'))}: {_safe(each.get('type'))}{on}: {found}"
    return [line, *(f"    {_safe(sample)}" for sample in (each.get("examples") or ())[:examples])]


def _safe(value: Any, limit: int = _LINE) -> str:
    """One line without control characters, tags, mentions and links: a source's text may be hostile."""
    text = "" if value is None else str(value)
    text = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text[: 4 * limit])
    text = " ".join(text.split())
    text = text.replace("<", "‹").replace(">", "›")
    text = re.sub(r"@(?=\w)", f"@{_APART}", text)
    text = re.sub(r"(?i)\b(https?|ftp|mailto|javascript)(:)", rf"\1{_APART}\2", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
