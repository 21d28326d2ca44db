"""Names, fingerprints and the one judgement of a job's end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightshift.errors import (
    CapacityUnavailable,
    JobError,
    JobFailed,
    JobLost,
    JobStopped,
    JobTimedOut,
    PlatformUnavailable,
    QuotaExceeded,
)
from nightshift.platforms.base import (
    Failure,
    JobInput,
    JobRef,
    JobSpec,
    JobState,
    JobStatus,
    Machine,
    error_of,
    job_name,
)

SPEC = JobSpec("train", {"seed": 1, "manifests": {"clean": {"version": 3}}}, (), code_sha256="c")
REF = JobRef("local", "toy")


def test_the_same_identity_gives_the_same_name() -> None:
    identity = ("flight_delays_retrain", "manual__1", "learn.train", SPEC.fingerprint)
    assert job_name("a b", identity) == job_name("a b", identity)
    assert job_name("a b", identity) != job_name("a b", (*identity[:3], "other"))


@pytest.mark.parametrize("limit", [32, 63])
@pytest.mark.parametrize("attempt", [1, 2, 12])
def test_a_name_keeps_its_hash_and_attempt_when_it_is_cut(limit: int, attempt: int) -> None:
    name = job_name("flight_delays train 2013-01-05 " * 5, ("x",), attempt, limit)
    assert len(name) <= limit
    assert name.endswith(f"-r{attempt}" if attempt > 1 else job_name("y", ("x",))[-12:])
    assert name.replace("-", "").isalnum()


def test_two_parts_of_an_identity_cannot_be_confused() -> None:
    assert job_name("a", ("ab", "c")) != job_name("a", ("a", "bc"))


def test_the_fingerprint_changes_with_what_decides_the_result() -> None:
    data = JobInput("clean", "file:///lake", identity="sha")
    others = [
        replace(SPEC, kind="tune"),
        replace(SPEC, job={**SPEC.job, "seed": 2}),
        replace(SPEC, inputs=(data,)),
        replace(SPEC, inputs=(replace(data, identity="other"),)),
        replace(SPEC, code_sha256="d"),
    ]
    assert len({SPEC.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1


def test_the_fingerprint_ignores_where_and_how_long_a_job_runs() -> None:
    moved = replace(SPEC, max_runtime_s=1, candidates=(Machine(cpus=8),), tags={"run": "x"})
    renumbered = replace(SPEC, job={**SPEC.job, "manifests": {"clean": {"version": 4}}})
    assert {SPEC.fingerprint} == {moved.fingerprint, renumbered.fingerprint}


@pytest.mark.parametrize(
    ("status", "timed_out", "expected"),
    [
        (JobStatus(JobState.SUCCEEDED), False, None),
        (JobStatus(JobState.SUCCEEDED), True, None),
        (JobStatus(JobState.STOPPED, reason="by hand"), False, JobStopped),
        (JobStatus(JobState.STOPPED), True, JobTimedOut),
        (JobStatus(JobState.RUNNING), True, JobTimedOut),
        (JobStatus(JobState.RUNNING), False, JobError),
        (JobStatus(JobState.FAILED), False, JobFailed),
        (JobStatus(JobState.FAILED, Failure.USER_CODE), False, JobFailed),
        (JobStatus(JobState.FAILED, Failure.CAPACITY), False, CapacityUnavailable),
        (JobStatus(JobState.FAILED, Failure.QUOTA), False, QuotaExceeded),
        (JobStatus(JobState.FAILED, Failure.THROTTLING), False, PlatformUnavailable),
        (JobStatus(JobState.FAILED, Failure.TIMED_OUT), False, JobTimedOut),
        (JobStatus(JobState.FAILED, Failure.LOST), False, JobLost),
    ],
)
def test_every_end_has_its_error(status: JobStatus, timed_out: bool, expected: type | None) -> None:
    error = error_of(REF, status, timed_out=timed_out)
    assert type(error) is (expected or type(None))
    assert error is None or "toy" in str(error)


def test_every_failure_class_has_an_error() -> None:
    for failure in Failure:
        assert error_of(REF, JobStatus(JobState.FAILED, failure)) is not None
