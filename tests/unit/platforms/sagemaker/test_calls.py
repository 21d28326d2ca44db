"""What AWS answers, through botocore's own stub: each refusal becomes the error of ours that fits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from botocore.stub import Stubber

from nightshift.errors import CapacityUnavailable, ConfigError, JobError, PlatformUnavailable, QuotaExceeded
from nightshift.platforms.sagemaker.calls import TRAINING, TRANSFORM, TUNING, Calls
from nightshift.platforms.sagemaker.failures import vendor_errors
from nightshift.platforms.sagemaker.finding import names_with

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ARN = "arn:aws:sagemaker:eu-central-1:123456789012"


@pytest.fixture
def client() -> Any:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return boto3.client("sagemaker", region_name="eu-central-1", **keys)


@pytest.fixture
def stub(client: Any) -> Any:
    with Stubber(client) as stub:
        yield stub


@pytest.fixture
def calls(client: Any) -> Calls:
    return Calls(lambda _: client)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ValidationException", "Requested resource not found."),
        ("ResourceNotFound", "no"),
        ("ValidationException", 'Could not find model "x".'),
    ],
)
def test_a_job_that_is_not_there_is_none(stub: Stubber, calls: Calls, code: str, message: str) -> None:
    stub.add_client_error("describe_training_job", code, message, 400)
    assert calls.describe(TRAINING, "toy") is None


@pytest.mark.parametrize(
    ("method", "code", "message"),
    [
        ("create_transform_job", "ResourceInUse", "Job name must be unique within an AWS account"),
        ("create_model", "ValidationException", 'Cannot create already existing model "arn:x".'),
    ],
)
def test_what_is_there_already_is_no_error(
    stub: Stubber, calls: Calls, method: str, code: str, message: str
) -> None:
    stub.add_client_error(method, code, message, 400)
    request: dict[str, Any] = {"ModelName": "toy", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/x"}
    if method == "create_transform_job":
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://x/y"}}
        request = {
            "TransformJobName": "toy",
            "ModelName": "toy",
            "TransformInput": {"DataSource": source},
            "TransformOutput": {"S3OutputPath": "s3://x/z"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        }
    assert calls.create(method.removeprefix("create_"), "toy", request) is False


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("ThrottlingException", 400, PlatformUnavailable),
        ("TooManyRequestsException", 429, PlatformUnavailable),
        ("InternalFailure", 500, PlatformUnavailable),
        ("SomethingNew", 503, PlatformUnavailable),
        ("ResourceLimitExceeded", 400, QuotaExceeded),
        ("CapacityError", 400, CapacityUnavailable),
        ("AccessDeniedException", 400, ConfigError),
        ("ExpiredTokenException", 400, PlatformUnavailable),
        ("ExpiredToken", 403, PlatformUnavailable),
        ("RequestExpired", 400, PlatformUnavailable),
        ("ValidationException", 400, ConfigError),
        ("SomethingNew", 400, JobError),
    ],
)
def test_a_refusal_has_the_class_that_fits(
    stub: Stubber, calls: Calls, code: str, status: int, error: type[Exception]
) -> None:
    stub.add_client_error("describe_training_job", code, "Rate exceeded", status)
    with pytest.raises(error, match="describing training job toy failed"):
        calls.describe(TRAINING, "toy")


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (EndpointConnectionError(endpoint_url="https://x"), PlatformUnavailable),
        (ReadTimeoutError(endpoint_url="https://x"), PlatformUnavailable),
        (NoCredentialsError(), ConfigError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_no_answer_at_all_has_its_class_too(raised: Exception, error: type[Exception]) -> None:
    with pytest.raises(error), vendor_errors("asking"):
        raise raised


def test_a_typo_never_leaves_the_machine(calls: Calls) -> None:
    with pytest.raises(ConfigError, match="TrainingJobNam"):
        calls.create("training_job", "toy", {"TrainingJobNam": "toy"})


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        (
            TRAINING,
            "ValidationException",
            "The request was rejected because the training job is in status Completed.",
        ),
        (TUNING, "ResourceNotFound", "no"),
        (TRANSFORM, "ValidationException", "Could not find requested job"),
    ],
)
def test_stopping_what_has_ended_or_never_was_does_nothing(
    stub: Stubber, calls: Calls, kind: Any, code: str, message: str
) -> None:
    stub.add_client_error(f"stop_{kind.method}", code, message, 400)
    calls.stop(kind, "toy")
    stub.assert_no_pending_responses()


def test_a_refusal_to_stop_that_says_something_else_is_told(stub: Stubber, calls: Calls) -> None:
    stub.add_client_error("stop_transform_job", "ValidationException", "1 validation error detected", 400)
    with pytest.raises(ConfigError, match="1 validation error"):
        calls.stop(TRANSFORM, "toy")


def _summary(name: str) -> dict[str, Any]:
    arn = f"{ARN}:training-job/{name}"
    return {
        "TrainingJobName": name,
        "TrainingJobArn": arn,
        "CreationTime": NOW,
        "TrainingJobStatus": "InProgress",
    }


def _tags(stub: Stubber, name: str, **tags: str) -> None:
    told = [{"Key": f"nightshift:{key}", "Value": value} for key, value in tags.items()]
    arn = {"ResourceArn": f"{ARN}:training-job/{name}"}
    stub.add_response("list_tags", {"Tags": [{"Key": "owner", "Value": "x"}, *told]}, arn)


def test_stages_and_trials_are_led_back_to_their_job_once(stub: Stubber, calls: Calls) -> None:
    names = ["search-001", "search-002", "score-f", "strange", "others"]
    _list_training_jobs(stub, names)
    assert names_with(calls, lambda _: None, {"deployment": "prod"}, live=True) == ["search", "score"]
    stub.assert_no_pending_responses()


def test_names_tell_whose_they_are_and_only_strangers_are_asked_for_their_tags(
    stub: Stubber, calls: Calls
) -> None:
    asked: list[str] = []
    told = {
        name: {"tags": {"deployment": "prod" if name != "theirs" else "staging", "run": "a#b"}}
        for name in ("search", "score", "toy-f", "train", "theirs")
    }

    def spec_of(name: str) -> dict[str, Any] | None:
        asked.append(name)
        return told.get(name)

    names = ["search-001-0a1b2c3d", "search-002-4e5f6a7b", "score-f", "toy-f", "train", "theirs", "others"]
    _list_training_jobs(stub, names, tagged=["others"])
    wanted = {"deployment": "prod", "run": "a#b"}
    assert names_with(calls, spec_of, wanted, live=True) == ["search", "score", "toy-f", "train"]
    assert "search-001-0a1b2c3d" not in asked
    stub.assert_no_pending_responses()


def test_a_job_that_is_gone_by_now_has_no_tags(stub: Stubber, calls: Calls) -> None:
    stub.add_client_error("list_tags", "ValidationException", "Requested resource not found.", 400)
    assert calls.tags(f"{ARN}:training-job/toy") == {}


def _list_training_jobs(stub: Stubber, names: list[str], tagged: list[str] | None = None) -> None:
    """What is live now: these training jobs, and what ListTags says of them."""
    for kind in ("hyper_parameter_tuning", "training", "transform"):
        noun = {
            "hyper_parameter_tuning": "HyperParameterTuning",
            "training": "Training",
            "transform": "Transform",
        }[kind]
        for _ in ("InProgress", "Stopping"):
            listed = [_summary(name) for name in names] if kind == "training" else []
            names = names if kind != "training" else []
            stub.add_response(f"list_{kind}_jobs", {f"{noun}JobSummaries": listed})
            for each in listed:
                name = each["TrainingJobName"]
                if tagged is not None and name not in tagged:
                    continue
                job = {"score-f": "score", "strange": ""}.get(name, name.split("-")[0])
                deployment = "staging" if name == "others" else "prod"
                _tags(stub, name, **({"job": job} if job else {}), deployment=deployment)


def test_tags_of_a_job_are_asked_for_once(stub: Stubber, calls: Calls) -> None:
    _tags(stub, "toy", job="toy")
    arn = f"{ARN}:training-job/toy"
    assert calls.tags(arn) == calls.tags(arn) == {"job": "toy"}


def test_every_page_of_a_list_is_read(stub: Stubber, calls: Calls) -> None:
    stub.add_response("list_training_jobs", {"TrainingJobSummaries": [_summary("a")], "NextToken": "more"})
    stub.add_response("list_training_jobs", {"TrainingJobSummaries": [_summary("b")]})
    assert [each["TrainingJobName"] for each in calls.jobs(TRAINING)] == ["a", "b"]
