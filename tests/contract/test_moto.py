"""What the loopback AWS takes from moto, and what it replaces; another moto has to pass this first."""

from __future__ import annotations

import inspect
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.test import Client

if TYPE_CHECKING:
    from localcloud.aws import LoopbackAws

# Operations we answer because moto does not, or with jobs that never ran.
REPLACED = {
    "StopTrainingJob": {"TrainingJobName": "x"},
    "StopTransformJob": {"TransformJobName": "x"},
    "StopHyperParameterTuningJob": {"HyperParameterTuningJobName": "x"},
    "ListTrainingJobsForHyperParameterTuningJob": {"HyperParameterTuningJobName": "x"},
    "DeleteModelPackageGroup": {"ModelPackageGroupName": "x"},
}


@pytest.fixture(scope="module")
def moto() -> Client:
    """moto's server without ours in front."""
    return Client(DomainDispatcherApplication(create_backend_app))


def call(moto: Client, operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """A raw SageMaker call."""
    headers = {
        "X-Amz-Target": f"SageMaker.{operation}",
        "Authorization": "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/sagemaker/aws4_request",
    }
    answer = moto.post("/", data=json.dumps(request), headers=headers)
    return answer.status_code, json.loads(answer.get_data() or b"{}")


def test_moto_is_the_version_this_was_written_for() -> None:
    assert version("moto") == "5.2.5"


@pytest.mark.parametrize("operation", REPLACED)
def test_what_we_replace_is_still_missing(moto: Client, operation: str) -> None:
    with pytest.raises(NotImplementedError):
        call(moto, operation, REPLACED[operation])


def test_motos_own_training_jobs_are_born_completed(moto: Client) -> None:
    """Were that to change, ours might be unneeded."""
    request = {
        "TrainingJobName": "x",
        "RoleArn": "arn:aws:iam::123456789012:role/x",
        "AlgorithmSpecification": {"TrainingImage": "x", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://b/c"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    assert call(moto, "CreateTrainingJob", request)[0] == 200
    assert call(moto, "DescribeTrainingJob", {"TrainingJobName": "x"})[1]["TrainingJobStatus"] == "Completed"


def test_logs_can_be_written_and_filtered_in_process() -> None:
    from moto.logs.models import LogGroup, logs_backends

    store = logs_backends["123456789012"]["us-east-1"]
    assert list(inspect.signature(store.put_log_events).parameters) == [
        "log_group_name", "log_stream_name", "log_events",
    ]  # fmt: skip
    assert list(inspect.signature(LogGroup.filter_log_events).parameters)[1:] == [
        "log_group_name", "log_stream_names", "start_time", "end_time", "limit", "next_token",
        "filter_pattern", "interleaved",
    ]  # fmt: skip
    store.ensure_log_group("g")
    store.ensure_log_stream("g", "s/1")
    store.put_log_events("g", "s/1", [{"timestamp": 1_900_000_000_000, "message": "never kept: too new"}])
    assert list(store.groups["g"].streams) == ["s/1"]


def test_roles_and_model_package_groups_are_found_in_process() -> None:
    from moto.iam.models import iam_backends
    from moto.sagemaker.models import ModelPackageGroup, sagemaker_backends

    role = iam_backends["123456789012"]["aws"].create_role("r", '{"a": "b"}', "/", None, "", {}, 3600)
    assert (role.arn, role.assume_role_policy_document) == ("arn:aws:iam::123456789012:role/r", '{"a": "b"}')
    assert sagemaker_backends["123456789012"]["us-east-1"].model_package_groups == {}
    group = ModelPackageGroup("g", "", "123456789012", "us-east-1", [])
    wanted = ("model_package_group_description", "arn", "creation_time", "model_package_group_status")
    assert all(hasattr(group, name) for name in wanted)


@pytest.mark.parametrize(
    ("service", "method", "request_"),
    [
        ("sts", "get_caller_identity", {}),
        ("iam", "list_roles", {}),
        ("kms", "list_aliases", {}),
        ("ecr", "describe_repositories", {}),
        ("glue", "get_databases", {}),
        ("lakeformation", "list_lf_tags", {}),
        ("budgets", "describe_budgets", {"AccountId": "123456789012"}),
        ("cloudwatch", "describe_alarms", {}),
        ("application-autoscaling", "describe_scalable_targets", {"ServiceNamespace": "sagemaker"}),
        ("sagemaker", "list_model_package_groups", {}),
    ],
)
def test_the_services_we_leave_to_moto_answer_behind_our_front_door(
    clean_loopback_aws: LoopbackAws, service: str, method: str, request_: dict[str, Any]
) -> None:
    answer = getattr(clean_loopback_aws.client(service), method)(**request_)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_model_package_group_comes_and_goes(clean_loopback_aws: LoopbackAws) -> None:
    sm = clean_loopback_aws.client("sagemaker")
    sm.create_model_package_group(ModelPackageGroupName="group")
    assert (
        sm.describe_model_package_group(ModelPackageGroupName="group")["ModelPackageGroupStatus"]
        == "Completed"
    )
    sm.delete_model_package_group(ModelPackageGroupName="group")
    assert sm.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
