"""A bench for SageMaker jobs: scripts as images, requests with everything needed, waiting for the end."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from localcloud.waiting import wait_until

if TYPE_CHECKING:
    from localcloud.aws import LoopbackAws

__all__ = ["Bench", "bench"]

LIVE = ("InProgress", "Stopping")


@dataclass
class Bench:
    """Jobs from shell scripts on a running loopback AWS."""

    aws: LoopbackAws

    def __post_init__(self) -> None:
        self.sm, self.s3, self.logs = (self.aws.client(name) for name in ("sagemaker", "s3", "logs"))
        self.place = f"s3://nightshift-jobs/{uuid4().hex[:8]}"

    def put(self, path: str, text: str) -> str:
        """An object below this bench's place; gives its URI."""
        bucket, _, prefix = self.place.removeprefix("s3://").partition("/")
        self.s3.put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=text.encode())
        return f"{self.place}/{path}"

    def objects(self, path: str = "") -> dict[str, str]:
        """Everything below a place, by relative key."""
        bucket, _, prefix = f"{self.place}/{path}".removeprefix("s3://").partition("/")
        found = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        return {
            one["Key"][len(prefix) :]: self.s3.get_object(Bucket=bucket, Key=one["Key"])["Body"]
            .read()
            .decode(errors="replace")
            for one in found
        }

    def image(self, script: str) -> str:
        """An image whose ``train`` runs a shell script in its base folder."""
        name = f"toy:{uuid4().hex[:8]}"
        self.aws.add_image(name, train=["sh", "-c", script], serve=[sys.executable, str(_SERVE)])
        return name

    def request(self, script: str, **changes: Any) -> dict[str, Any]:
        """A request for a training job that runs a script."""
        return {
            "TrainingJobName": f"job-{uuid4().hex[:10]}",
            "RoleArn": self.aws.role_arn,
            "AlgorithmSpecification": {"TrainingImage": self.image(script), "TrainingInputMode": "File"},
            "OutputDataConfig": {"S3OutputPath": f"{self.place}/out", "CompressionType": "NONE"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            **changes,
        }

    def start(self, script: str, **changes: Any) -> str:
        """Start a training job; gives its name."""
        request = self.request(script, **changes)
        self.sm.create_training_job(**request)
        return str(request["TrainingJobName"])

    def describe(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.sm.describe_training_job(TrainingJobName=name)
        return found

    def end(self, name: str) -> dict[str, Any]:
        """The description of a training job that has ended."""
        self.until(lambda: self.describe(name)["TrainingJobStatus"] not in LIVE)
        return self.describe(name)

    def until_line(self, name: str, text: str) -> None:
        """Wait until the job's log holds a line."""
        self.until(lambda: text in self.lines(name))

    def lines(self, name: str, group: str = "TrainingJobs") -> list[str]:
        """The job's log."""
        try:
            found = self.logs.filter_log_events(
                logGroupName=f"/aws/sagemaker/{group}", logStreamNamePrefix=f"{name}/"
            )
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in found["events"]]

    @staticmethod
    def until(question: Any, patience_s: float = 20) -> None:
        assert wait_until(question, patience_s, 0.03), "it did not come true in time"

    @staticmethod
    def steps(described: dict[str, Any]) -> list[str]:
        return [step["Status"] for step in described["SecondaryStatusTransitions"]]


_SERVE = Path(__file__).with_name("toy_serve.py")


@pytest.fixture
def bench(clean_loopback_aws: LoopbackAws) -> Bench:
    """A bench with a place of its own in S3."""
    return Bench(clean_loopback_aws)


def gone(pid: int) -> bool:
    """Whether no process of that id runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
