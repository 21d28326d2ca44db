"""Processing jobs: inputs, one command, outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.unit.localcloud.conftest import LIVE

if TYPE_CHECKING:
    from tests.unit.localcloud.conftest import Bench


def run(bench: Bench, script: str, **changes: Any) -> dict[str, Any]:
    name = f"process-{uuid4().hex[:8]}"
    where = {"S3Uri": f"{bench.place}/in/", "LocalPath": "/opt/ml/processing/in", "S3DataType": "S3Prefix"}
    output = {
        "S3Uri": f"{bench.place}/done",
        "LocalPath": "/opt/ml/processing/out",
        "S3UploadMode": "EndOfJob",
    }
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    bench.sm.create_processing_job(
        ProcessingJobName=name,
        RoleArn=bench.aws.role_arn,
        AppSpecification={"ImageUri": bench.image("true"), "ContainerEntrypoint": ["sh", "-c", script]},
        ProcessingInputs=[{"InputName": "in", "S3Input": {**where, "S3InputMode": "File"}}],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": output}]},
        ProcessingResources={"ClusterConfig": cluster},
        **changes,
    )

    def described() -> dict[str, Any]:
        found: dict[str, Any] = bench.sm.describe_processing_job(ProcessingJobName=name)
        return found

    bench.until(lambda: described()["ProcessingJobStatus"] not in LIVE)
    return described()


@pytest.mark.parametrize(
    ("script", "status", "outputs"),
    [
        ("tr a-z A-Z < /opt/ml/processing/in/x > /opt/ml/processing/out/x", "Completed", {"x": "HELLO"}),
        ("echo gone > /opt/ml/output/message; exit 2", "Failed", {}),
        ("sleep 60", "Stopped", {}),
    ],
    ids=["done", "failed", "too long"],
)
def test_a_processing_job_runs(bench: Bench, script: str, status: str, outputs: dict[str, str]) -> None:
    bench.put("in/x", "hello")
    ended = run(bench, script, StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert ended["ProcessingJobStatus"] == status
    assert bench.objects("done/") == outputs
    assert ended.get("ExitMessage", "gone\n") == "gone\n"
