"""What an alert says: a pure function from facts to text that is safe to show in a mail or a chat."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Failed",
    "Message",
    "Orphan",
    "RunLink",
    "backfill_failed",
    "budget_passed",
    "compose",
    "endpoint_unwanted",
    "orphans_reaped",
    "partition_late",
    "partition_missing",
    "report_url",
    "rolled_back",
    "run_url",
]

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
class RunLink:
    """A DAG run, as a message names it and links to it."""

    dag_id: str
    run_id: str
    ui_url: str

    @property
    def url(self) -> str:
        """The run in Airflow's UI."""
        return f"{self.ui_url}/dags/{quote(self.dag_id, safe='')}/runs/{quote(self.run_id, safe='')}"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A job that ran on for nobody until it was stopped.

    :param state_of_task: the task instance's state when the job was found; empty when it has none.
    :param saved_seconds: what was left until the job's own limit; ``saved_usd`` what that would have cost.
    """

    job: str
    dag: str
    run: str
    task: str
    state_of_task: str
    saved_seconds: float = 0.0
    saved_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Message:
    """Plain text; channels turn it into what they show, and escape it then."""

    title: str
    body: str


def run_url(ui_url: str, failed: Failed) -> str:
    """The failed task in Airflow's UI."""
    run = RunLink(failed.dag_id, failed.run_id, ui_url).url
    mapped = f"/mapped/{failed.map_index}" if failed.map_index >= 0 else ""
    return f"{run}/tasks/{quote(failed.task_id, safe='')}{mapped}"


def report_url(ui_url: str, pipeline: str, partition: str) -> str:
    """The validation report of the partition."""
    return f"{ui_url}/nightshift/reports/{quote(pipeline, safe='')}/{quote(partition, safe='')}"


def compose(failed: Failed, ui_url: str) -> Message:
    """The alert of a failed task, at most 3,500 characters."""
    what = "blocked by validation" if failed.summary else f"task {failed.task_id} failed"
    others = ", the first of its mapped tasks to fail" if failed.map_index >= 0 else ""
    head = [
        f"Pipeline: {_safe(failed.pipeline)}",
        f"Partition: {_safe(failed.partition) or 'not known'}",
        f"DAG: {_safe(failed.dag_id)}, task {_safe(failed.task_id)}, try {failed.try_number}{others}",
    ]
    links = [f"Airflow: {run_url(ui_url, failed)}"]
    if failed.summary:
        links.insert(0, f"Validation report: {report_url(ui_url, failed.pipeline, failed.partition)}")
        middle = _validation(failed.summary, failed.examples)
    else:
        middle = [f"Error: {_safe(failed.error, _ERROR)}"]
    return Message(_title(failed.pipeline, failed.partition, what), _fit(head, middle, links))


def partition_missing(
    pipeline: str, partition: str, missing: Sequence[str], run: RunLink, minutes: float
) -> Message:
    """A partition that has not landed by its deadline.

    :param missing: markers that are not there, as URIs.
    :param minutes: how long the night has been waiting.
    """
    head = [
        f"Pipeline: {_safe(pipeline)}",
        f"Partition: {_safe(partition)}",
        f"DAG: {_safe(run.dag_id)}",
        f"Not there {minutes:g} minutes after the night began; it starts by itself when this has landed:",
    ]
    middle = [f"- {_safe(each)}" for each in missing]
    return Message(_title(pipeline, partition, "has not landed"), _fit(head, middle, [f"Airflow: {run.url}"]))


def partition_late(
    pipeline: str, partition: str, busy: Mapping[str, str], run: RunLink, minutes: float
) -> Message:
    """A partition that has landed, but whose run is not over by the deadline.

    :param busy: tasks that have not ended, each with its state.
    """
    head = [
        f"Pipeline: {_safe(pipeline)}",
        f"Partition: {_safe(partition)}",
        f"DAG: {_safe(run.dag_id)}",
        f"It has landed, but its run is not over {minutes:g} minutes after the night began. Not ended:",
    ]
    middle = [f"- {_safe(task)}: {_safe(state)}" for task, state in busy.items()]
    return Message(_title(pipeline, partition, "is late"), _fit(head, middle, [f"Airflow: {run.url}"]))


def budget_passed(pipeline: str, month: str, spent_usd: float, budget_usd: float, ui_url: str) -> Message:
    """The month's budget is used up."""
    head = [
        f"Pipeline: {_safe(pipeline)}",
        f"Month: {_safe(month)} (UTC)",
        f"Spent: {spent_usd:,.2f} USD, budget: {budget_usd:,.2f} USD",
    ]
    middle = ["Jobs go on being started: the budget is told, not enforced."]
    return Message(_title(pipeline, month, "budget passed"), _fit(head, middle, [f"Airflow: {ui_url}/dags"]))


def orphans_reaped(pipeline: str, orphans: Sequence[Orphan], ui_url: str) -> Message:
    """Jobs that ran on for nobody and were stopped."""
    seconds = math.fsum(each.saved_seconds for each in orphans)
    usd = math.fsum(each.saved_usd for each in orphans)
    head = [
        f"Pipeline: {_safe(pipeline)}",
        f"Stopped, because no task waits for them any more: {_count(len(orphans), 'job')}",
        f"Saved: up to {seconds / 3600:,.2f} hours and {usd:,.2f} USD",
    ]
    middle = [
        f"- {_safe(each.job)}: of {_safe(each.dag)} {_safe(each.run)}, task {_safe(each.task)}, "
        f"which is {_safe(each.state_of_task) or 'gone'}"
        for each in orphans
    ]
    links = [f"Airflow: {RunLink(each.dag, each.run, ui_url).url}" for each in orphans[:1]]
    return Message(
        _title(pipeline, "", f"{_count(len(orphans), 'orphaned job')} stopped"), _fit(head, middle, links)
    )


def endpoint_unwanted(pipeline: str, endpoint: str, usd_per_hour: float) -> Message:
    """An endpoint that costs, and that no pipeline file asks for any more."""
    lines = [
        f"Endpoint: {_safe(endpoint)}",
        "No pipeline file has a section 'endpoint' for it any more, and nobody looks after it.",
        f"It costs {usd_per_hour:,.4f} USD an hour, as long as it is there",
        f"To end it: nightshift endpoint delete {_safe(endpoint)} --yes",
    ]
    return Message(_title(pipeline, "", "an endpoint is left over"), _fit(lines, [], []))


def backfill_failed(pipeline: str, failed: Mapping[str, str], done: int, run: RunLink) -> Message:
    """A backfill that has ended, and not well for every partition.

    :param failed: the reason of each partition that failed.
    :param done: partitions that ended well.
    """
    partitions = sorted(failed)
    head = [
        f"Pipeline: {_safe(pipeline)}",
        f"DAG: {_safe(run.dag_id)}",
        f"Partitions: {done} done, {len(failed)} failed; run it again for the failed ones",
    ]
    middle = [f"- {_safe(each)}: {_safe(failed[each])}" for each in partitions]
    what = f"backfill ended with {_count(len(failed), 'failed partition')}"
    return Message(_title(pipeline, "", what), _fit(head, middle, [f"Airflow: {run.url}"]))


def approval_asked(
    pipeline: str, version: str, reasons: Sequence[str], minutes: float, run: RunLink, task_id: str
) -> Message:
    """A model that would take the champion's place waits for somebody to say so."""
    head = [
        f"Pipeline: {_safe(pipeline)}",
        f"Model version: {_safe(version)}",
        f"Answer within: {minutes:g} minutes; then the champion stays",
    ]
    form = f"{run.url}/tasks/{quote(task_id, safe='')}/required_actions"
    links = [f"Answer: {form}", f"Airflow: {run.url}"]
    happened = f"version {version} waits for an approval"
    return Message(
        _title(pipeline, "", happened), _fit(head, [f"- {_safe(each)}" for each in reasons], links)
    )


def rolled_back(pipeline: str, to: str, before: str, reason: str, by: str, run: RunLink) -> Message:
    """An earlier model version is the champion again.

    :param before: the version that had to go; empty where there was none.
    :param by: the person who asked for it, empty where nobody knows.
    """
    head = [
        f"Pipeline: {_safe(pipeline)}",
        f"Champion: version {_safe(to)}, before it {f'version {_safe(before)}' if before else 'none'}",
        f"By: {_safe(by) or 'not known'}",
    ]
    middle = [f"Reason: {_safe(reason, _ERROR)}", "The next scoring run takes it."]
    happened = f"rolled back to version {to}"
    return Message(_title(pipeline, "", happened), _fit(head, middle, [f"Airflow: {run.url}"]))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _title(pipeline: str, what: str, happened: str) -> str:
    return _safe(f"[nightshift] {' '.join((pipeline, what)).strip()}: {happened}", 120)


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
