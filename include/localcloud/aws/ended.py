"""How jobs end: by their own work, by an error, or with the server that ran them."""

from __future__ import annotations

import traceback
from contextlib import nullcontext
from typing import TYPE_CHECKING

from localcloud.aws.cloud import Closing
from localcloud.aws.errors import JobError
from localcloud.aws.status import LIVE, transition

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcloud.aws.cloud import Cloud
    from localcloud.aws.records import Record

__all__ = ["INTERNAL", "bury", "outcome"]

INTERNAL = "InternalServerError: We encountered an internal error. Please try again."

# Kind of a record, and the member that tells its status.
_STATUS = {
    "training-job": "TrainingJobStatus",
    "hyper-parameter-tuning-job": "HyperParameterTuningJobStatus",
    "transform-job": "TransformJobStatus",
    "processing-job": "ProcessingJobStatus",
}


def bury(cloud: Cloud) -> None:
    """Fail the jobs that the last server left running, as a broken instance does it on AWS."""
    for kind, status in _STATUS.items():
        for record in cloud.records.all(kind):
            if record.shown[status] in LIVE:
                _fail(cloud, record, status)
            record.done.set()


def _fail(cloud: Cloud, record: Record, status: str) -> None:
    if record.kind == "training-job":
        transition(cloud, record, "Failed", FailureReason=INTERNAL)
    else:
        cloud.records.change(record, **{status: "Failed", "FailureReason": INTERNAL})


def outcome(cloud: Cloud, record: Record, work: Callable[[], str], *, waits: bool = True) -> tuple[str, str]:
    """The status that a job ends with, and why it failed if it did.

    :param waits: whether the job needs one of the places for jobs that run at once.
    :raises Closing: when the server goes away; the record stays as it is.
    """
    try:
        with cloud.slot(record) if waits else nullcontext(True) as granted:
            return (work() if granted else "Stopped"), ""
    except JobError as error:
        return "Failed", error.reason
    except Closing:
        raise
    except Exception as error:
        if cloud.closing.is_set():
            raise Closing from error
        traceback.print_exception(error)
        return "Failed", f"{INTERNAL} ({type(error).__name__}: {error})"[:1024]
