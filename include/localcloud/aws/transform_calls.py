"""Create, Describe, Stop and List of batch transform jobs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import in_use, refused, validation
from localcloud.aws.inputs import check_inputs
from localcloud.aws.listing import summaries
from localcloud.aws.model import echo
from localcloud.aws.models import container_of, find_model
from localcloud.aws.operations import operation
from localcloud.aws.records import Record
from localcloud.aws.status import LIVE
from localcloud.aws.tags import tags_of
from localcloud.aws.transform import run_transform

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud

__all__ = ["KIND"]

KIND = "transform-job"
_MOST_MB = 100


@operation("sagemaker", "CreateTransformJob")
def create(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Start a transform job over a model."""
    model = find_model(cloud, request["ModelName"])
    _check(model, request)
    check_inputs(cloud, [request["TransformInput"]], model.request.get("ExecutionRoleArn", ""))
    shown = {
        **echo(request, "sagemaker", "DescribeTransformJob"),
        "TransformJobStatus": "InProgress",
        "CreationTime": time.time(),
    }
    job = Record(KIND, request["TransformJobName"], request, shown, tags_of(request))
    job.shown["TransformJobArn"] = job.arn
    cloud.records.add(job, taken=taken)
    cloud.run(job, run_transform)
    return {"TransformJobArn": job.arn}


def taken(there: Record) -> Exception:
    """The answer to a second job of one name."""
    return in_use(
        "Job name must be unique within an AWS account and region, and a job with this name already exists "
        f"({there.arn})"
    )


def _check(model: Record, request: dict[str, Any]) -> None:
    if "DataProcessing" in request:
        raise refused("DataProcessing of a transform job")
    if request["TransformInput"].get("SplitType", "None") not in ("None", "Line"):
        raise refused(f"SplitType {request['TransformInput']['SplitType']}")
    payload = request.get("MaxPayloadInMB", 6) * request.get("MaxConcurrentTransforms", 0)
    if payload > _MOST_MB:
        raise validation(f"MaxConcurrentTransforms * MaxPayloadInMB must not exceed {_MOST_MB} MB.")
    source = container_of(model).get("ModelDataSource", {}).get("S3DataSource", {})
    if source.get("CompressionType") == "None":
        raise validation("Batch transform does not support models with uncompressed ModelDataSource.")


@operation("sagemaker", "DescribeTransformJob")
def describe(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """All that is known of a transform job."""
    return _job(cloud, request).shown


@operation("sagemaker", "StopTransformJob")
def stop(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Ask a transform job to end."""
    job = _job(cloud, request)
    with job.lock:
        status = job.shown["TransformJobStatus"]
        if status not in LIVE:
            raise validation(f"The request was rejected because the transform job is in status {status}.")
        cloud.records.change(job, TransformJobStatus="Stopping")
        job.stop.set()
    return {}


@operation("sagemaker", "ListTransformJobs")
def list_(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Transform jobs, newest first."""
    keys = (
        "TransformJobName", "TransformJobArn", "CreationTime", "TransformEndTime", "TransformJobStatus",
        "FailureReason",
    )  # fmt: skip

    def summary(job: Record) -> dict[str, Any]:
        return {key: job.shown[key] for key in keys if key in job.shown}

    jobs = cloud.records.all(KIND)
    return summaries(
        jobs, request, "TransformJobSummaries", summary, status="TransformJobStatus", name="TransformJobName"
    )


def _job(cloud: Cloud, request: dict[str, Any]) -> Record:
    job = cloud.records.find(KIND, request["TransformJobName"])
    if job is None:
        raise validation(f"Could not find requested job with name: {request['TransformJobName']}")
    return job
