"""The trials of a tuning job: the training jobs it starts, and what is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from localcloud.aws.status import LIVE
from localcloud.aws.training_calls import start_training

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.records import Record

__all__ = ["objective_of", "start_trial", "summary_of", "trials_of"]

# They mean the same in a training job and in the definition a tuning job has for its trials.
_SAME = (
    "AlgorithmSpecification", "RoleArn", "InputDataConfig", "VpcConfig", "OutputDataConfig", "ResourceConfig",
    "StoppingCondition", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining", "RetryStrategy", "Environment",
)  # fmt: skip


def start_trial(cloud: Cloud, tuning: Record, number: int, tuned: dict[str, str]) -> Record:
    """Start the training job of one trial, with the tags of its tuning job."""
    definition = tuning.request["TrainingJobDefinition"]
    objective = tuning.request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    name = f"{tuning.name}-{number:03d}-{uuid4().hex[:8]}"
    request = {
        **{key: definition[key] for key in _SAME if key in definition},
        "TrainingJobName": name,
        "HyperParameters": {
            **definition.get("StaticHyperParameters", {}),
            **tuned,
            "_tuning_objective_metric": objective["MetricName"],
        },
        "Tags": tuning.request.get("Tags", []),
    }
    if "CheckpointConfig" in definition:
        # Assumed: a folder for each trial, or they would overwrite each other's checkpoints.
        place = definition["CheckpointConfig"]
        request["CheckpointConfig"] = {**place, "S3Uri": f"{place['S3Uri'].rstrip('/')}/{name}"}
    state = {"tuning": tuning.name, "tuned": tuned, "objective": objective}
    return start_training(cloud, request, state, TuningJobArn=tuning.arn)


def trials_of(cloud: Cloud, tuning: str) -> list[Record]:
    """The trials of a tuning job, first one first."""
    return [job for job in cloud.records.all("training-job") if job.state.get("tuning") == tuning]


def summary_of(trial: Record) -> dict[str, Any]:
    """HyperParameterTrainingJobSummary."""
    keys = (
        "TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingStartTime", "TrainingEndTime",
        "TrainingJobStatus", "FailureReason",
    )  # fmt: skip
    shown = {key: trial.shown[key] for key in keys if key in trial.shown}
    shown["TunedHyperParameters"] = trial.state["tuned"]
    if trial.shown["TrainingJobStatus"] in LIVE:
        return {**shown, "ObjectiveStatus": "Pending"}
    value = objective_of(trial)
    if value is None:
        return {**shown, "ObjectiveStatus": "Failed"}
    final = {**trial.state["objective"], "Value": value}
    return {**shown, "ObjectiveStatus": "Succeeded", "FinalHyperParameterTuningJobObjectiveMetric": final}


def objective_of(trial: Record) -> float | None:
    """The last value of the objective of a trial that did not fail."""
    if trial.shown["TrainingJobStatus"] == "Failed":
        return None
    metric = trial.state["objective"]["MetricName"]
    found = [
        one["Value"] for one in trial.shown.get("FinalMetricDataList", ()) if one["MetricName"] == metric
    ]
    return float(found[0]) if found else None
