"""Trouble on request, for any service; and answers that the service could not give are never given."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from werkzeug.test import Client

from localcloud.aws import gateway
from localcloud.aws.faults import Faults
from localcloud.aws.model import operation_model, violations

if TYPE_CHECKING:
    from tests.unit.localcloud.conftest import Bench

ARN = "arn:aws:sagemaker:us-east-1:123456789012:training-job/"
ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"})


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("throttling", "ThrottlingException"),
        ("server_error", "InternalFailure"),
        ("quota", "ResourceLimitExceeded"),
    ],
)
def test_a_call_is_turned_down_as_often_as_asked(bench: Bench, fault: str, code: str) -> None:
    sm = bench.aws.client("sagemaker", config=ONCE)
    bench.aws.fault(fault, operation="CreateTrainingJob", times=2)
    request = bench.request("true")
    for _ in range(2):
        with pytest.raises(ClientError) as error:
            sm.create_training_job(**request)
        assert error.value.response["Error"]["Code"] == code
    sm.create_training_job(**request)
    assert [call["status"] for call in bench.aws.calls("CreateTrainingJob")][-1] == 200
    bench.end(request["TrainingJobName"])


def test_a_lost_reply_did_its_work(bench: Bench) -> None:
    bench.aws.fault("lost_reply", operation="CreateTrainingJob")
    request = bench.request("true")
    with pytest.raises(ConnectionClosedError):
        bench.aws.client("sagemaker", config=ONCE).create_training_job(**request)
    assert bench.end(request["TrainingJobName"])["TrainingJobStatus"] == "Completed"


def test_capacity_is_missing_for_the_named_instance_type_only(bench: Bench) -> None:
    bench.aws.fault("capacity", where={"ResourceConfig.InstanceType": "ml.p3*"})
    fine = bench.start("true")
    big = {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    failed = bench.end(bench.start("true", ResourceConfig=big))
    assert failed["FailureReason"].startswith("CapacityError: Unable to provision")
    assert "TrainingStartTime" not in failed
    assert bench.end(fine)["TrainingJobStatus"] == "Completed"


def test_starts_and_answers_can_be_slow(bench: Bench) -> None:
    bench.aws.fault("slow", operation="ListTrainingJobs", seconds=0.3)
    bench.aws.fault("slow_start", seconds=0.5)
    before = time.monotonic()
    bench.sm.list_training_jobs()
    assert time.monotonic() - before > 0.3
    name = bench.start("true")
    ended = bench.end(name)
    assert (ended["TrainingStartTime"] - ended["CreationTime"]).total_seconds() > 0.5


@pytest.mark.parametrize(
    ("service", "operation", "method"),
    [
        ("iam", "ListRoles", "list_roles"),
        ("logs", "DescribeLogGroups", "describe_log_groups"),
        ("cloudwatch", "DescribeAlarms", "describe_alarms"),
        ("lakeformation", "ListLFTags", "list_lf_tags"),
    ],
    ids=["query", "json", "cbor", "rest"],
)
def test_other_services_know_trouble_too(bench: Bench, service: str, operation: str, method: str) -> None:
    client = bench.aws.client(service, config=ONCE)
    bench.aws.fault("throttling", operation=operation)
    with pytest.raises(ClientError, match=r"ThrottlingException.*Rate exceeded"):
        getattr(client, method)()
    getattr(client, method)()
    assert [call["status"] for call in bench.aws.calls(operation)] == [400, 200]


def test_the_calls_are_told_with_their_parameters(bench: Bench) -> None:
    name = bench.start("true")
    (call,) = bench.aws.calls("CreateTrainingJob")
    assert (call["service"], call["parameters"]["TrainingJobName"]) == ("sagemaker", name)
    bench.end(name)


@pytest.mark.parametrize(
    ("order", "said"),
    [({"fault": "flood"}, "no fault 'flood'"), ({"fault": "slow"}, "needs an operation"),
     ({"fault": "capacity", "how": 1}, "an order has")],
)  # fmt: skip
def test_an_order_that_makes_no_sense_is_refused(bench: Bench, order: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bench.aws.fault(**order)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, "trainingJobArn.*must not be null"),
        ({"TrainingJobArn": "arn:nonsense"}, "regular expression"),
        ({"TrainingJobArn": 3}, "must be a string"),
        ({"TrainingJobArn": f"{ARN}x", "New": 1}, "Unknown member"),
    ],
    ids=["missing", "pattern", "type", "unknown"],
)  # fmt: skip
def test_an_answer_that_breaks_the_services_model_is_a_loud_error(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(gateway, "handler_of", lambda *_: lambda *_: answer)
    cloud: Any = SimpleNamespace(faults=Faults(), calls=[])
    request = (
        '{"TrainingJobName": "x", "RoleArn": "arn:aws:iam::123456789012:role/x", '
        '"OutputDataConfig": {"S3OutputPath": "s3://b/c"}}'
    )
    headers = {
        "X-Amz-Target": "SageMaker.CreateTrainingJob",
        "Authorization": "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/sagemaker/aws4_request",
    }
    told = Client(gateway.Gateway(cloud, lambda *_: [])).post("/", data=request, headers=headers)
    assert told.status_code == 500
    assert re.search(said, told.get_data(as_text=True))


def test_statuses_are_held_to_the_models_enumerations() -> None:
    model = operation_model("sagemaker", "ListTrainingJobs")
    assert model is not None
    one = {
        "TrainingJobName": "x",
        "TrainingJobArn": f"{ARN}x",
    }
    answer = {"TrainingJobSummaries": [{**one, "CreationTime": 1.0, "TrainingJobStatus": "Done"}]}
    (found,) = violations(model.output_shape, answer)
    assert "enum value set: [InProgress, Completed" in found
