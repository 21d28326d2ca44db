"""What each role may and may not do, tried out: the policies that Terraform makes, enforced by moto.

Moto checks S3 by resource and other services by action alone: there the resources are widened to ``*``, and
the real ones are read from the text. Conditions, and who may take a role, it does not look at at all; nor
does it know CloudWatch's actions by their name. That each call of the code is granted is told by
``test_policies_cover_calls.py``.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes.moto import ACCOUNT, MotoServer, moto_running
from tests.fakes.terraform import policy_values, rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = pytest.mark.server

_VALUES = policy_values()
LANDING, LAKE, JOBS = (
    _VALUES[f"{name}_arn"].removeprefix("arn:aws:s3:::") for name in ("landing", "lake", "jobs")
)
_POLICIES = {
    "airflow": ("airflow-catalog", "airflow-data", "airflow-jobs", "airflow-endpoints"),
    "jobs": ("jobs", "jobs-network"),
    "readers": ("readers", "readers-athena", "readers-lakeformation"),
}
_CLEAN = "flight_delays/clean/partition=2013-01-05/part-0.parquet"
_LOG = "flight_delays/clean/_delta_log/00000000000000000000.json"
_QUARANTINE = "flight_delays/quarantine/partition=2013-01-05/part-0.parquet"
_LEDGER = "flight_delays/ledger/00000001.json"
_OUTPUT = "jobs/flight-delays-train-0/output/model/metrics.json"
_CODE = "jobs/.code/abc/sourcedir.tar.gz"
_THERE = {
    LANDING: ["flights/dt=2013-01-05/flights.csv"],
    LAKE: [_CLEAN, _LOG, _QUARANTINE, _LEDGER, "flight_delays/weather/a.parquet", "other/clean/a.parquet"],
    JOBS: [_OUTPUT, _CODE, "jobs/flight-delays-train-0/spec.json", "athena/1.csv", "elsewhere/x"],
}
Client = Any
Call = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Callable[[str], Client]]]:
    """Of each role, clients that are signed in as it; from then on every call is checked."""
    with moto_running(tmp_path_factory.mktemp("moto")) as moto:
        _fill(moto)
        signed_in = {role: _sign_in(moto, role) for role in _POLICIES}
        moto.enforce()
        yield signed_in


def _fill(moto: MotoServer) -> None:
    s3 = moto.client("s3")
    for bucket, keys in _THERE.items():
        s3.create_bucket(Bucket=bucket)
        for key in keys:
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")


def _sign_in(moto: MotoServer, role: str) -> Callable[[str], Client]:
    iam, name = moto.client("iam"), f"nightshift-test-{role}"
    trust = rendered("trust-people", {"principals": {"AWS": [f"arn:aws:iam::{ACCOUNT}:root"]}})
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    for each in _POLICIES[role]:
        policy = iam.create_policy(PolicyName=each, PolicyDocument=json.dumps(_widened(each)))["Policy"]
        iam.attach_role_policy(RoleName=name, PolicyArn=policy["Arn"])
    given = moto.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]

    @functools.cache
    def client(service: str) -> Client:
        return moto.client(service, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    return client


def _widened(policy: str) -> dict[str, Any]:
    """The policy as moto can check it."""
    document = rendered(policy, _VALUES)
    for statement in document["Statement"]:
        if not all(action.startswith("s3:") for action in _actions(statement)):
            statement["Resource"] = "*"
    return document


def _actions(statement: Mapping[str, Any]) -> list[str]:
    said = statement["Action"]
    return [said] if isinstance(said, str) else list(said)


def _refusal(client: Callable[[str], Client], call: Call) -> str:
    """The error code of a call; "" when it was let through, whatever came of it."""
    service, operation, arguments = call
    try:
        getattr(client(service), operation)(**arguments)
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        return code if code in {"AccessDenied", "AccessDeniedException", "403"} else ""
    return ""


def get(bucket: str, key: str) -> Call:
    return ("s3", "get_object", {"Bucket": bucket, "Key": key})


def put(bucket: str, key: str) -> Call:
    return ("s3", "put_object", {"Bucket": bucket, "Key": key, "Body": b"y"})


def delete(bucket: str, key: str) -> Call:
    return ("s3", "delete_object", {"Bucket": bucket, "Key": key})


def listing(bucket: str) -> Call:
    return ("s3", "list_objects_v2", {"Bucket": bucket, "Prefix": "flight_delays/clean/"})


def named(service: str, operation: str, **arguments: Any) -> Call:
    return (service, operation, arguments)


_OUTPUT_PLACE = {"S3OutputPath": f"s3://{JOBS}/jobs"}
_EVENT = {"timestamp": 1, "message": "x"}
_START = named(
    "sagemaker",
    "create_training_job",
    TrainingJobName="x",
    RoleArn=_VALUES["jobs_role_arn"],
    AlgorithmSpecification={"TrainingInputMode": "File", "TrainingImage": "x"},
    OutputDataConfig=_OUTPUT_PLACE,
    ResourceConfig={"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
    StoppingCondition={"MaxRuntimeInSeconds": 60},
)
_STOP = named("sagemaker", "stop_training_job", TrainingJobName="x")
_BUCKET_POLICY = named("s3", "put_bucket_policy", Bucket=LAKE, Policy="{}")
_NO_VERSIONS = named(
    "s3", "put_bucket_versioning", Bucket=LAKE, VersioningConfiguration={"Status": "Suspended"}
)
_NEW_USER = named("iam", "create_user", UserName="x")
_TABLE = named("glue", "create_table", DatabaseName="nightshift_test", TableInput={"Name": "x"})

_SOURCE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{JOBS}/jobs/x"}}
_ARN = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/flight-delays-0"
_TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/flight-delays-0/variant/champion",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
_VARIANT = {
    "VariantName": "champion",
    "ModelName": "x",
    "InitialInstanceCount": 1,
    "InstanceType": "ml.m5.large",
}
_SCALE = named("application-autoscaling", "register_scalable_target", **_TARGET, MinCapacity=1, MaxCapacity=2)
_MODEL = named("sagemaker", "create_model", ModelName="x", ExecutionRoleArn=_VALUES["jobs_role_arn"])
_TUNE = named(
    "sagemaker",
    "create_hyper_parameter_tuning_job",
    HyperParameterTuningJobName="x",
    HyperParameterTuningJobConfig={
        "Strategy": "Random",
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
    },
)
_TRANSFORM = named(
    "sagemaker",
    "create_transform_job",
    TransformJobName="x",
    ModelName="x",
    TransformInput={"DataSource": _SOURCE},
    TransformOutput=_OUTPUT_PLACE,
    TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
)
_ENDPOINT = named("sagemaker", "create_endpoint", EndpointName="x", EndpointConfigName="x")
_LF_TABLE = {"Table": {"DatabaseName": "nightshift_test", "Name": "x"}}

ALLOWED = {
    "jobs": [
        get(LAKE, _CLEAN),
        get(LAKE, _LOG),
        get(LAKE, "flight_delays/weather/a.parquet"),
        listing(LAKE),
        get(JOBS, _CODE),
        get(JOBS, "jobs/flight-delays-train-0/spec.json"),
        put(JOBS, _OUTPUT),
        put(JOBS, "jobs/.checkpoints/flight-delays-train/model.pt"),
        listing(JOBS),
        named("logs", "put_log_events", logGroupName="g", logStreamName="s", logEvents=[_EVENT]),
        named("ecr", "get_authorization_token"),
    ],
    "airflow": [
        get(LANDING, _THERE[LANDING][0]),
        put(LAKE, _CLEAN),
        put(LAKE, _LEDGER),
        get(LAKE, _QUARANTINE),
        delete(LAKE, "flight_delays/failures/ingest/2013-01-05.json"),
        put(JOBS, _CODE),
        get(JOBS, _OUTPUT),
        delete(JOBS, "jobs/flight-delays-train-0/stop.txt"),
        _START,
        named("sagemaker", "list_training_jobs"),
        named("sagemaker", "describe_training_job", TrainingJobName="x"),
        named("sagemaker", "describe_hyper_parameter_tuning_job", HyperParameterTuningJobName="x"),
        named("sagemaker", "describe_transform_job", TransformJobName="x"),
        _TUNE,
        _MODEL,
        _TRANSFORM,
        _STOP,
        named("sagemaker", "list_tags", ResourceArn=_ARN),
        named("sagemaker", "add_tags", ResourceArn=_ARN, Tags=[{"Key": "k", "Value": "v"}]),
        named("sagemaker", "delete_tags", ResourceArn=_ARN, TagKeys=["k"]),
        named("sagemaker", "create_endpoint_config", EndpointConfigName="x", ProductionVariants=[_VARIANT]),
        _ENDPOINT,
        named("sagemaker", "update_endpoint", EndpointName="x", EndpointConfigName="x"),
        named("sagemaker", "delete_endpoint", EndpointName="x"),
        named("sagemaker", "describe_endpoint", EndpointName="x"),
        named("sagemaker", "list_endpoint_configs"),
        named("sagemaker-runtime", "invoke_endpoint", EndpointName="x", Body=b"x"),
        _SCALE,
        named("application-autoscaling", "deregister_scalable_target", **_TARGET),
        named("glue", "get_database", Name="nightshift_test"),
        named("lakeformation", "get_resource_lf_tags", Resource=_LF_TABLE),
        named(
            "lakeformation",
            "add_lf_tags_to_resource",
            Resource=_LF_TABLE,
            LFTags=[{"TagKey": "k", "TagValues": ["v"]}],
        ),
        named("glue", "get_table", DatabaseName="nightshift_test", Name="x"),
        _TABLE,
        named("logs", "filter_log_events", logGroupName="g"),
    ],
    "readers": [
        get(LAKE, _CLEAN),
        get(LAKE, _QUARANTINE),
        get(LAKE, _LEDGER),
        listing(LAKE),
        named("glue", "get_table", DatabaseName="nightshift_test", Name="x"),
        put(JOBS, "athena/2.csv"),
        get(JOBS, "athena/1.csv"),
    ],
}
DENIED = {
    "jobs": [
        get(LAKE, _LEDGER),
        get(LAKE, _QUARANTINE),
        get(LAKE, "other/clean/a.parquet"),
        get(LANDING, _THERE[LANDING][0]),
        put(LAKE, _LEDGER),
        put(LAKE, _CLEAN),
        delete(LAKE, _CLEAN),
        put(LANDING, "flights/dt=2013-01-05/flights.csv"),
        put(JOBS, _CODE),
        put(JOBS, "jobs/.inputs/abc/a"),
        put(JOBS, "jobs/.models/abc/model.tar.gz"),
        put(JOBS, "elsewhere/x"),
        get(JOBS, "athena/1.csv"),
        delete(JOBS, _OUTPUT),
        _BUCKET_POLICY,
        _NEW_USER,
        named("iam", "list_roles"),
        named("sagemaker", "list_training_jobs"),
        _START,
        _STOP,
        _TUNE,
        _MODEL,
        _TRANSFORM,
        _ENDPOINT,
        _SCALE,
        _TABLE,
    ],
    "airflow": [
        put(LANDING, "flights/dt=2013-01-05/flights.csv"),
        delete(LANDING, _THERE[LANDING][0]),
        delete(LAKE, _LEDGER),
        delete(LAKE, _LOG),
        named("s3", "delete_object", Bucket=LAKE, Key=_CLEAN, VersionId="1"),
        put(JOBS, "elsewhere/x"),
        named("s3", "delete_bucket", Bucket=JOBS),
        _BUCKET_POLICY,
        _NO_VERSIONS,
        _NEW_USER,
        named(
            "iam",
            "attach_role_policy",
            RoleName="nightshift-test-jobs",
            PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess",
        ),
        named("iam", "create_role", RoleName="x", AssumeRolePolicyDocument="{}"),
        named("glue", "delete_table", DatabaseName="nightshift_test", Name="x"),
        named("glue", "delete_database", Name="nightshift_test"),
        named("kms", "schedule_key_deletion", KeyId="1"),
        named("logs", "delete_log_group", logGroupName="/aws/sagemaker/TrainingJobs"),
        named("ecr", "batch_delete_image", repositoryName="jobs", imageIds=[{"imageTag": "1"}]),
        named("ec2", "run_instances", MinCount=1, MaxCount=1),
    ],
    "readers": [
        put(LAKE, _CLEAN),
        put(LAKE, _LEDGER),
        delete(LAKE, _CLEAN),
        get(LANDING, _THERE[LANDING][0]),
        get(JOBS, _OUTPUT),
        put(JOBS, _OUTPUT),
        put(JOBS, "elsewhere/x"),
        _TABLE,
        _START,
        _STOP,
        named("sagemaker", "list_training_jobs"),
        _NEW_USER,
        _BUCKET_POLICY,
    ],
}


def _cases(table: Mapping[str, list[Call]]) -> list[Any]:
    return [
        pytest.param(role, call, id=f"{role}-{call[1]}-{_about(call)}")
        for role, calls in table.items()
        for call in calls
    ]


def _about(call: Call) -> str:
    found = [str(call[2][name]) for name in ("Bucket", "Key", "RoleArn") if name in call[2]]
    return "/".join(each.rsplit("-", 1)[-1] if place == 0 else each for place, each in enumerate(found))


@pytest.mark.parametrize(("role", "call"), _cases(ALLOWED))
def test_a_role_may_do_its_work(roles: Mapping[str, Callable[[str], Client]], role: str, call: Call) -> None:
    assert _refusal(roles[role], call) == ""


@pytest.mark.parametrize(("role", "call"), _cases(DENIED))
def test_a_role_may_do_nothing_else(
    roles: Mapping[str, Callable[[str], Client]], role: str, call: Call
) -> None:
    assert _refusal(roles[role], call) != ""


def _statements(*policies: str) -> list[dict[str, Any]]:
    return [each for name in policies for each in rendered(name, _VALUES)["Statement"]]


def _granted(role: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (action, each)
        for each in _statements(*_POLICIES[role])
        if each["Effect"] == "Allow"
        for action in _actions(each)
    ]


@pytest.mark.parametrize("role", list(_POLICIES))
def test_no_role_is_given_an_action_by_a_wildcard(role: str) -> None:
    assert [action for action, _ in _granted(role) if "*" in action] == []


def test_only_the_role_of_jobs_is_handed_on_and_only_to_sagemaker() -> None:
    passing = [each for action, each in _granted("airflow") if action == "iam:PassRole"]
    assert [each["Resource"] for each in passing] == [_VALUES["jobs_role_arn"]]
    assert passing[0]["Condition"] == {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    assert not [
        action for role in ("jobs", "readers") for action, _ in _granted(role) if action.startswith("iam:")
    ]


def test_only_jobs_and_endpoints_of_this_deployment_are_stopped_changed_or_deleted() -> None:
    verbs = ("Stop", "Delete", "Update", "Start")
    for action, statement in _granted("airflow"):
        service, _, name = action.partition(":")
        if service == "sagemaker" and name.startswith(verbs):
            assert statement["Condition"] == {
                "StringEquals": {"aws:ResourceTag/nightshift:deployment": "test"}
            }, action


_EVERYWHERE = {
    # Actions that know no narrower resource, or that only look.
    "airflow": {
        "cloudwatch:DescribeAlarms",
        "lakeformation:AddLFTagsToResource",
        "lakeformation:GetResourceLFTags",
        "sagemaker:ListEndpointConfigs",
        "sagemaker:ListEndpoints",
        "sagemaker:ListHyperParameterTuningJobs",
        "sagemaker:ListModels",
        "sagemaker:ListTrainingJobs",
        "sagemaker:ListTransformJobs",
    },
    "jobs": {
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
        "ecr:GetAuthorizationToken",
    },
    "readers": {"lakeformation:GetDataAccess"},
}


@pytest.mark.parametrize("role", list(_POLICIES))
def test_what_is_granted_everywhere_is_on_a_short_list(role: str) -> None:
    found = {action for action, each in _granted(role) if each["Resource"] == "*" and "Condition" not in each}
    assert found == _EVERYWHERE[role]
