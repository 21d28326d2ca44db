"""Create, Describe, Stop and List of hyperparameter tuning jobs, and the list of their trials."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import AwsError, in_use, not_found, refused, validation
from localcloud.aws.inputs import check_inputs
from localcloud.aws.listing import page, summaries
from localcloud.aws.model import echo
from localcloud.aws.operations import operation
from localcloud.aws.records import Record
from localcloud.aws.roles import check_role
from localcloud.aws.status import LIVE
from localcloud.aws.tags import tags_of
from localcloud.aws.trials import summary_of, trials_of
from localcloud.aws.tuning import run_tuning

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud

__all__ = ["KIND"]

KIND = "hyper-parameter-tuning-job"
_NAME = "HyperParameterTuningJobName"
_STATUS = "HyperParameterTuningJobStatus"


@operation("sagemaker", "CreateHyperParameterTuningJob")
def create(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Start a tuning job."""
    _check(cloud, request)
    now = time.time()
    shown = {
        **echo(request, "sagemaker", "DescribeHyperParameterTuningJob"),
        _STATUS: "InProgress",
        "CreationTime": now,
        "LastModifiedTime": now,
        "TrainingJobStatusCounters": dict.fromkeys(
            ("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped"), 0
        ),
        "ObjectiveStatusCounters": dict.fromkeys(("Succeeded", "Pending", "Failed"), 0),
    }
    tuning = Record(KIND, request[_NAME], request, shown, tags_of(request))
    tuning.shown["HyperParameterTuningJobArn"] = tuning.arn
    cloud.records.add(tuning, taken=_taken)
    cloud.run(tuning, run_tuning)
    return {"HyperParameterTuningJobArn": tuning.arn}


def _taken(there: Record) -> AwsError:
    return in_use(
        f"A hyperparameter tuning job with the name, {there.name}, already exists. Choose a different name."
    )


def _check(cloud: Cloud, request: dict[str, Any]) -> None:
    """What AWS, or the loopback, turns down at once."""
    config = request["HyperParameterTuningJobConfig"]
    if "TrainingJobDefinition" not in request:
        raise refused("a tuning job without TrainingJobDefinition (several definitions)")
    if "MaxNumberOfTrainingJobs" not in config["ResourceLimits"]:
        raise refused("a tuning job without MaxNumberOfTrainingJobs")
    if config["Strategy"] == "Grid" or config.get("ParameterRanges", {}).get("AutoParameters"):
        raise refused("the strategy Grid, and AutoParameters")
    _check_objective(request, config)
    if config["Strategy"] == "Hyperband" and config.get("TrainingJobEarlyStoppingType") == "Auto":
        raise validation("TrainingJobEarlyStoppingType must be OFF for the Hyperband strategy.")
    for parent in request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", ()):
        found = _find(cloud, parent[_NAME])
        if found.shown[_STATUS] in LIVE:
            raise validation(f"The parent tuning job {parent[_NAME]} has not ended.")
    definition = request["TrainingJobDefinition"]
    if "ResourceConfig" not in definition:
        raise refused("a tuning job without ResourceConfig in its TrainingJobDefinition")
    check_role(definition["RoleArn"])
    check_inputs(cloud, definition.get("InputDataConfig", []), definition["RoleArn"])


def _check_objective(request: dict[str, Any], config: dict[str, Any]) -> None:
    """The objective must be among the metrics, or no trial could ever report it."""
    objective = config.get("HyperParameterTuningJobObjective")
    if objective is None:
        raise validation("HyperParameterTuningJobObjective must be given.")
    definitions = request["TrainingJobDefinition"]["AlgorithmSpecification"].get("MetricDefinitions", [])
    if objective["MetricName"] not in [one["Name"] for one in definitions]:
        raise validation(
            f"The objective metric for the hyperparameter tuning job, [{objective['MetricName']}], isn't "
            "valid. Choose a metric from MetricDefinitions."
        )


@operation("sagemaker", "DescribeHyperParameterTuningJob")
def describe(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """All that is known of a tuning job."""
    return _find(cloud, request[_NAME]).shown


@operation("sagemaker", "StopHyperParameterTuningJob")
def stop(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Ask a tuning job, and the trials that run, to end."""
    tuning = _find(cloud, request[_NAME])
    with tuning.lock:
        status = tuning.shown[_STATUS]
        if status not in LIVE:
            raise validation(f"The request was rejected because the tuning job is in status {status}.")
        cloud.records.change(tuning, **{_STATUS: "Stopping"})
        tuning.stop.set()
    return {}


@operation("sagemaker", "ListHyperParameterTuningJobs")
def list_(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Tuning jobs by name."""

    def summary(tuning: Record) -> dict[str, Any]:
        keys = (
            _NAME, "HyperParameterTuningJobArn", _STATUS, "CreationTime", "HyperParameterTuningEndTime",
            "LastModifiedTime", "TrainingJobStatusCounters", "ObjectiveStatusCounters",
        )  # fmt: skip
        config = tuning.request["HyperParameterTuningJobConfig"]
        shown = {key: tuning.shown[key] for key in keys if key in tuning.shown}
        return {**shown, "Strategy": config["Strategy"], "ResourceLimits": config["ResourceLimits"]}

    return summaries(
        cloud.records.all(KIND),
        request,
        "HyperParameterTuningJobSummaries",
        summary,
        status=_STATUS,
        name=_NAME,
        order="Ascending",
        by="Name",
    )


@operation("sagemaker", "ListTrainingJobsForHyperParameterTuningJob")
def list_trials(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """The trials of a tuning job."""
    _find(cloud, request[_NAME])
    found = [summary_of(trial) for trial in trials_of(cloud, request[_NAME])]
    wanted = request.get("StatusEquals")
    found = [one for one in found if wanted in (None, one["TrainingJobStatus"])]
    by = request.get("SortBy", "Name")
    if by == "FinalObjectiveMetricValue":
        found = [one for one in found if "FinalHyperParameterTuningJobObjectiveMetric" in one]
    found.sort(key=_SORTS[by], reverse=request.get("SortOrder") == "Descending")
    return page(found, request, "TrainingJobSummaries")


_SORTS = {
    "Name": lambda one: one["TrainingJobName"],
    "CreationTime": lambda one: one["CreationTime"],
    "Status": lambda one: one["TrainingJobStatus"],
    "FinalObjectiveMetricValue": lambda one: one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"],
}


def _find(cloud: Cloud, name: str) -> Record:
    tuning = cloud.records.find(KIND, name)
    if tuning is None:
        raise not_found(f"Amazon SageMaker can't find a tuning job with the name {name}.")
    return tuning
