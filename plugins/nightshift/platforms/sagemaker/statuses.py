"""How a job stands, from what SageMaker describes. Pure: the clock and a stop's reason are handed in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nightshift.platforms.base import Failure, JobState, JobStatus
from nightshift.platforms.sagemaker.failures import failure_of
from nightshift.platforms.sagemaker.states import TRANSFORM, TUNING, state_of_training, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Why = Callable[[], str | None]

__all__ = ["TIMED_OUT", "seconds_of", "training_status", "transform_status", "tuning_status"]

TIMED_OUT = "it passed its max_runtime_s"
"""The reason of a stop that is a deadline's."""

_NOBODY = "it was stopped, but not from here: perhaps in the console"


def training_status(found: Mapping[str, Any], why: Why, now: float) -> JobStatus:
    """A training job's. ``why`` gives the reason of a stop, None where nobody of us has asked for it."""
    secondary = found["SecondaryStatus"]
    what = f"training job {found['TrainingJobName']}"
    state = state_of_training(found["TrainingJobStatus"], secondary, what)
    seconds = seconds_of(found, "Training", now)
    return _judged(found, state, why, seconds, _progress(found), secondary=secondary)


def tuning_status(found: Mapping[str, Any], why: Why, now: float) -> JobStatus:
    """A tuning job's; one of whose trials none has a result has failed, whatever SageMaker calls it."""
    what = f"tuning job {found['HyperParameterTuningJobName']}"
    state = translated(found["HyperParameterTuningJobStatus"], TUNING, what)
    created = found["CreationTime"].timestamp()
    ended = found.get("HyperParameterTuningEndTime")
    seconds = max(0.0, (ended.timestamp() if ended else now) - created)
    counters = found.get("TrainingJobStatusCounters", {})
    if state is JobState.SUCCEEDED and not found.get("BestTrainingJob"):
        reason = f"none of its {sum(counters.values())} trials gave a value of the metric"
        return JobStatus(JobState.FAILED, Failure.USER_CODE, reason, seconds, created)
    limit = found["HyperParameterTuningJobConfig"]["ResourceLimits"].get("MaxRuntimeInSeconds", math.inf)
    progress = f"trials: {counters.get('Completed', 0)} completed, {counters.get('InProgress', 0)} running"
    return _judged(found, state, why, seconds, progress, overdue=seconds >= limit)


def transform_status(found: Mapping[str, Any], why: Why, now: float) -> JobStatus:
    """A transform job's."""
    what = f"transform job {found['TransformJobName']}"
    state = translated(found["TransformJobStatus"], TRANSFORM, what)
    return _judged(found, state, why, seconds_of(found, "Transform", now), "transforming")


def _judged(
    found: Mapping[str, Any],
    state: JobState,
    why: Why,
    seconds: float,
    progress: str,
    *,
    secondary: str = "Stopped",
    overdue: bool = False,
) -> JobStatus:
    """The status with its reason: SageMaker's own of a failure, ours of a stop, else how far it is."""
    failure, reason = None, "" if state is JobState.SUCCEEDED else progress
    if state is JobState.FAILED:
        reason = " ".join(str(found.get("FailureReason", "SageMaker gives no reason")).split())
        failure = failure_of(reason)
    elif state is JobState.STOPPED:
        state, failure, reason = _stopped(secondary, why, overdue=overdue)
    return JobStatus(state, failure, reason, seconds, found["CreationTime"].timestamp())


def seconds_of(found: Mapping[str, Any], noun: str, now: float | None = None) -> float:
    """Wall time of a training or transform job since it started; 0 before that, or without an end."""
    start, end = found.get(f"{noun}StartTime"), found.get(f"{noun}EndTime")
    until = end.timestamp() if end else now
    if start is None or until is None:
        return 0.0
    return max(0.0, until - start.timestamp()) or float(found.get(f"{noun}TimeInSeconds", 0.0))


def _stopped(secondary: str, why: Why, *, overdue: bool) -> tuple[JobState, Failure | None, str]:
    """SageMaker calls all of these stopped: what was asked for, and what a limit did."""
    if secondary == "MaxRuntimeExceeded":
        return JobState.FAILED, Failure.TIMED_OUT, TIMED_OUT
    if secondary == "MaxWaitTimeExceeded":
        reason = "no spot machine was to be had, or kept, within its longest wait"
        return JobState.FAILED, Failure.CAPACITY, reason
    reason = why() or ""
    if reason == TIMED_OUT or (overdue and not reason):
        return JobState.FAILED, Failure.TIMED_OUT, TIMED_OUT
    if secondary == "Interrupted" and not reason:
        return JobState.FAILED, Failure.INTERRUPTED, "its spot machine was taken away"
    return JobState.STOPPED, None, reason or _NOBODY


def _progress(found: Mapping[str, Any]) -> str:
    """The secondary status, and how often a spot machine was taken away."""
    words = [str(found["SecondaryStatus"])]
    times = sum(each["Status"] == "Interrupted" for each in found.get("SecondaryStatusTransitions", ()))
    if times:
        words.append(f"(its spot machine was taken away {times} times; it goes on from its checkpoint)")
    return " ".join(words)
