"""What is asked of AWS for an endpoint: held by golden files, and by botocore's own service models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import ParamValidator

from localcloud.aws.model import operation_model, violations
from nightshift.config.pipeline import EndpointConfig
from nightshift.platforms.endpoints import CHALLENGER, CHAMPION, EndpointSpec, Variant, endpoint_name
from nightshift.platforms.sagemaker import endpoint_requests as requests
from nightshift.platforms.sagemaker.config import SageMakerConfig
from nightshift.platforms.sagemaker.prices import InstanceType
from tests.fakes.golden import WRITE, same_as_golden

GOLDEN = Path(__file__).parent / "golden" / "endpoints"
NAME = endpoint_name("flight_delays", "prod")
ARN = f"arn:aws:sagemaker:eu-central-1:123456789012:endpoint/{NAME}"
REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"

PLAIN = SageMakerConfig(
    role_arn="arn:aws:iam::123456789012:role/nightshift-jobs",
    jobs_uri="s3://nightshift-jobs/prod",
    image=f"{REGISTRY}/nightshift-jobs:1",
    monitor_image=f"{REGISTRY}/sagemaker-model-monitor-analyzer:latest",
)
EVERYTHING = PLAIN.model_copy(
    update={
        "kms_key_id": "arn:aws:kms:eu-central-1:123456789012:key/0aa8ae23-9c4f-4a3e-9d4b-7f3c7f3c7f3c",
        "subnets": ("subnet-0a1b2c3d",),
        "security_group_ids": ("sg-0a1b2c3d",),
        "network_isolation": True,
        "encrypt_traffic": True,
        "tags": {"cost-centre": "ml"},
    }
)
TAGS = {"deployment": "prod", "pipeline": "flight_delays"}


def spec(**section: Any) -> EndpointSpec:
    return EndpointSpec(NAME, EndpointConfig(**section), TAGS)


SMALL = spec()
LARGE = spec(
    instances={"min": 2, "max": 6},
    autoscaling={"invocations_per_minute": 600, "scale_in_cooldown_s": 900},
    capture={"percentage": 20},
    monitoring={"cron": "0 5 * * *"},
    alarms={"errors_per_minute": 5, "latency_ms": 80.5},
    timeout_minutes=90,
)
SMALL_TYPE = InstanceType("ml.m5.large", cpus=2, memory_gib=8)
DISK_TYPE = InstanceType("ml.g5.xlarge", cpus=4, memory_gib=16, gpus=1, local_disk=True)
OLD, NEW = f"{NAME}-v11-0123456789ab", f"{NAME}-v12-ba9876543210"
ALONE = [Variant(CHAMPION, OLD, 1.0)]
BOTH = [Variant(CHAMPION, OLD, 1.0), Variant(CHALLENGER, NEW, 0.0)]
RELEASE = f"{NAME}-00112233aabb"
NOTES = {"stable": RELEASE, "owner": "2026-01-01T00:00:00.000000 dag run|1 task", "undo": "", "barred": ""}
LARGEST = {"MinCapacity": 2, "MaxCapacity": 6}

Render = Callable[[], dict[str, Any]]
REQUESTS: dict[str, tuple[str, str, Render]] = {
    "config": (
        "sagemaker",
        "CreateEndpointConfig",
        lambda: requests.endpoint_config(SMALL, PLAIN, ALONE, SMALL_TYPE),
    ),
    "config-everything": (
        "sagemaker",
        "CreateEndpointConfig",
        lambda: requests.endpoint_config(LARGE, EVERYTHING, BOTH, DISK_TYPE),
    ),
    "config-encrypted": (
        "sagemaker",
        "CreateEndpointConfig",
        lambda: requests.endpoint_config(LARGE, EVERYTHING, ALONE, SMALL_TYPE),
    ),
    "create": (
        "sagemaker",
        "CreateEndpoint",
        lambda: requests.create_endpoint(SMALL, EVERYTHING, RELEASE, NOTES),
    ),
    "update": ("sagemaker", "UpdateEndpoint", lambda: requests.update_endpoint(NAME, RELEASE, SMALL, PLAIN)),
    "update-guarded": (
        "sagemaker",
        "UpdateEndpoint",
        lambda: requests.update_endpoint(NAME, RELEASE, LARGE, PLAIN),
    ),
    "update-back": (
        "sagemaker",
        "UpdateEndpoint",
        lambda: requests.update_endpoint(NAME, RELEASE, None, PLAIN),
    ),
    "weights": (
        "sagemaker",
        "UpdateEndpointWeightsAndCapacities",
        lambda: requests.weights(NAME, {CHALLENGER: 0.1, CHAMPION: 0.9}),
    ),
    "schedule": (
        "sagemaker",
        "CreateMonitoringSchedule",
        lambda: requests.monitoring_schedule(LARGE, PLAIN),
    ),
    "schedule-everything": (
        "sagemaker",
        "CreateMonitoringSchedule",
        lambda: requests.monitoring_schedule(LARGE, EVERYTHING),
    ),
    "add-tags": ("sagemaker", "AddTags", lambda: requests.add_tags(ARN, NOTES)),
    "delete-tags": ("sagemaker", "DeleteTags", lambda: requests.delete_tags(ARN, NOTES)),
    "alarm-errors": ("cloudwatch", "PutMetricAlarm", lambda: requests.alarms(LARGE, EVERYTHING)[0]),
    "alarm-latency": ("cloudwatch", "PutMetricAlarm", lambda: requests.alarms(LARGE, EVERYTHING)[1]),
    "target": (
        "application-autoscaling",
        "RegisterScalableTarget",
        lambda: {**requests.scalable_target(NAME), **LARGEST},
    ),
    "policy": ("application-autoscaling", "PutScalingPolicy", lambda: requests.scaling_policy(LARGE)),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_what_its_golden_file_says(name: str) -> None:
    assert same_as_golden(GOLDEN / f"{name}.json", REQUESTS[name][2]()), (
        f"{name}.json differs: run with {WRITE}=1 and look at the diff"
    )


@pytest.mark.parametrize("name", REQUESTS)
def test_aws_would_take_the_request(name: str) -> None:
    service, operation, render = REQUESTS[name]
    found = operation_model(service, operation)
    assert found is not None
    request = render()
    report = ParamValidator().validate(request, found.input_shape).generate_report()
    assert [*report.splitlines(), *violations(found.input_shape, request)] == []


def test_there_is_no_golden_file_without_a_request() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(REQUESTS)


def test_a_configuration_is_named_by_what_it_says_and_not_by_its_tags() -> None:
    def name(*args: Any) -> str:
        return str(requests.endpoint_config(*args)["EndpointConfigName"])

    one = name(SMALL, PLAIN, ALONE, SMALL_TYPE)
    tagged = PLAIN.model_copy(update={"tags": {"cost-centre": "ml"}})
    assert name(SMALL, tagged, ALONE, SMALL_TYPE) == one
    others = {
        name(SMALL, PLAIN, BOTH, SMALL_TYPE),
        name(SMALL, PLAIN, ALONE, replace(SMALL_TYPE, name="ml.m5.xlarge")),
        name(spec(capture={}), PLAIN, ALONE, SMALL_TYPE),
    }
    assert len(others | {one}) == 4
    assert one.startswith(f"{NAME}-")
    assert len(one) <= 63


@pytest.mark.parametrize(
    ("cron", "expression"),
    [
        ("0 * * * *", "cron(0 * ? * * *)"),
        ("0 17 * * *", "cron(0 17 ? * * *)"),
        ("0 */6 * * *", "cron(0 0/6 ? * * *)"),
    ],
)
def test_a_cron_line_becomes_sagemakers(cron: str, expression: str) -> None:
    request = requests.monitoring_schedule(spec(capture={}, monitoring={"cron": cron}), PLAIN)
    assert request["MonitoringScheduleConfig"]["ScheduleConfig"]["ScheduleExpression"] == expression


def test_notes_come_back_out_of_tags_and_nothing_else_does() -> None:
    tags = [*requests.create_endpoint(SMALL, EVERYTHING, RELEASE, NOTES)["Tags"], {"Key": "a", "Value": "b"}]
    assert requests.notes_of(tags) == {
        "stable": RELEASE,
        "owner": "2026-01-01T00:00:00.000000 dag run_1 task",
    }


@pytest.mark.parametrize(("model", "version"), [(OLD, "11"), (NEW, "12"), ("somebody-elses", "")])
def test_a_models_name_tells_its_version(model: str, version: str) -> None:
    assert requests.version_of(model) == version


def test_an_endpoint_has_one_name_for_ever_and_a_deployment_its_own() -> None:
    assert endpoint_name("flight_delays", "prod") == NAME
    assert endpoint_name("flight_delays", "test") != NAME
    assert len(endpoint_name("x" * 41, "prod")) <= 40
