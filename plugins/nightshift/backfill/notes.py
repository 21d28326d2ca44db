"""What the tables cannot tell of a partition: that a step was tried and failed, and why.

One small file a step and partition, ``failures/<step>/<partition>.json`` in the pipeline's lake: written
when a partition fails, taken away when it succeeds, whoever ran it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from nightshift.lake.tables import Lake

__all__ = ["FailureNote", "clear_failure", "note_failure", "read_failures"]

_FOLDER = "failures"
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class FailureNote:
    """Why a step of a partition failed; ``at`` in seconds of the epoch, ``run`` the run that tried it."""

    error: str
    at: float
    run: str


def note_failure(lake: Lake, step: str, partition: str, error: str, run: str = "") -> None:
    """Remember that ``step`` failed for ``partition``; the newest reason replaces an older one."""
    note = FailureNote(" ".join(error.split())[:_LONGEST], time.time(), run)
    lake.write_file(_path(step, partition), json.dumps(asdict(note)).encode())


def clear_failure(lake: Lake, step: str, partition: str) -> None:
    """Forget it: the partition is good now."""
    lake.remove_file(_path(step, partition))


def read_failures(
    lake: Lake, steps: Collection[str], partitions: Collection[str]
) -> dict[tuple[str, str], FailureNote]:
    """The notes of these steps and partitions, by step and partition; one listing, then those that match."""
    wanted = {_path(step, partition): (step, partition) for step in steps for partition in partitions}
    there = [path for path in lake.files(_FOLDER) if path in wanted]
    found = lake.read_files(there)
    return {wanted[path]: FailureNote(**json.loads(data)) for path, data in found.items()}


def _path(step: str, partition: str) -> str:
    return f"{_FOLDER}/{step}/{partition}.json"
