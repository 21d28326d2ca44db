"""Which jobs of ours SageMaker knows, by their tags: stages and trials are led back to their job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nightshift.platforms.sagemaker.calls import TRAINING, TRANSFORM, TUNING
from nightshift.platforms.sagemaker.tags import JOB, cleaned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nightshift.platforms.sagemaker.calls import Calls, Kind

__all__ = ["names_with"]

_LIVE = ("InProgress", "Stopping")
_REMEMBERED = timedelta(days=30)


def names_with(calls: Calls, tags: Mapping[str, str], *, live: bool) -> list[str]:
    """Names of the jobs that carry these tags, each once, the newest first; of the last 30 days.

    :param live: only jobs of which SageMaker runs something now.
    """
    wanted = {key: cleaned(value) for key, value in tags.items()}
    found: dict[str, None] = {}
    for kind in (TUNING, TRAINING, TRANSFORM):
        for each in _summaries(calls, kind, live=live):
            carried = calls.tags(each[f"{kind.noun}Arn"])
            if JOB in carried and wanted.items() <= carried.items():
                found[carried[JOB]] = None
    return list(found)


def _summaries(calls: Calls, kind: Kind, *, live: bool) -> Iterator[dict[str, Any]]:
    if live:
        for status in _LIVE:
            yield from calls.jobs(kind, StatusEquals=status)
    else:
        yield from calls.jobs(kind, CreationTimeAfter=datetime.now(UTC) - _REMEMBERED)
