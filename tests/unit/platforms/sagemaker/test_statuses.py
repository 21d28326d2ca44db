"""SageMaker's words for how a job stands and why it failed, as ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.session import get_session

from nightshift.errors import JobError
from nightshift.platforms.base import Failure, JobState
from nightshift.platforms.sagemaker.failures import failure_of
from nightshift.platforms.sagemaker.states import TRANSFORM, TUNING, state_of_training
from nightshift.platforms.sagemaker.statuses import (
    TIMED_OUT,
    training_status,
    transform_status,
    tuning_status,
)

BEGIN = 1_700_000_000.0


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(BEGIN + seconds, UTC)


def nobody() -> None:
    return None


def training(status: str, secondary: str, **more: Any) -> dict[str, Any]:
    times = {"CreationTime": at(0), "TrainingStartTime": at(60)}
    words = {"TrainingJobStatus": status, "SecondaryStatus": secondary}
    return {"TrainingJobName": "toy", **words, **times, **more}


def words_of(shape: str) -> list[str]:
    found: list[str] = get_session().get_service_model("sagemaker").shape_for(shape).enum
    return found


@pytest.mark.parametrize("secondary", words_of("SecondaryStatus"))
@pytest.mark.parametrize("status", words_of("TrainingJobStatus"))
def test_every_word_of_a_training_job_is_known(status: str, secondary: str) -> None:
    assert isinstance(state_of_training(status, secondary, "toy"), JobState)


def test_every_word_of_other_jobs_is_known() -> None:
    assert set(words_of("TransformJobStatus")) == set(TRANSFORM)
    assert set(words_of("HyperParameterTuningJobStatus")) == set(TUNING)


@pytest.mark.parametrize(("status", "secondary"), [("Paused", "Training"), ("InProgress", "Dreaming")])
def test_an_unknown_word_is_a_loud_error(status: str, secondary: str) -> None:
    with pytest.raises(JobError, match=r"states\.py"):
        state_of_training(status, secondary, "toy")


def test_a_job_without_a_machine_is_pending_and_one_with_it_runs() -> None:
    pending = training_status(training("InProgress", "Starting", TrainingStartTime=None), nobody, BEGIN + 90)
    assert (pending.state, pending.seconds, pending.submitted_at) == (JobState.PENDING, 0.0, BEGIN)
    runs = training_status(training("InProgress", "Training"), nobody, BEGIN + 90)
    assert (runs.state, runs.seconds, runs.reason) == (JobState.RUNNING, 30.0, "Training")


@pytest.mark.parametrize(
    ("secondary", "why", "state", "failure"),
    [
        ("Stopped", "the reaper", JobState.STOPPED, None),
        ("Stopped", None, JobState.STOPPED, None),
        ("Stopped", TIMED_OUT, JobState.FAILED, Failure.TIMED_OUT),
        ("MaxRuntimeExceeded", None, JobState.FAILED, Failure.TIMED_OUT),
        ("MaxWaitTimeExceeded", None, JobState.FAILED, Failure.CAPACITY),
        ("Interrupted", None, JobState.FAILED, Failure.INTERRUPTED),
        ("Interrupted", "the reaper", JobState.STOPPED, None),
    ],
)
def test_what_sagemaker_calls_stopped_is_told_apart(
    secondary: str, why: str | None, state: JobState, failure: Failure | None
) -> None:
    status = training_status(training("Stopped", secondary), lambda: why, BEGIN)
    assert (status.state, status.failure) == (state, failure)
    assert status.reason


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        ("AlgorithmError: ValueError: no such column, exit code: 1", Failure.USER_CODE),
        ("ClientError: Data download failed: 404", Failure.USER_CODE),
        ("CapacityError: Unable to provision requested ML compute capacity.", Failure.CAPACITY),
        ("InternalServerError: We encountered an internal error.", Failure.NETWORK),
        ("ResourceLimitExceeded: the account-level limit is 0", Failure.QUOTA),
        ("AlgorithmError: , exit code: 137", Failure.LOST),
        ("AlgorithmError: the job was killed by SIGKILL, perhaps for memory, exit code: 1", Failure.LOST),
        ("AlgorithmError: RuntimeError: exit code: 137 of a child, exit code: 1", Failure.USER_CODE),
        ("AlgorithmError: RuntimeError: insufficient capacity of the pool", Failure.USER_CODE),
        ("AlgorithmError: ValueError: maximum runtime exceeded, exit code: 1", Failure.USER_CODE),
        ("ClientError: ResourceLimitExceeded is no column", Failure.USER_CODE),
        ("something new", Failure.USER_CODE),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_failure_reason_says_what_a_retry_is_worth(reason: str, failure: Failure) -> None:
    assert failure_of(reason) is failure


def test_a_failed_job_tells_sagemakers_reason_on_one_line() -> None:
    status = training_status(training("Failed", "Failed", FailureReason="AlgorithmError:\n x"), nobody, BEGIN)
    assert (status.failure, status.reason) == (Failure.USER_CODE, "AlgorithmError: x")


def tuning(status: str, **more: Any) -> dict[str, Any]:
    return {
        "HyperParameterTuningJobName": "toy",
        "HyperParameterTuningJobStatus": status,
        "HyperParameterTuningJobConfig": {"ResourceLimits": {"MaxRuntimeInSeconds": 3600}},
        "CreationTime": at(0),
        "TrainingJobStatusCounters": {"Completed": 2, "InProgress": 1},
        **more,
    }


def test_a_search_that_runs_counts_its_trials() -> None:
    status = tuning_status(tuning("InProgress"), nobody, BEGIN + 5)
    assert (status.state, status.reason) == (JobState.RUNNING, "trials: 2 completed, 1 running")


def test_a_search_none_of_whose_trials_has_a_value_has_failed() -> None:
    status = tuning_status(tuning("Completed", HyperParameterTuningEndTime=at(9)), nobody, BEGIN)
    assert (status.state, status.failure, status.seconds) == (JobState.FAILED, Failure.USER_CODE, 9.0)


@pytest.mark.parametrize(
    ("ended", "why", "state"),
    [(3600, None, JobState.FAILED), (3600, "the reaper", JobState.STOPPED), (60, None, JobState.STOPPED)],
)
def test_a_search_that_sagemaker_ended_at_its_limit_has_timed_out(
    ended: float, why: str | None, state: JobState
) -> None:
    found = tuning("Stopped", HyperParameterTuningEndTime=at(ended))
    assert tuning_status(found, lambda: why, BEGIN).state is state


def test_a_transform_that_failed_tells_why() -> None:
    found = {"TransformJobName": "toy", "TransformJobStatus": "Failed", "CreationTime": at(0)}
    status = transform_status({**found, "FailureReason": "AlgorithmError: See job logs"}, nobody, BEGIN)
    assert (status.state, status.failure) == (JobState.FAILED, Failure.USER_CODE)
