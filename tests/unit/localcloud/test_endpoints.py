"""Endpoints: processes that answer by weight, changes that may fail, what is captured, schedules."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from localcloud.aws import running
from tests.unit.localcloud.conftest import Bench, gone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Endpoint:
    """One endpoint of a bench, and what is made for it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.name = f"end-{uuid4().hex[:8]}"
        self.runtime = bench.aws.client("sagemaker-runtime")

    def model(self, prefix: str) -> str:
        """A model that begins each answer with a text; an empty text is a model that does not come up."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            entry = tarfile.TarInfo("prefix")
            entry.size = len(prefix)
            archive.addfile(entry, io.BytesIO(prefix.encode()))
        name = f"model-{uuid4().hex[:8]}"
        bucket, _, key = f"{self.bench.place}/{name}.tar.gz".removeprefix("s3://").partition("/")
        self.bench.s3.put_object(Bucket=bucket, Key=key, Body=packed.getvalue())
        image = self.bench.image("true")
        if not prefix:
            self.bench.aws.add_image(image, serve=["sh", "-c", "echo I cannot; exit 3"])
        self.bench.sm.create_model(
            ModelName=name,
            PrimaryContainer={"Image": image, "ModelDataUrl": f"s3://{bucket}/{key}"},
            ExecutionRoleArn=self.bench.aws.role_arn,
        )
        return name

    def config(self, capture: dict[str, Any] | None = None, **models: tuple[str, float]) -> str:
        name = f"config-{uuid4().hex[:8]}"
        variants = [
            {
                "VariantName": variant,
                "ModelName": model,
                "InstanceType": "ml.m6i.large",
                "InitialInstanceCount": 2,
                "InitialVariantWeight": weight,
            }
            for variant, (model, weight) in models.items()
        ]
        more = {"DataCaptureConfig": capture} if capture else {}
        self.bench.sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **more)
        return name

    def create(self, config: str) -> dict[str, Any]:
        self.bench.sm.create_endpoint(EndpointName=self.name, EndpointConfigName=config)
        return self.settled()

    def update(self, config: str, **more: Any) -> dict[str, Any]:
        self.bench.sm.update_endpoint(EndpointName=self.name, EndpointConfigName=config, **more)
        return self.settled()

    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = self.bench.sm.describe_endpoint(EndpointName=self.name)
        return found

    def settled(self) -> dict[str, Any]:
        self.bench.until(lambda: self.described()["EndpointStatus"] in ("InService", "Failed"))
        return self.described()

    def ask(self, text: str, **more: Any) -> str:
        answer = self.runtime.invoke_endpoint(
            EndpointName=self.name, Body=text.encode(), ContentType="text/plain", **more
        )
        found: str = answer["Body"].read().decode()
        return found


@pytest.fixture
def endpoint(bench: Bench) -> Iterator[Endpoint]:
    found = Endpoint(bench)
    yield found
    names = [each["EndpointName"] for each in bench.sm.list_endpoints(NameContains=found.name)["Endpoints"]]
    for name in names:
        bench.sm.delete_endpoint(EndpointName=name)


def test_variants_answer_by_their_weights_and_a_target_wins(endpoint: Endpoint) -> None:
    made = endpoint.create(endpoint.config(a=(endpoint.model("a "), 3.0), b=(endpoint.model("b "), 1.0)))
    assert made["EndpointStatus"] == "InService"
    assert [each["CurrentInstanceCount"] for each in made["ProductionVariants"]] == [2, 2]
    found = Counter(endpoint.ask("x") for _ in range(120))
    assert set(found) == {"a X", "b X"}
    assert 70 <= found["a X"] <= 110  # 90, and four standard deviations
    assert endpoint.ask("x", TargetVariant="b") == "b X"
    endpoint.bench.sm.update_endpoint_weights_and_capacities(
        EndpointName=endpoint.name,
        DesiredWeightsAndCapacities=[{"VariantName": "a", "DesiredWeight": 0.0}],
    )
    endpoint.settled()
    assert {endpoint.ask("x") for _ in range(20)} == {"b X"}


def test_an_update_that_fails_leaves_the_old_model_serving_and_says_why(endpoint: Endpoint) -> None:
    first = endpoint.config(a=(endpoint.model("old "), 1.0))
    endpoint.create(first)
    found = endpoint.update(endpoint.config(a=(endpoint.model(""), 1.0)))
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", first)
    assert "did not pass the ping health check" in found["FailureReason"]
    assert endpoint.ask("x") == "old X"
    assert "I cannot" in " ".join(endpoint.bench.lines("a", f"Endpoints/{endpoint.name}"))
    found = endpoint.update(endpoint.config(a=(endpoint.model("new "), 1.0)))
    assert "FailureReason" not in found
    assert endpoint.ask("x") == "new X"


def test_an_endpoint_that_never_served_has_failed_and_can_only_be_deleted(endpoint: Endpoint) -> None:
    found = endpoint.create(endpoint.config(a=(endpoint.model(""), 1.0)))
    assert found["EndpointStatus"] == "Failed"
    config = endpoint.config(a=(endpoint.model("a "), 1.0))
    with pytest.raises(ClientError, match="Cannot update"):
        endpoint.update(config)
    with pytest.raises(ClientError, match="does not serve"):
        endpoint.ask("x")


def test_an_endpoint_that_is_being_changed_refuses_another_change(endpoint: Endpoint) -> None:
    first = endpoint.config(a=(endpoint.model("a "), 1.0))
    endpoint.create(first)
    second = endpoint.config(a=(endpoint.model("b "), 1.0))
    endpoint.bench.aws.fault("slow_start", operation="UpdateEndpoint", seconds=0.5)
    endpoint.bench.sm.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=second)
    found = endpoint.described()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("Updating", first)
    assert found["PendingDeploymentSummary"]["EndpointConfigName"] == second
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        endpoint.bench.sm.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=first)
    assert endpoint.ask("x") == "a X"
    assert endpoint.settled()["EndpointConfigName"] == second


def test_a_guarded_update_keeps_the_names_of_the_variants(endpoint: Endpoint) -> None:
    model = endpoint.model("a ")
    endpoint.create(endpoint.config(a=(model, 1.0)))
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    guarded = {"DeploymentConfig": {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}}
    both = endpoint.config(a=(model, 1.0), b=(model, 0.0))
    with pytest.raises(ClientError, match=r"the variants .* are not those of the endpoint"):
        endpoint.update(both, **guarded)
    assert endpoint.update(both)["EndpointConfigName"] == both
    same = endpoint.config(a=(model, 2.0), b=(model, 1.0))
    assert endpoint.update(same, **guarded)["EndpointConfigName"] == same


def test_machines_are_not_always_there(endpoint: Endpoint) -> None:
    endpoint.create(endpoint.config(a=(endpoint.model("a "), 1.0)))
    endpoint.bench.aws.fault("capacity", operation="UpdateEndpoint")
    found = endpoint.update(endpoint.config(a=(endpoint.model("b "), 1.0)))
    assert found["FailureReason"].startswith("CapacityError")


def test_what_autoscaling_has_added_may_be_kept(endpoint: Endpoint) -> None:
    config = endpoint.config(a=(endpoint.model("a "), 1.0))
    endpoint.create(config)
    endpoint.bench.sm.update_endpoint_weights_and_capacities(
        EndpointName=endpoint.name,
        DesiredWeightsAndCapacities=[{"VariantName": "a", "DesiredInstanceCount": 5, "DesiredWeight": 2.0}],
    )
    endpoint.settled()
    found = endpoint.update(
        endpoint.config(a=(endpoint.model("b "), 1.0)),
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredWeight"}],
    )
    (variant,) = found["ProductionVariants"]
    assert (variant["DesiredInstanceCount"], variant["DesiredWeight"]) == (5, 1.0)


@pytest.mark.parametrize(
    ("text", "more", "code"),
    [("fail:400", {}, "ModelError"), ("x", {"TargetVariant": "c"}, "ValidationError")],
    ids=["the model refuses", "no such variant"],
)
def test_a_request_that_cannot_be_answered_says_so(
    endpoint: Endpoint, text: str, more: dict[str, str], code: str
) -> None:
    endpoint.create(endpoint.config(a=(endpoint.model("a "), 1.0)))
    with pytest.raises(ClientError) as error:
        endpoint.ask(text, **more)
    assert error.value.response["Error"]["Code"] == code


def test_requests_and_answers_are_captured(endpoint: Endpoint) -> None:
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"{endpoint.bench.place}/captured",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
    }
    endpoint.create(endpoint.config(capture, a=(endpoint.model("a "), 1.0)))
    endpoint.ask("one")
    endpoint.bench.until(lambda: endpoint.bench.objects("captured/"))
    ((path, text),) = endpoint.bench.objects("captured/").items()
    assert path.startswith(f"{endpoint.name}/a/")
    event = json.loads(text)["captureData"]["endpointInput"]
    assert (event["observedContentType"], event["encoding"], event["data"]) == (
        "text/plain",
        "BASE64",
        "b25l",
    )


def test_schedules_are_kept_started_and_stopped(bench: Bench) -> None:
    name = f"watch-{uuid4().hex[:8]}"
    endpoint_input = {"EndpointName": "some", "LocalPath": "/opt/ml/processing/input"}
    output = {"S3Uri": f"{bench.place}/out", "LocalPath": "/opt/ml/processing/output"}
    machine = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 20}
    job = {
        "MonitoringInputs": [{"EndpointInput": endpoint_input}],
        "MonitoringOutputConfig": {"MonitoringOutputs": [{"S3Output": output}]},
        "MonitoringResources": {"ClusterConfig": machine},
        "MonitoringAppSpecification": {"ImageUri": "an-image"},
        "RoleArn": bench.aws.role_arn,
    }
    config = {"MonitoringJobDefinition": job, "MonitoringType": "DataQuality"}
    request = {"MonitoringScheduleName": name, "MonitoringScheduleConfig": config}
    bench.sm.create_monitoring_schedule(**request)
    with pytest.raises(ClientError, match="already exists"):
        bench.sm.create_monitoring_schedule(**request)
    bench.sm.stop_monitoring_schedule(MonitoringScheduleName=name)
    found = bench.sm.describe_monitoring_schedule(MonitoringScheduleName=name)
    assert (found["MonitoringScheduleStatus"], found["EndpointName"]) == ("Stopped", "some")
    listed = bench.sm.list_monitoring_schedules(EndpointName="some", NameContains=name)
    assert [each["MonitoringScheduleName"] for each in listed["MonitoringScheduleSummaries"]] == [name]
    bench.sm.delete_monitoring_schedule(MonitoringScheduleName=name)
    with pytest.raises(ClientError, match="not found"):
        bench.sm.describe_monitoring_schedule(MonitoringScheduleName=name)


def test_an_endpoint_outlives_its_server_and_its_processes_do_not(tmp_path: Path) -> None:
    home = tmp_path / "aws"
    with running(home) as aws:
        endpoint = Endpoint(Bench(aws))
        endpoint.create(endpoint.config(a=(endpoint.model("a "), 1.0)))
        assert endpoint.ask("x") == "a X"
        (pid,) = _servers(home)
        os.kill(aws.pid, signal.SIGKILL)
        endpoint.bench.until(lambda: gone(pid))
    with running(home) as aws:
        endpoint.bench, name = Bench(aws), endpoint.name
        endpoint.runtime = aws.client("sagemaker-runtime")
        assert endpoint.settled()["EndpointStatus"] == "InService"
        assert endpoint.ask("x") == "a X"
        aws.client("sagemaker").delete_endpoint(EndpointName=name)
        endpoint.bench.until(lambda: not _servers(home))


def _servers(home: Path) -> list[int]:
    """Processes that serve a model of the server that lives in this folder."""
    from pathlib import Path

    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "cmdline").read_bytes().decode().split("\0")
            variables = (each / "environ").read_bytes().decode()
        except OSError:
            continue
        if any(word.endswith("toy_serve.py") for word in words) and f"SAGEMAKER_BASE_DIR={home}" in variables:
            found.append(int(each.name))
    return found
