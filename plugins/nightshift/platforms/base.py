"""What a platform must do: the contract of every place where a job can run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nightshift.errors import (
    CapacityUnavailable,
    JobError,
    JobFailed,
    JobInterrupted,
    JobLost,
    JobStopped,
    JobTimedOut,
    PlatformUnavailable,
    QuotaExceeded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "Failure",
    "JobInput",
    "JobRef",
    "JobResult",
    "JobSpec",
    "JobState",
    "JobStatus",
    "LogChunk",
    "Machine",
    "Platform",
    "TaggedJob",
    "error_of",
    "job_name",
]


class JobState(StrEnum):
    """The states of a job, on every platform."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)


class Failure(StrEnum):
    """Why a job failed; decides what a retry would be worth."""

    USER_CODE = "user_code"
    CAPACITY = "capacity"
    QUOTA = "quota"
    THROTTLING = "throttling"
    NETWORK = "network"
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed_out"
    LOST = "lost"


_ERRORS: Mapping[Failure, type[JobError]] = {
    Failure.USER_CODE: JobFailed,
    Failure.CAPACITY: CapacityUnavailable,
    Failure.QUOTA: QuotaExceeded,
    Failure.THROTTLING: PlatformUnavailable,
    Failure.NETWORK: PlatformUnavailable,
    Failure.INTERRUPTED: JobInterrupted,
    Failure.TIMED_OUT: JobTimedOut,
    Failure.LOST: JobLost,
}


@dataclass(frozen=True, slots=True)
class JobInput:
    """One folder a job reads.

    :param channel: its name below the job's input folder, e.g. ``clean`` or ``models/champion``.
    :param uri: where the files are; ``options`` (object store settings) say how to sign in there.
    :param files: paths below ``uri``; empty means everything below it.
    :param identity: what the content is, e.g. a manifest's sha256; part of the fingerprint.
    """

    channel: str
    uri: str
    identity: str
    files: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Machine:
    """One kind of machine that a job may run on.

    :param cpus: threads for numerical libraries; ``gpus`` of one machine, ``memory_gib`` at least.
    :param instances: so many machines at once, under torchrun. This machine is one, whatever is asked.
    :param spot: may be taken away, and costs less for that; the job goes on from its checkpoints.
    :param instance_type: a cloud's own word for it, where the platform is not to choose.
    """

    cpus: int | None = None
    gpus: int = 0
    memory_gib: int | None = None
    instances: int = 1
    spot: bool = False
    instance_type: str | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Everything a job needs.

    :param kind: ``train``, ``tune``, ``evaluate`` or ``score``: the verb of ``python -m jobs``.
    :param job: the job's own JSON document (``include/jobs/contract.py``).
    :param code_sha256: hash of ``include/jobs``.
    :param max_runtime_s: seconds that it may run; ``max_wait_s`` may pass before it gets a machine.
    :param candidates: the machines to ask for, in this order; the job runs on the first that can be had.
    """

    kind: str
    job: Mapping[str, Any]
    inputs: tuple[JobInput, ...]
    code_sha256: str
    max_runtime_s: int = 3600
    max_wait_s: int = 600
    candidates: tuple[Machine, ...] = (Machine(),)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """sha256 of the canonical JSON of all that decides the result; not of where it runs or its price."""
        decides = {
            "kind": self.kind,
            "job": {key: value for key, value in self.job.items() if key != "manifests"},
            "inputs": sorted((i.channel, i.identity) for i in self.inputs),
            "code": self.code_sha256,
        }
        canonical = json.dumps(decides, sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def machine(self) -> Machine:
        """The machine to ask for now."""
        return self.candidates[0]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, without what signs in to the inputs: it may be kept."""
        return {
            "kind": self.kind,
            "job": dict(self.job),
            "inputs": [
                {"channel": i.channel, "uri": i.uri, "identity": i.identity, "files": list(i.files)}
                for i in self.inputs
            ],
            "code_sha256": self.code_sha256,
            "max_runtime_s": self.max_runtime_s,
            "max_wait_s": self.max_wait_s,
            "candidates": [asdict(machine) for machine in self.candidates],
            "tags": dict(self.tags),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JobSpec:
        """What :meth:`to_dict` gave; other fields are left out."""
        inputs = tuple(JobInput(**{**entry, "files": tuple(entry["files"])}) for entry in data["inputs"])
        return cls(
            kind=data["kind"],
            job=data["job"],
            inputs=inputs,
            code_sha256=data["code_sha256"],
            max_runtime_s=data["max_runtime_s"],
            max_wait_s=data["max_wait_s"],
            candidates=tuple(Machine(**machine) for machine in data["candidates"]),
            tags=data["tags"],
        )


def job_name(slug: str, identity: Sequence[str], attempt: int = 1, limit: int = 63) -> str:
    """The name we choose for a job before anybody else can: same identity, same name.

    :param slug: words for people, cut to what fits.
    :param identity: DAG, run, task, own map key and fingerprint.
    :param attempt: grows only past a failed or stopped job of that name.
    :param limit: the shortest limit of its kind (32 for SageMaker tuning).
    """
    digest = hashlib.sha256("\x1f".join(identity).encode()).hexdigest()[:12]
    suffix = f"-{digest}" + (f"-r{attempt}" if attempt > 1 else "")
    words = re.sub(r"[^a-z0-9]+", "-", slug.lower()).strip("-")[: limit - len(suffix)].rstrip("-")
    return words + suffix


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job on a platform; JSON-safe, so that it can cross processes."""

    platform: str
    name: str

    def to_dict(self) -> dict[str, str]:
        """As a trigger or the task state store carries it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """Where a job stands. ``seconds`` is wall time since its start, ``submitted_at`` is of the epoch."""

    state: JobState
    failure: Failure | None = None
    reason: str = ""
    seconds: float = 0.0
    submitted_at: float = 0.0


@dataclass(frozen=True, slots=True)
class TaggedJob:
    """A job as :meth:`Platform.find` finds it."""

    ref: JobRef
    tags: Mapping[str, str]
    status: JobStatus
    max_runtime_s: int
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Whole new lines of a job's log, and where to go on."""

    lines: tuple[str, ...]
    position: int


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job that has ended left behind.

    :param output_uri: folder with the outputs of the job contract, complete when the job succeeded.
    :param seconds: wall time; ``billable_seconds`` is what is paid for, ``cost_usd`` how much.
    :param saved_usd: what it would have cost besides, had its machines not been spot.
    """

    output_uri: str
    seconds: float
    billable_seconds: float = 0.0
    cost_usd: float = 0.0
    saved_usd: float = 0.0


def error_of(ref: JobRef, status: JobStatus | None, *, timed_out: bool = False) -> JobError | None:
    """The one judgement of a job's end, for sync and deferred, for every verb; None when it succeeded.

    :param status: None where the platform knows no job of that name any more.
    """
    if status is None:
        return JobLost(f"job {ref.name} is gone from {ref.platform}: nobody knows how it ended")
    if timed_out and status.state not in (JobState.SUCCEEDED, JobState.FAILED):
        return JobTimedOut(f"job {ref.name} on {ref.platform} passed its deadline and was stopped")
    if status.state is JobState.SUCCEEDED:
        return None
    if status.state is JobState.STOPPED:
        return JobStopped(
            f"job {ref.name} on {ref.platform} was stopped: {status.reason or 'no reason given'}"
        )
    if status.state is JobState.FAILED:
        kind = _ERRORS[status.failure or Failure.USER_CODE]
        return kind(f"job {ref.name} on {ref.platform} failed: {status.reason or 'no reason given'}")
    return JobError(f"job {ref.name} on {ref.platform} is {status.state}, but waiting for it is over")


class Platform(ABC):
    """A place where jobs run. Submitting is get-or-create by a name that the caller chose."""

    name: str
    poll_s: float = 0.25
    """Seconds between two looks at a job; what a look costs decides."""
    end_s: float = 150.0
    """Seconds that a job may take to end once it was asked to."""
    late_s: float = 0.0
    """Seconds after a job's time is up in which the platform says so itself."""

    def name_limit(self, kind: str) -> int:
        """Characters that the name of a job of this kind may have."""
        return 63

    def what_runs(self, kind: str) -> str:
        """What the result depends on beside the specification, e.g. the image; part of a job's identity."""
        return ""

    @abstractmethod
    def submit(self, spec: JobSpec, name: str) -> JobRef:
        """Start the job, unless one of that name exists: then that one is meant.

        :raises CapacityUnavailable: when ``spec.machine`` cannot be had now; there is no job then.
        :raises PlatformUnavailable: when the platform does not answer; there may be a job or not.
        """

    @abstractmethod
    def status(self, ref: JobRef) -> JobStatus | None:
        """Where the job stands, or None where no job of that name was ever submitted."""

    @abstractmethod
    def stop(self, ref: JobRef, reason: str = "asked to stop") -> None:
        """Ask the job to end; a job that has ended, or never was, is left as it is."""

    @abstractmethod
    def logs(self, ref: JobRef, position: int = 0) -> LogChunk:
        """Whole lines of the job's log from ``position`` on."""

    @abstractmethod
    def result(self, ref: JobRef) -> JobResult:
        """What a job that has ended left behind."""

    @abstractmethod
    def fetch(self, uri: str) -> Path:
        """The folder behind an ``output_uri`` of this platform, on this machine; not to be changed.

        :raises PlatformUnavailable: when its store does not answer.
        """

    @abstractmethod
    def submitted(self, ref: JobRef) -> JobSpec | None:
        """What the job was told to do, without sign-in options; None where nobody knows any more."""

    @abstractmethod
    def find(self, tags: Mapping[str, str], *, live: bool = False) -> list[TaggedJob]:
        """Jobs that carry all of ``tags``; with ``live`` only those that have not ended."""

    def last_lines(self, ref: JobRef, count: int) -> tuple[str, ...]:
        """The end of the job's log."""
        return self.logs(ref).lines[-count:]

    def console_url(self, ref: JobRef) -> str | None:
        """Where a person can look at the job."""
        return None

    async def status_async(self, ref: JobRef) -> JobStatus | None:
        """:meth:`status`, without holding up the triggerer's event loop."""
        return await asyncio.to_thread(self.status, ref)

    async def stop_async(self, ref: JobRef, reason: str = "asked to stop") -> None:
        """:meth:`stop`, without holding up the triggerer's event loop."""
        await asyncio.to_thread(self.stop, ref, reason)

    async def logs_async(self, ref: JobRef, position: int = 0) -> LogChunk:
        """:meth:`logs`, without holding up the triggerer's event loop."""
        return await asyncio.to_thread(self.logs, ref, position)
