"""What is asked of SageMaker: held by golden files, and by botocore's own model of the service."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import ParamValidator

from localcloud.aws.model import operation_model, violations
from nightshift.errors import ConfigError
from nightshift.platforms.base import Machine
from nightshift.platforms.sagemaker.channels import folder_channel, manifest_channel
from nightshift.platforms.sagemaker.config import SageMakerConfig
from nightshift.platforms.sagemaker.machines import choose
from nightshift.platforms.sagemaker.prices import read_prices
from nightshift.platforms.sagemaker.requests import (
    Order,
    model_request,
    training_request,
    transform_request,
)
from nightshift.platforms.sagemaker.tags import aws_tags
from nightshift.platforms.sagemaker.tuning import tuning_request
from tests.fakes.golden import WRITE, same_as_golden

GOLDEN = Path(__file__).parent / "golden" / "sagemaker"
REGION = "eu-central-1"
PRICES = read_prices("", "us-east-1")

PLAIN = SageMakerConfig(
    role_arn="arn:aws:iam::123456789012:role/nightshift-jobs",
    jobs_uri="s3://nightshift-jobs/prod",
    image="123456789012.dkr.ecr.eu-central-1.amazonaws.com/nightshift-jobs:1",
)
EVERYTHING = SageMakerConfig(
    **{
        **PLAIN.model_dump(),
        "serve_image": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/nightshift-serve:1",
        "kms_key_id": "arn:aws:kms:eu-central-1:123456789012:key/0aa8ae23-9c4f-4a3e-9d4b-7f3c7f3c7f3c",
        "subnets": "subnet-0a1b2c3d, subnet-1a1b2c3d",
        "security_group_ids": "sg-0a1b2c3d",
        "network_isolation": True,
        "encrypt_traffic": True,
        "volume_gib": 100,
        "keep_alive_s": 600,
        "retry_attempts": 5,
        "debugger_image": "482524230118.dkr.ecr.eu-central-1.amazonaws.com/sagemaker-debugger-rules:latest",
        "debugger_rules": "LossNotDecreasing, Overfit",
        "profiler": True,
        "tags": "cost-centre=ml, owner=flights",
    }
)
SCRIPT = PLAIN.model_copy(update={"script_mode": True, "retry_attempts": 0})

TAGS = {
    "deployment": "prod",
    "pipeline": "flight_delays",
    "partition": "2013-01-05",
    "dag": "flight_delays_retrain",
    "run": "scheduled__2013-01-05T00:00:00+00:00",
    "task": "train",
    "map_index": "-1",
    "fingerprint": "ab" * 32,
}
CHANNELS = (
    folder_channel("spec", "s3://nightshift-jobs/prod/x/job"),
    folder_channel("code", "s3://nightshift-jobs/prod/.code/0123"),
    manifest_channel("clean", "s3://nightshift-jobs/prod/x/channels/clean.manifest"),
    folder_channel("models/champion", "s3://nightshift-jobs/prod/.inputs/4567"),
)
SPACE = {
    "learning_rate": {"type": "float", "low": 1e-05, "high": 0.3, "log": True},
    "max_leaf_nodes": {"type": "int", "low": 7, "high": 255, "log": False},
    "class_weight": {"type": "categorical", "choices": ["balanced", True, 3, 0.5]},
    "warm_up": {"type": "int", "low": 4, "high": 4, "log": False},
}
DOCUMENT = {
    "model": "hist_gradient_boosting",
    "seed": 20130105,
    "hyperparameters": {"max_iter": 200},
    "tuning": {
        "search_space": SPACE,
        "metric": "average_precision",
        "trials": 12,
        "parallelism": 3,
        "pruning": True,
        "strategy": "bayesian",
        "warm_start": False,
    },
}


def order(kind: str = "train", name: str = "flight-delays-train-0123456789ab", **machine: Any) -> Order:
    fleet = choose(Machine(**machine), PRICES, transform=kind == "score")
    return Order(name, name, kind, fleet, ".code/0123", CHANNELS, 3600, 600, TAGS)


def search(**changes: Any) -> dict[str, Any]:
    return {**DOCUMENT, "tuning": {**DOCUMENT["tuning"], **changes}}  # type: ignore[dict-item]


def tune(config: SageMakerConfig, document: dict[str, Any], parent: str | None = None) -> dict[str, Any]:
    return tuning_request(config, REGION, order("tune", "flight-delays-tu-0123456789ab"), document, parent)


def transform(config: SageMakerConfig, **machine: Any) -> dict[str, Any]:
    features = "s3://nightshift-jobs/prod/x-f/output/model/features"
    return transform_request(
        config, order("score", **machine), features, "s3://nightshift-jobs/prod/x/transform"
    )


def model(config: SageMakerConfig) -> dict[str, Any]:
    package = "s3://nightshift-jobs/prod/.models/89ab/model.tar.gz"
    return model_request(config, "flight-delays-score-0123456789ab", package, aws_tags(TAGS, config.tags))


Render = Callable[[], dict[str, Any]]
REQUESTS: dict[str, tuple[str, Render]] = {
    "train": ("CreateTrainingJob", lambda: training_request(PLAIN, REGION, order())),
    "train-everything": (
        "CreateTrainingJob",
        lambda: training_request(EVERYTHING, REGION, order(cpus=8, memory_gib=30)),
    ),
    "train-script-mode": ("CreateTrainingJob", lambda: training_request(SCRIPT, REGION, order())),
    "train-script-mode-isolated": (
        "CreateTrainingJob",
        lambda: training_request(SCRIPT.model_copy(update={"network_isolation": True}), REGION, order()),
    ),
    "train-gpus-spot": (
        "CreateTrainingJob",
        lambda: training_request(EVERYTHING, REGION, order(gpus=4, instances=2, spot=True)),
    ),
    "evaluate": ("CreateTrainingJob", lambda: training_request(PLAIN, REGION, order("evaluate"))),
    "features": ("CreateTrainingJob", lambda: training_request(PLAIN, REGION, order("features"))),
    "tune": ("CreateHyperParameterTuningJob", lambda: tune(PLAIN, search())),
    "tune-everything-warm": (
        "CreateHyperParameterTuningJob",
        lambda: tune(EVERYTHING, search(metric="log_loss"), "flight-delays-tu-ba9876543210"),
    ),
    "tune-random": (
        "CreateHyperParameterTuningJob",
        lambda: tune(SCRIPT, search(strategy="random", pruning=False)),
    ),
    "tune-hyperband": ("CreateHyperParameterTuningJob", lambda: tune(PLAIN, search(strategy="hyperband"))),
    "model": ("CreateModel", lambda: model(PLAIN)),
    "model-everything": ("CreateModel", lambda: model(EVERYTHING)),
    "transform": ("CreateTransformJob", lambda: transform(PLAIN)),
    "transform-everything": ("CreateTransformJob", lambda: transform(EVERYTHING, instances=2)),
    "transform-gpu": ("CreateTransformJob", lambda: transform(EVERYTHING, gpus=1)),
}


def problems(operation: str, request: dict[str, Any]) -> list[str]:
    """What SageMaker would turn down: botocore's own check, then lengths, patterns and enumerations."""
    found = operation_model("sagemaker", operation)
    assert found is not None
    report = ParamValidator().validate(request, found.input_shape)
    return [*report.generate_report().splitlines(), *violations(found.input_shape, request)]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_what_its_golden_file_says(name: str) -> None:
    assert same_as_golden(GOLDEN / f"{name}.json", REQUESTS[name][1]()), (
        f"{name}.json differs: run with {WRITE}=1 and look at the diff"
    )


@pytest.mark.parametrize("name", REQUESTS)
def test_sagemaker_would_take_the_request(name: str) -> None:
    operation, render = REQUESTS[name]
    assert problems(operation, render()) == []


def test_there_is_no_golden_file_without_a_request() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(REQUESTS)


def _renamed(request: dict[str, Any]) -> None:
    request["StoppingConditions"] = request.pop("StoppingCondition")


def _mistyped(request: dict[str, Any]) -> None:
    request["ResourceConfig"]["InstanceCount"] = "1"


def _misspelt_within(request: dict[str, Any]) -> None:
    request["ResourceConfig"]["VolumeSizeInGb"] = request["ResourceConfig"].pop("VolumeSizeInGB")


def _of_no_type(request: dict[str, Any]) -> None:
    request["ResourceConfig"]["InstanceType"] = "ml.m5.huge"


def _too_long(request: dict[str, Any]) -> None:
    request["TrainingJobName"] = "x" * 64


def _underscored(request: dict[str, Any]) -> None:
    request["TrainingJobName"] = "flight_delays"


def _strange_tag(request: dict[str, Any]) -> None:
    request["Tags"][0]["Value"] = "50 % of it"


@pytest.mark.parametrize(
    "spoil",
    [_renamed, _mistyped, _misspelt_within, _of_no_type, _too_long, _underscored, _strange_tag],
    ids=lambda spoil: spoil.__name__.strip("_"),
)
def test_a_mistake_in_a_request_is_found(spoil: Callable[[dict[str, Any]], None]) -> None:
    request = copy.deepcopy(REQUESTS["train-everything"][1]())
    spoil(request)
    assert problems("CreateTrainingJob", request)


def test_everything_that_can_be_set_is_in_some_request() -> None:
    """A setting that nobody renders would be a promise that nobody keeps."""
    ours_alone = {"poll_s", "late_s", "prices", "monitor_image"}
    one_by_one = {
        "script_mode": True,
        "serve_image": "other:1",
        "kms_key_id": "key",
        "network_isolation": True,
        "encrypt_traffic": True,
        "volume_gib": 7,
        "keep_alive_s": 60,
        "retry_attempts": 9,
        "profiler": True,
        "tags": {"a": "b"},
        "max_concurrent_transforms": 7,
        "role_arn": "arn:aws:iam::123456789012:role/other",
        "jobs_uri": "s3://other",
        "image": "other:2",
    }
    together = {"subnets", "security_group_ids", "debugger_image", "debugger_rules"}
    assert set(SageMakerConfig.model_fields) == ours_alone | set(one_by_one) | together

    def rendered(config: SageMakerConfig) -> list[dict[str, Any]]:
        return [training_request(config, REGION, order()), model(config), transform(config)]

    base = PLAIN.model_copy(update={"serve_image": "serve:1"})
    for name, value in one_by_one.items():
        assert rendered(base.model_copy(update={name: value})) != rendered(base), name


def test_the_longest_wait_of_a_spot_job_is_never_shorter_than_its_runtime() -> None:
    spot = replace(order(spot=True), max_runtime_s=7200, max_wait_s=0)
    stopping = training_request(PLAIN, REGION, spot)["StoppingCondition"]
    assert stopping["MaxWaitTimeInSeconds"] >= stopping["MaxRuntimeInSeconds"] == 7200


def test_attempts_of_a_job_share_their_checkpoints() -> None:
    places = {
        training_request(PLAIN, REGION, order(name=name))["CheckpointConfig"]["S3Uri"]
        for name in ("flight-delays-train-0123456789ab", "flight-delays-train-0123456789ab-r2")
    }
    assert places == {"s3://nightshift-jobs/prod/.checkpoints/flight-delays-train-0123456789ab/"}


def test_a_volume_key_is_not_given_where_instances_bring_their_own_disk() -> None:
    resources = training_request(EVERYTHING, REGION, order(gpus=1))["ResourceConfig"]
    assert "VolumeKmsKeyId" not in resources


def test_hyperband_without_a_longest_trial_is_refused() -> None:
    document = {**search(strategy="hyperband"), "hyperparameters": {}}
    with pytest.raises(ConfigError, match="max_iter"):
        tune(PLAIN, document)
