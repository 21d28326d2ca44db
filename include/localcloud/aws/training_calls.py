"""Create, Describe, Stop and List of training jobs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import AwsError, in_use, refused, validation
from localcloud.aws.inputs import check_inputs
from localcloud.aws.listing import summaries
from localcloud.aws.model import echo
from localcloud.aws.operations import operation
from localcloud.aws.records import Record
from localcloud.aws.roles import check_role
from localcloud.aws.status import LIVE, transition
from localcloud.aws.tags import tags_of
from localcloud.aws.training import run_training

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud

__all__ = ["KIND", "create", "start_training", "stop_record"]

KIND = "training-job"
_DAY_S = 86400


@operation("sagemaker", "CreateTrainingJob")
def create(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Start a training job."""
    return {"TrainingJobArn": start_training(cloud, request).arn}


def start_training(
    cloud: Cloud, request: dict[str, Any], state: dict[str, Any] | None = None, **more: Any
) -> Record:
    """Check a request for a training job, remember it and start it; ``more`` is shown besides.

    :raises AwsError: for what AWS turns down at once.
    """
    _check(request)
    check_role(request["RoleArn"])
    check_inputs(cloud, request.get("InputDataConfig", []), request["RoleArn"])
    shown = {**_shown(request), **more}
    job = Record(KIND, request["TrainingJobName"], request, shown, tags_of(request), state or {})
    job.shown["TrainingJobArn"] = job.arn
    cloud.records.add(job, taken=_taken)
    transition(cloud, job, "Starting")
    cloud.run(job, run_training)
    return job


def _taken(there: Record) -> AwsError:
    return in_use(
        "Training job names must be unique within an AWS account and region, and a training job with this "
        f"name already exists ({there.arn})"
    )


def _check(request: dict[str, Any]) -> None:
    """What the service knows beyond the shapes of its model."""
    for needed in ("AlgorithmSpecification", "ResourceConfig", "StoppingCondition"):
        if needed not in request:
            raise validation(f"{needed} must be given.")
    if "TrainingImage" not in request["AlgorithmSpecification"]:
        raise refused("AlgorithmSpecification without TrainingImage")
    resources = request["ResourceConfig"]
    if "InstanceCount" not in resources or "InstanceType" not in resources:
        raise refused("ResourceConfig without InstanceCount and InstanceType (instance groups)")
    _check_spot(request)


def _check_spot(request: dict[str, Any]) -> None:
    stopping = request["StoppingCondition"]
    wait = stopping.get("MaxWaitTimeInSeconds")
    if request.get("EnableManagedSpotTraining"):
        if wait is None or wait < stopping.get("MaxRuntimeInSeconds", _DAY_S):
            raise validation(
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
                "MaxRuntimeInSeconds when EnableManagedSpotTraining is set to true"
            )
    elif wait is not None:
        raise validation(
            "MaxWaitTimeInSeconds cannot be set when EnableManagedSpotTraining is not set to true"
        )


def _shown(request: dict[str, Any]) -> dict[str, Any]:
    """What Describe answers from the first moment on."""
    output = request["OutputDataConfig"]
    root = f"{output['S3OutputPath'].rstrip('/')}/{request['TrainingJobName']}/output"
    artifacts = f"{root}/model/" if output.get("CompressionType") == "NONE" else f"{root}/model.tar.gz"
    now = time.time()
    stopping = {"MaxRuntimeInSeconds": _DAY_S, **request["StoppingCondition"]}
    return {
        **echo(request, "sagemaker", "DescribeTrainingJob"),
        "StoppingCondition": stopping,
        "OutputDataConfig": {"CompressionType": "GZIP", **output},
        "ModelArtifacts": {"S3ModelArtifacts": artifacts},
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [],
        "CreationTime": now,
        "LastModifiedTime": now,
        **_debugger(request, now),
    }


def _debugger(request: dict[str, Any], now: float) -> dict[str, Any]:
    """Rules are taken but never said to have run: on AWS each is a job of an image of AWS's own."""
    rules = [
        {
            "RuleConfigurationName": rule["RuleConfigurationName"],
            "RuleEvaluationStatus": "Error",
            "StatusDetails": "the loopback AWS runs no debugger rules",
            "LastModifiedTime": now,
        }
        for rule in request.get("DebugRuleConfigurations", ())
    ]
    return {"DebugRuleEvaluationStatuses": rules} if rules else {}


@operation("sagemaker", "DescribeTrainingJob")
def describe(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """All that is known of a training job."""
    return _job(cloud, request).shown


@operation("sagemaker", "StopTrainingJob")
def stop(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Ask a training job to end."""
    stop_record(cloud, _job(cloud, request))
    return {}


def stop_record(cloud: Cloud, job: Record) -> None:
    """Ask a training job to end.

    :raises AwsError: when it has ended; asking twice changes nothing (assumed: AWS does not say).
    """
    with job.lock:
        status = job.shown["TrainingJobStatus"]
        if status not in LIVE:
            raise validation(f"The request was rejected because the training job is in status {status}.")
        if status == "InProgress":
            transition(cloud, job, "Stopping")
        job.stop.set()


@operation("sagemaker", "ListTrainingJobs")
def list_(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Training jobs, oldest first."""
    return summaries(
        cloud.records.all(KIND),
        request,
        "TrainingJobSummaries",
        _summary,
        status="TrainingJobStatus",
        name="TrainingJobName",
        order="Ascending",
    )


def _summary(job: Record) -> dict[str, Any]:
    keys = (
        "TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime", "LastModifiedTime",
        "TrainingJobStatus", "SecondaryStatus",
    )  # fmt: skip
    return {key: job.shown[key] for key in keys if key in job.shown}


def _job(cloud: Cloud, request: dict[str, Any]) -> Record:
    job = cloud.records.find(KIND, request["TrainingJobName"])
    if job is None:
        raise validation("Requested resource not found.")
    return job
