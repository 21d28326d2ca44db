"""Endpoints on the loopback AWS: real models in real processes, deployed by the operators."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from nightshift.config.settings import PROJECT
from nightshift.errors import ConfigError, DeploymentFailed
from nightshift.platforms.endpoints import CHALLENGER, CHAMPION, EndpointState
from nightshift.platforms.sagemaker.endpoint import SageMakerEndpoints
from nightshift.triggers import endpoint as trigger_module
from tests.contract.platform_contract import wait_for
from tests.fakes.deployable import VERSIONS, make
from tests.fakes.deploying import Deployer, Folders, pipeline_with
from tests.fakes.sagemaker import platform_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from localcloud.aws import LoopbackAws
    from tests.fakes.job_inputs import JobInputs

pytestmark = pytest.mark.server

SECTION: dict[str, Any] = {
    "instances": {"min": 1, "max": 3},
    "autoscaling": {"invocations_per_minute": 600},
    "capture": {"percentage": 100},
    "monitoring": {"cron": "0 */6 * * *"},
    "alarms": {"errors_per_minute": 5, "latency_ms": 250},
    "canary": {"weight": 0.3, "minutes": 600},
    "check": {"rows": 20},
}
BROKEN = "3"


@pytest.fixture(scope="module")
def folders(job_inputs: JobInputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path]:
    """Two models that differ and one that cannot be loaded, by version; and the probes of each."""
    root = tmp_path_factory.mktemp("models")
    make(job_inputs.folder, root)
    broken = root / BROKEN
    broken.mkdir()
    (broken / "MLmodel").write_text("flavors: {}\n")
    found = {version: root / version / "models" / "champion" for version in VERSIONS}
    return {**found, BROKEN: broken}, root / "probes"


@pytest.fixture(scope="module")
def there(loopback_aws: LoopbackAws, tmp_path_factory: pytest.TempPathFactory) -> SageMakerEndpoints:
    cache, extra = (
        tmp_path_factory.mktemp("cache"),
        {"monitor_image": loopback_aws.image, "tags": "team=night"},
    )
    return SageMakerEndpoints(platform_on(loopback_aws, PROJECT / "include", cache, **extra).site)


@pytest.fixture
def anyhow(
    there: SageMakerEndpoints,
    folders: tuple[dict[str, Path], Path],
    clean_loopback_aws: LoopbackAws,
    monkeypatch: pytest.MonkeyPatch,
    runs: list[int],
) -> Iterator[Deployer]:
    """The endpoint as the test before has left it."""
    found = Deployer(there, pipeline_with(**SECTION), Folders(folders[0]), folders[1], monkeypatch, runs[0])
    yield found
    runs[0] = found.runs


@pytest.fixture
def deployer(anyhow: Deployer, clean_loopback_aws: LoopbackAws) -> Deployer:
    """An endpoint that serves version 1."""
    anyhow.deploy("1")
    clean_loopback_aws.reset()
    return anyhow


@pytest.fixture(scope="module")
def runs() -> list[int]:
    """DAG runs so far: a later test's are later."""
    return [0]


def rows(deployer: Deployer, version: str) -> list[dict[str, Any]]:
    text = (deployer.probes / version / "probe.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def answers(deployer: Deployer, version: str, variant: str = CHAMPION) -> bool:
    """Whether the variant's answers are the batch predictions of a version."""
    wanted = rows(deployer, version)
    lines = deployer.there.ask(deployer.name, variant, [json.dumps(each["row"]) for each in wanted])
    found = [json.loads(line) for line in lines]
    return found == [{"row_id": each["row"]["row_id"], "prediction": each["prediction"]} for each in wanted]


def status(deployer: Deployer) -> Any:
    found = deployer.there.status(deployer.name)
    assert found is not None
    return found


def names(aws: LoopbackAws, deployer: Deployer) -> dict[str, int]:
    """How many things of this endpoint there are."""
    client = aws.client("sagemaker")
    listed = {
        "endpoints": client.list_endpoints(NameContains=deployer.name)["Endpoints"],
        "configs": client.list_endpoint_configs(NameContains=deployer.name)["EndpointConfigs"],
        "models": client.list_models(NameContains=deployer.name)["Models"],
    }
    return {key: len(value) for key, value in listed.items()}


def test_a_deployed_model_answers_row_for_row_as_in_a_batch(
    deployer: Deployer, clean_loopback_aws: LoopbackAws
) -> None:
    assert answers(deployer, "1")
    assert not answers(deployer, "2")
    now = status(deployer)
    assert (now.state, [each.version for each in now.variants]) == (EndpointState.SERVING, ["1"])
    assert now.usd_per_hour > 0.05
    again = deployer.deploy("1")
    assert again["version"] == "1"
    changed = {call["operation"] for call in clean_loopback_aws.calls()}
    assert not changed & {"CreateEndpoint", "UpdateEndpoint", "DeleteEndpoint"}
    assert names(clean_loopback_aws, deployer)["endpoints"] == 1
    tags = deployer.operator("1").spec.tags
    assert [each.name for each in deployer.there.find(tags)] == [deployer.name]
    assert deployer.there.find({**tags, "deployment": "another"}) == []


def test_autoscaling_alarms_monitoring_and_captured_requests_are_there(
    deployer: Deployer, loopback_aws: LoopbackAws
) -> None:
    scaling = loopback_aws.client("application-autoscaling")
    resource = f"endpoint/{deployer.name}/variant/{CHAMPION}"
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[resource])[
        "ScalableTargets"
    ]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 3)
    (policy,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=resource)[
        "ScalingPolicies"
    ]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 600
    alarms = loopback_aws.client("cloudwatch").describe_alarms(AlarmNamePrefix=deployer.name)["MetricAlarms"]
    assert sorted(each["AlarmName"].rpartition("-")[2] for each in alarms) == ["errors", "latency"]
    schedule = loopback_aws.client("sagemaker").describe_monitoring_schedule(
        MonitoringScheduleName=deployer.name
    )
    config = schedule["MonitoringScheduleConfig"]["ScheduleConfig"]
    assert (schedule["MonitoringScheduleStatus"], config["ScheduleExpression"]) == (
        "Scheduled",
        "cron(0 0/6 ? * * *)",
    )
    assert answers(deployer, "1")
    event = wait_for(lambda: captured(deployer, loopback_aws))
    assert event["endpointInput"]["encoding"] == "JSON"
    assert json.loads(event["endpointInput"]["data"].splitlines()[0]) == rows(deployer, "1")[0]["row"]
    assert "prediction" in json.loads(event["endpointOutput"]["data"].splitlines()[0])


def captured(deployer: Deployer, aws: LoopbackAws) -> dict[str, Any] | None:
    """The newest event that was kept."""
    place = aws.client("sagemaker").describe_endpoint(EndpointName=deployer.name)["DataCaptureConfig"]
    bucket, _, prefix = place["DestinationS3Uri"].removeprefix("s3://").partition("/")
    s3 = aws.client("s3")
    found = s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
    if not found:
        return None
    newest = max(found, key=lambda each: each["LastModified"])["Key"]
    text = s3.get_object(Bucket=bucket, Key=newest)["Body"].read().decode()
    event: dict[str, Any] = json.loads(text.splitlines()[-1])["captureData"]
    return event


def test_a_canary_gets_its_share_and_a_killed_deployment_goes_back(
    deployer: Deployer, loopback_aws: LoopbackAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = deferred(deployer, "2", weight=0.3)
    now = status(deployer)
    assert {each.name: (each.version, each.weight) for each in now.variants} == {
        CHAMPION: ("1", 0.7),
        CHALLENGER: ("2", pytest.approx(0.3)),
    }
    assert answers(deployer, "2", CHALLENGER)
    runtime, line = loopback_aws.client("sagemaker-runtime"), json.dumps(rows(deployer, "1")[0]["row"])
    asked = {"EndpointName": deployer.name, "ContentType": "application/jsonlines", "Body": line}
    of_challenger = sum(
        runtime.invoke_endpoint(**asked)["InvokedProductionVariant"] == CHALLENGER for _ in range(200)
    )
    assert 34 <= of_challenger <= 86  # four standard deviations around 60
    monkeypatch.setattr(trigger_module, "state_of", lambda _: "failed")
    asyncio.run(trigger.on_kill())
    now = status(deployer)
    assert [(each.version, each.weight) for each in now.variants] == [("1", 1.0)]
    assert set(now.notes) <= {"stable", "previous"}
    assert answers(deployer, "1")


def deferred(deployer: Deployer, version: str, *, weight: float) -> Any:
    """The trigger that a deployment waits with while both models answer, as Airflow builds it."""
    operator, context = deployer.operator(version, weight=weight, deferrable=True), deployer.context()
    event: dict[str, Any] | None = None
    while True:
        with pytest.raises(TaskDeferred) as parked:
            operator.execute_complete(context, event) if event else operator.execute(context)
        kind, arguments = parked.value.trigger.serialize()
        assert kind.endswith("EndpointTrigger")
        trigger = trigger_module.EndpointTrigger(**json.loads(json.dumps(arguments)))
        trigger.task_instance = SimpleNamespace(task_id="deploy")
        if trigger.until:
            return trigger
        event = asyncio.run(_first(trigger))
        operator = deployer.operator(version, weight=weight, deferrable=True)


async def _first(trigger: Any) -> dict[str, Any]:
    async for event in trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("a trigger fires once")


def test_a_model_that_does_not_come_up_leaves_the_old_one_answering(
    deployer: Deployer, loopback_aws: LoopbackAws
) -> None:
    over, wrong = threading.Event(), []

    def keep_asking() -> None:
        while not over.wait(0.02):
            if not answers(deployer, "1"):
                wrong.append("another answer")

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        with pytest.raises(
            DeploymentFailed, match=r"is as it was before: .* did not pass the ping health check"
        ):
            deployer.deploy(BROKEN, weight=0.3)
    finally:
        over.set()
        asking.join()
    assert wrong == []
    now = status(deployer)
    assert (now.state, [each.version for each in now.variants]) == (EndpointState.SERVING, ["1"])


def test_an_answer_that_is_not_the_batch_prediction_never_gets_a_request(
    deployer: Deployer, tmp_path: Path
) -> None:
    wrong = tmp_path / "2"
    wrong.mkdir()
    (wrong / "probe.jsonl").write_text((deployer.probes / "1" / "probe.jsonl").read_text())
    deployer.probes = tmp_path
    with pytest.raises(
        DeploymentFailed, match=r"challenger of .*: row 0 was answered with .*, in a batch it is"
    ):
        deployer.deploy("2", weight=0.3)
    assert [(each.version, each.weight) for each in status(deployer).variants] == [("1", 1.0)]


def test_lost_replies_and_a_death_on_the_way_end_in_one_endpoint_with_the_new_model(
    deployer: Deployer, loopback_aws: LoopbackAws
) -> None:
    for operation in ("CreateModel", "CreateEndpointConfig", "UpdateEndpoint"):
        loopback_aws.fault("lost_reply", operation=operation)
    loopback_aws.fault("throttling", operation="DescribeEndpoint", times=2)
    operator = deployer.operator("2")
    died = RuntimeError("the worker died")

    def die(*_: Any) -> None:
        raise died

    operator._wait = die  # type: ignore[method-assign]  # at its first look at the change
    with pytest.raises(RuntimeError):
        operator.execute(deployer.context())
    assert status(deployer).going_to
    assert deployer.deploy("2", run=deployer.runs)["version"] == "2"
    assert answers(deployer, "2")
    assert names(loopback_aws, deployer) == {"endpoints": 1, "configs": 2, "models": 2}
    updates = {call["parameters"]["EndpointConfigName"] for call in loopback_aws.calls("UpdateEndpoint")}
    assert len(updates) == 1


def test_a_rollback_is_the_release_before_and_its_repetition_changes_nothing(
    anyhow: Deployer, loopback_aws: LoopbackAws
) -> None:
    deployer = anyhow
    now = deployer.there.status(deployer.name)
    if now is None or not now.notes.get("previous"):  # the test before has left version 2
        deployer.deploy("1")
    deployer.deploy("2")
    run = deployer.runs + 1
    assert deployer.roll_back()["version"] == "1"
    assert answers(deployer, "1")
    assert status(deployer).notes["barred"] == "2"
    loopback_aws.reset()
    assert deployer.roll_back(run=run)["version"] == "1"
    assert loopback_aws.calls("UpdateEndpoint") == []
    assert names(loopback_aws, deployer) == {"endpoints": 1, "configs": 2, "models": 2}


def test_an_alarm_that_is_on_sends_a_deployment_back(deployer: Deployer, loopback_aws: LoopbackAws) -> None:
    client = loopback_aws.client("cloudwatch")
    alarm = {"AlarmName": f"{deployer.name}-errors", "StateReason": "a test"}
    client.set_alarm_state(**alarm, StateValue="ALARM")
    try:
        with pytest.raises(DeploymentFailed, match="alarms"):
            deployer.deploy("2")
    finally:
        client.set_alarm_state(**alarm, StateValue="OK")
    assert answers(deployer, "1")


def test_a_first_deployment_that_fails_leaves_nothing_that_costs(
    anyhow: Deployer, loopback_aws: LoopbackAws
) -> None:
    deployer = anyhow
    deployer.there.delete(deployer.name)
    with pytest.raises(DeploymentFailed, match="ping health check"):
        deployer.deploy(BROKEN)
    assert deployer.there.status(deployer.name) is None
    assert names(loopback_aws, deployer) == {"endpoints": 0, "configs": 0, "models": 0}
    with pytest.raises(ConfigError, match="there is no endpoint"):
        deployer.roll_back()
