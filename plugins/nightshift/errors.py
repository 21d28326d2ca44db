"""The whole error tree: what went wrong, with what, where, and what to do about it.

::

    NightshiftError
    ├── ConfigError                a pipeline file, a setting or a parameter is wrong
    ├── PartitionKeyError          no partition key, or one that is not a date of the pipeline
    ├── SourceError                a landed partition cannot be taken as it is
    │   ├── PartitionAbsent        nothing has landed there
    │   ├── PartitionIncomplete    landed, but no marker yet (half-written)
    │   ├── PartitionCorrupt       empty, truncated, not UTF-8, unreadable
    │   └── SchemaMismatch         extra, missing or retyped columns
    ├── LakeError                  the lake refuses or disagrees with itself
    │   ├── CommitConflict         other writers won every bounded try
    │   └── AccountingError        counts that must be equal are not
    ├── BackfillFailed             some partitions of a range are not good at its end
    ├── BackfillInterrupted        its worker was asked to stop; what is done is done
    ├── ValidationFailed           a partition is blocked by its suite or its quarantine budget
    ├── StorageUnavailable         object store, network, throttling: a retry may cure it
    ├── JobError                   a job did not end as asked
    │   ├── JobFailed              the user's code failed: a retry would fail again
    │   ├── JobStopped             somebody stopped it
    │   ├── JobLost                its host died under it, or nobody knows it any more
    │   ├── JobInterrupted         its spot machine was taken away
    │   ├── TaskInterrupted        the worker has to go, the job goes on
    │   ├── JobTimedOut            past its deadline
    │   ├── CapacityUnavailable    no machine of that kind now
    │   ├── QuotaExceeded          the account may not have one
    │   └── PlatformUnavailable    throttling, network, 5xx: wait and go on
    ├── DeploymentFailed           an endpoint does not take a release; it serves what it served before
    └── RegistryError              MLflow or the champion refuses or disagrees
        ├── ModelVersionAbsent     no such version, its files are gone, or no champion yet
        ├── AliasMoved             another writer set the same alias at the same moment
        ├── LedgerConflict         another decision came first
        └── LedgerBroken           an entry of the ledger is gone or was changed

Whether a retry can cure an error is a property of its class (``retryable``); the operators turn it
into Airflow's retry decision in one place, ``nightshift.operators.base.retry_policy``.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AccountingError",
    "AliasMoved",
    "BackfillFailed",
    "BackfillInterrupted",
    "CapacityUnavailable",
    "CommitConflict",
    "ConfigError",
    "DeploymentFailed",
    "JobError",
    "JobFailed",
    "JobInterrupted",
    "JobLost",
    "JobStopped",
    "JobTimedOut",
    "LakeError",
    "LedgerBroken",
    "LedgerConflict",
    "ModelVersionAbsent",
    "NightshiftError",
    "PartitionAbsent",
    "PartitionCorrupt",
    "PartitionIncomplete",
    "PartitionKeyError",
    "PlatformUnavailable",
    "QuotaExceeded",
    "RegistryError",
    "SchemaMismatch",
    "SourceError",
    "StorageUnavailable",
    "TaskInterrupted",
    "ValidationFailed",
]


class NightshiftError(Exception):
    """Base of every error of ours.

    :param what: the thing and what is wrong with it, e.g. ``"flights.csv of 2013-01-05 is empty"``.
    :param fix: what the reader should do; shown after the reason.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what if not fix else f"{what}. To fix: {fix}")
        self.what = what
        self.fix = fix


class ConfigError(NightshiftError):
    """A pipeline file, a setting or a parameter is wrong."""


class PartitionKeyError(NightshiftError):
    """A run has no partition key, or one that is not a partition of its pipeline."""


class SourceError(NightshiftError):
    """A landed partition cannot be taken as it is; the lake was left as it was."""


class PartitionAbsent(SourceError):
    """Nothing has landed for the partition."""

    retryable = True


class PartitionIncomplete(SourceError):
    """Files have landed, their marker has not: the writer is not done."""

    retryable = True


class PartitionCorrupt(SourceError):
    """A landed file is empty, truncated, not UTF-8 or unreadable."""


class SchemaMismatch(SourceError):
    """A landed file has extra, missing or retyped columns."""


class LakeError(NightshiftError):
    """The lake refuses, or disagrees with itself."""


class CommitConflict(LakeError):
    """Other writers won every one of a bounded number of tries."""

    retryable = True


class AccountingError(LakeError):
    """Counts that must be equal are not."""


class BackfillFailed(NightshiftError):
    """A backfill ended, and some of its partitions are not good."""


class BackfillInterrupted(NightshiftError):
    """A chunk was asked to stop between two partitions; what it had done stays done."""

    retryable = True


class ValidationFailed(NightshiftError):
    """A partition is blocked by its suite or by its quarantine budget.

    :param summary: the validation's summary (JSON-safe, under 4 KB), which alerts show.
    """

    def __init__(self, what: str, *, fix: str = "", summary: dict[str, Any] | None = None) -> None:
        super().__init__(what, fix=fix)
        self.summary: dict[str, Any] = summary or {}


class StorageUnavailable(NightshiftError):
    """Object store, network or throttling trouble."""

    retryable = True


class JobError(NightshiftError):
    """A job did not end as it was asked to."""


class JobFailed(JobError):
    """The job's own code failed; the same code on the same data would fail again."""


class JobStopped(JobError):
    """Somebody stopped the job."""


class JobLost(JobError):
    """The job's host died under it."""

    retryable = True


class JobInterrupted(JobError):
    """The platform took the machine away (spot); the next job goes on from the checkpoint."""

    retryable = True


class JobTimedOut(JobError):
    """The job passed its deadline and was stopped."""


class TaskInterrupted(JobError):
    """The worker has to go, the job goes on; the next try finds it."""

    retryable = True


class CapacityUnavailable(JobError):
    """The platform has no machine of the asked kind now."""

    retryable = True


class QuotaExceeded(JobError):
    """The account may not have a machine of the asked kind."""


class PlatformUnavailable(JobError):
    """The platform throttles, or cannot be reached."""

    retryable = True


class DeploymentFailed(NightshiftError):
    """An endpoint does not take a release, or answers otherwise than the batch predictions say."""


class RegistryError(NightshiftError):
    """MLflow cannot be reached, or the registry disagrees with itself."""

    retryable = True


class ModelVersionAbsent(RegistryError):
    """There is no such version, its files are gone, or there is no champion yet."""

    retryable = False


class AliasMoved(RegistryError):
    """Another writer set the same alias at the same moment."""


class LedgerConflict(RegistryError):
    """Another decision came first; nothing was written."""


class LedgerBroken(RegistryError):
    """An entry of the ledger is gone, was changed, or cannot be read."""

    retryable = False
