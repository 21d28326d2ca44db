"""The words for where a training job is, as AWS writes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.records import Record

__all__ = ["LIVE", "MESSAGES", "transition"]

LIVE = ("InProgress", "Stopping")

MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading the training image and the input data",
    "Training": "Training image download completed. Training in progress.",
    "Interrupted": "The job stopped because the managed spot training instances were interrupted.",
    "Restarting": "The job restarts after an internal server error.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "The job stopped because it exceeded its maximum runtime.",
    "MaxWaitTimeExceeded": "The job stopped because it exceeded the maximum allowed wait time.",
}
# A status that the secondary status brings with it; any other leaves it as it is.
_BRINGS = {
    "Completed": "Completed", "Failed": "Failed", "Stopped": "Stopped", "Stopping": "Stopping",
    "MaxRuntimeExceeded": "Stopped", "MaxWaitTimeExceeded": "Stopped",
}  # fmt: skip


def transition(cloud: Cloud, job: Record, secondary: str, message: str = "", **shown: object) -> None:
    """Move a training job on; the step before ends when this one begins."""
    with job.lock:
        now = time.time()
        past = [dict(step) for step in job.shown["SecondaryStatusTransitions"]]
        if past:
            past[-1].setdefault("EndTime", now)
        step = {"Status": secondary, "StartTime": now, "StatusMessage": message or MESSAGES[secondary]}
        status = _BRINGS.get(secondary, job.shown["TrainingJobStatus"])
        if status not in LIVE:
            step["EndTime"] = now
        cloud.records.change(
            job,
            **shown,
            SecondaryStatus=secondary,
            TrainingJobStatus=status,
            SecondaryStatusTransitions=[*past, step],
        )
