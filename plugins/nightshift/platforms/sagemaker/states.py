"""SageMaker's words for how a job stands, as ours. A word that is not here is a loud error."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from nightshift.errors import JobError
from nightshift.platforms.base import JobState

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TRANSFORM", "TUNING", "state_of_training", "translated"]

_PENDING, _RUNNING, _STOPPING = JobState.PENDING, JobState.RUNNING, JobState.STOPPING

TRANSFORM: Mapping[str, JobState] = MappingProxyType(
    {
        "InProgress": _RUNNING,
        "Stopping": _STOPPING,
        "Completed": JobState.SUCCEEDED,
        "Failed": JobState.FAILED,
        "Stopped": JobState.STOPPED,
    }
)
TUNING: Mapping[str, JobState] = MappingProxyType(
    {**TRANSFORM, "Deleting": _STOPPING, "DeleteFailed": JobState.FAILED}
)
_TRAINING: Mapping[str, JobState] = MappingProxyType({**TRANSFORM, "Deleting": _STOPPING})
_SECONDARY: Mapping[str, JobState] = MappingProxyType(
    {
        "Starting": _PENDING,
        "Pending": _PENDING,
        "LaunchingMLInstances": _PENDING,
        "PreparingTrainingStack": _PENDING,
        "Downloading": _RUNNING,
        "DownloadingTrainingImage": _RUNNING,
        "Training": _RUNNING,
        "Interrupted": _RUNNING,
        "Restarting": _RUNNING,
        "Updating": _RUNNING,
        "Uploading": _RUNNING,
        "Stopping": _STOPPING,
        "Completed": _RUNNING,  # done, but for the last word of the job itself
        "Failed": _RUNNING,
        "Stopped": _RUNNING,
        "MaxRuntimeExceeded": _RUNNING,
        "MaxWaitTimeExceeded": _RUNNING,
    }
)


def translated(word: str, words: Mapping[str, JobState], what: str) -> JobState:
    """Our word for theirs.

    :raises JobError: for a word that was not known when this was written.
    """
    if word not in words:
        raise JobError(
            f"SageMaker says that {what} is {word!r}, a word that is not known here",
            fix="add it to nightshift/platforms/sagemaker/states.py",
        )
    return words[word]


def state_of_training(status: str, secondary: str, what: str) -> JobState:
    """A training job's state: while it is in progress, its secondary status tells whether it runs yet."""
    state = translated(status, _TRAINING, what)
    within = translated(secondary, _SECONDARY, what)
    return within if state is _RUNNING else state
