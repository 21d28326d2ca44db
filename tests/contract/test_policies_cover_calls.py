"""The role of Airflow may do what the code calls, and of these services nothing besides."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from botocore import xform_name
from botocore.session import Session

from nightshift.config.settings import PROJECT
from nightshift.platforms.endpoints import endpoint_name
from nightshift.platforms.sagemaker.calls import TRAINING, TRANSFORM, TUNING
from tests.fakes.terraform import policy_values, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODE = PROJECT / "plugins" / "nightshift"
_SERVICES = {
    "application-autoscaling": "application-autoscaling",
    "cloudwatch": "cloudwatch",
    "glue": "glue",
    "lakeformation": "lakeformation",
    "logs": "logs",
    "sagemaker": "sagemaker",
    "sagemaker-runtime": "sagemaker",
}
"""Services that the code has clients for (S3 it reads without one), and the prefix of their actions."""
_NOT_CALLS = {"search"}  # of regular expressions
_JOBS = [kind.method for kind in (TRAINING, TRANSFORM, TUNING)]
_PUT_TOGETHER = {
    "create_{}": [*_JOBS, "model"],
    "describe_{}": _JOBS,
    "list_{}s": [*_JOBS, "endpoint_config", "model"],
    "stop_{}": _JOBS,
}
"""Names of operations that the code puts together, and what it puts in."""
_TAGGED, _WITH_ROLE = "sagemaker:AddTags", "iam:PassRole"
_BRINGS = {
    "sagemaker:CreateEndpoint": {_TAGGED},
    "sagemaker:CreateEndpointConfig": {_TAGGED},
    "sagemaker:CreateHyperParameterTuningJob": {_TAGGED, _WITH_ROLE},
    "sagemaker:CreateModel": {_TAGGED, _WITH_ROLE},
    "sagemaker:CreateMonitoringSchedule": {_TAGGED, _WITH_ROLE},
    "sagemaker:CreateTrainingJob": {_TAGGED, _WITH_ROLE},
    "sagemaker:CreateTransformJob": {_TAGGED},
    "cloudwatch:PutMetricAlarm": {"cloudwatch:TagResource"},
    "application-autoscaling:RegisterScalableTarget": {"iam:CreateServiceLinkedRole"},
    "application-autoscaling:PutScalingPolicy": {"cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"},
    "application-autoscaling:DeregisterScalableTarget": {"cloudwatch:DeleteAlarms"},
    "lakeformation:AddLFTagsToResource": {"glue:GetDatabase"},
}
"""What AWS asks for besides, by its documentation: tags, a role handed on, what a service then does."""
_AIRFLOW = ("airflow-catalog", "airflow-jobs", "airflow-endpoints")


def _trees() -> Iterator[ast.AST]:
    files = [*_CODE.glob("platforms/sagemaker/*.py"), *_CODE.glob("catalog/*.py")]
    for file in [*files, _CODE / "hooks" / "sagemaker.py"]:
        yield ast.parse(file.read_text(encoding="utf-8"))


def _nodes() -> Iterator[ast.AST]:
    for tree in _trees():
        yield from ast.walk(tree)


@cache
def _operations() -> dict[str, set[str]]:
    """Of each method of a client, the actions that it stands for."""
    found: dict[str, set[str]] = {}
    for service, prefix in _SERVICES.items():
        for operation in Session().get_service_model(service).operation_names:
            found.setdefault(xform_name(operation), set()).add(f"{prefix}:{operation}")
    return found


def _pattern(node: ast.JoinedStr) -> str:
    return "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)


def _put_together() -> set[str]:
    """Patterns in the code that the name of an operation would fit."""
    verbs = {name.split("_")[0] for name in _operations()}
    patterns = {_pattern(each) for each in _nodes() if isinstance(each, ast.JoinedStr)}
    return {each for each in patterns if each.partition("_{}")[1] and each.split("_")[0] in verbs}


def _named() -> set[str]:
    """Methods that the code names: called, handed on, or in a text."""
    words = {each.attr for each in _nodes() if isinstance(each, ast.Attribute)}
    words |= {
        each.value for each in _nodes() if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }
    return words & _operations().keys() - _NOT_CALLS


@cache
def _called() -> set[str]:
    names = _named() | {form.format(each) for form, given in _PUT_TOGETHER.items() for each in given}
    return {action for name in names for action in _operations()[name]}


def _statements() -> list[dict[str, Any]]:
    values = policy_values()
    return [each for policy in _AIRFLOW for each in rendered(policy, values)["Statement"]]


def _list(said: str | list[str]) -> list[str]:
    return [said] if isinstance(said, str) else said


def _granted() -> set[str]:
    return {action for each in _statements() if each["Effect"] == "Allow" for action in _list(each["Action"])}


def test_names_of_operations_are_put_together_only_where_this_test_knows_it() -> None:
    assert _put_together() == set(_PUT_TOGETHER)


def test_the_code_has_clients_only_for_services_that_this_test_knows() -> None:
    calls = [each for each in _nodes() if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)]
    clients = [each for each in calls if getattr(each.func, "attr", "") in {"client", "_client"}]
    services = {arg.value for each in clients for arg in each.args if isinstance(arg, ast.Constant)}
    assert services <= set(_SERVICES)
    assert {"sagemaker", "logs", "glue", "cloudwatch"} <= services


def test_the_role_of_airflow_may_do_what_the_code_calls() -> None:
    assert len(_called()) > 40
    assert _called() - _granted() == set()


@pytest.mark.parametrize("action", sorted(_BRINGS))
def test_what_a_call_brings_with_it_is_granted_too(action: str) -> None:
    assert action in _called(), "nobody calls it any more"
    assert _BRINGS[action] - _granted() == set()


def test_nothing_is_granted_that_nobody_calls() -> None:
    needed = _called().union(*_BRINGS.values())
    assert {each for each in _granted() if each.split(":")[0] in _SERVICES.values()} - needed == set()


def _granting(action: str) -> list[dict[str, Any]]:
    return [each for each in _statements() if action in _list(each["Action"])]


def test_alarms_are_tagged_where_they_are_made() -> None:
    (made,) = _granting("cloudwatch:PutMetricAlarm")
    (tagged,) = _granting("cloudwatch:TagResource")
    assert made["Resource"] == tagged["Resource"]


def test_alarms_are_those_of_the_endpoints_of_known_pipelines() -> None:
    (made,) = _granting("cloudwatch:PutMetricAlarm")
    names = [each.split(":alarm:")[1] for each in made["Resource"]]
    words = endpoint_name("flight_delays", "test").rsplit("-", 1)[0]
    assert names == [f"TargetTracking-endpoint/{words}-*", f"{words}-*-errors", f"{words}-*-latency"]


def test_tags_are_given_while_something_is_made_and_then_only_to_what_is_ours() -> None:
    later = {"StringEquals": {"aws:ResourceTag/nightshift:deployment": "test"}}
    made: set[str] = set()
    for each in _granting("sagemaker:AddTags"):
        if each["Condition"] == later:
            continue
        assert list(each["Condition"]) == ["StringEquals"]
        assert list(each["Condition"]["StringEquals"]) == ["sagemaker:TaggingAction"]
        made |= set(each["Condition"]["StringEquals"]["sagemaker:TaggingAction"])
    assert {f"sagemaker:{each}" for each in made} == {
        each for each in _called() if ":Create" in each and "sagemaker" in each
    }


def test_jobs_have_interfaces_only_in_their_subnets() -> None:
    values = policy_values()
    for each in rendered("jobs-network", values)["Statement"]:
        if "ec2:CreateNetworkInterfacePermission" in _list(each["Action"]):
            assert each["Condition"] == {"ArnEquals": {"ec2:Subnet": values["subnet_arns"]}}
        assert not [arn for arn in _list(each["Resource"]) if arn.endswith(("subnet/*", "security-group/*"))]
