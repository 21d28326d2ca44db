"""Logs of jobs, from CloudWatch.

A position is one number: the time of the last line in milliseconds, times 10,000, plus how many lines of
that millisecond were read. What CloudWatch takes in late, with an older time, is not read any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.platforms.base import LogChunk
from nightshift.platforms.sagemaker.failures import is_absent, vendor_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Line", "Stream", "chunk", "read", "start_of"]

Line = tuple[int, str]
"""When, in milliseconds since the epoch, and what."""

Stream = tuple[str, str]
"""A log group and what the names of the streams begin with."""

_STEP = 10_000
_MOST = 10_000


def start_of(position: int) -> int:
    """The millisecond from which on to read."""
    return position // _STEP


def chunk(lines: Iterable[Line], position: int) -> LogChunk:
    """The lines after ``position``, out of lines in order of time, and the position after them."""
    since, seen = divmod(position, _STEP)
    at, count, fresh = since, 0, []
    for when, text in lines:
        if when < since:
            continue
        at, count = when, count + 1 if when == at else 1
        if when > since or count > seen:
            fresh.append(text)
            position = at * _STEP + count
    return LogChunk(tuple(fresh), position)


def read(client: Any, streams: Sequence[Stream], since_ms: int) -> list[Line]:
    """Lines from a time on, of several streams that follow each other; at most ten thousand."""
    found: list[Line] = []
    for group, prefix in streams:
        if len(found) < _MOST:
            found += _read_one(client, group, prefix, since_ms)
    return sorted(found, key=lambda line: line[0])


def _read_one(client: Any, group: str, prefix: str, since_ms: int) -> list[Line]:
    found: list[Line] = []
    request: dict[str, Any] = {"logGroupName": group, "logStreamNamePrefix": prefix, "startTime": since_ms}
    while len(found) < _MOST:
        with vendor_errors(f"reading the log {group} {prefix}"):
            try:
                page = client.filter_log_events(**request)
            except client.exceptions.ClientError as error:
                if is_absent(error):  # nothing was ever logged there
                    return found
                raise
        found += [(each["timestamp"], each["message"].rstrip("\r\n")) for each in page["events"]]
        if not page.get("nextToken"):
            break
        request["nextToken"] = page["nextToken"]
    return found
