"""Which jobs of ours SageMaker knows, by their tags: stages and trials are led back to their job.

Their names tell whose they are, mostly, and the job's own folder tells its tags. SageMaker's ListTags, of
which it answers few, is left for names that say nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nightshift.platforms.sagemaker.calls import TRAINING, TRANSFORM, TUNING
from nightshift.platforms.sagemaker.tags import JOB, cleaned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nightshift.platforms.sagemaker.calls import Calls, Kind

    Told = Callable[[str], Mapping[str, Any] | None]

__all__ = ["names_with"]

# The features of a score job, and a trial: assumed to be the tuning job's name, a number and some hex digits.
_PARTS = re.compile(r"(?P<job>.+?)(-f|-\d{3,}-[0-9a-f]{8})")
_LIVE = ("InProgress", "Stopping")
_REMEMBERED = timedelta(days=30)


def names_with(calls: Calls, told: Told, tags: Mapping[str, str], *, live: bool) -> list[str]:
    """Names of the jobs that carry these tags, each once, the newest first; of the last 30 days.

    :param told: gives a job's spec.json by its name.
    :param live: only jobs of which SageMaker runs something now.
    """
    wanted = {key: cleaned(value) for key, value in tags.items()}
    found: dict[str, None] = {}
    for kind in (TUNING, TRAINING, TRANSFORM):
        for each in _summaries(calls, kind, live=live):
            carried = _by_name(told, each[f"{kind.noun}Name"]) or calls.tags(each[f"{kind.noun}Arn"])
            if JOB in carried and wanted.items() <= carried.items():
                found[carried[JOB]] = None
    return list(found)


def _by_name(told: Told, name: str) -> dict[str, str]:
    """The tags of the job that this one is, or is a part of; empty where its name does not say."""
    part = _PARTS.fullmatch(name)
    for job in [part["job"], name] if part else [name]:
        document = told(job)
        if document is not None:
            return {**{key: cleaned(value) for key, value in document["tags"].items()}, JOB: job}
    return {}


def _summaries(calls: Calls, kind: Kind, *, live: bool) -> Iterator[dict[str, Any]]:
    if live:
        for status in _LIVE:
            yield from calls.jobs(kind, StatusEquals=status)
    else:
        yield from calls.jobs(kind, CreationTimeAfter=datetime.now(UTC) - _REMEMBERED)
