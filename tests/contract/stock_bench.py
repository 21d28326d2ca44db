"""Tasks that run the Amazon provider's own SageMaker operators, unchanged, without a scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import sys
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerTrainingOperator,
    SageMakerTransformOperator,
    SageMakerTuningOperator,
)
from airflow.sdk.exceptions import TaskDeferred
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcloud.aws import LoopbackAws

__all__ = [
    "BRIEF",
    "QUICK",
    "SLEEPER",
    "FastClock",
    "Stock",
    "add_images",
    "event_of",
    "in_a_thread",
    "trigger_of",
]

CONNECTION = "nightshift_aws"
SLEEPER, QUICK, BRIEF, SERVER = "sleeper", "quick", "brief", "server"
_SERVE = """
import os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Slow(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def do_POST(self):
        time.sleep(600)
address = os.environ["SAGEMAKER_BIND_TO_HOST"], int(os.environ["SAGEMAKER_BIND_TO_PORT"])
ThreadingHTTPServer(address, Slow).serve_forever()
"""


def add_images(aws: LoopbackAws) -> None:
    """Tiny images: one sleeps until it is stopped, two end soon, one is a model that never answers."""
    aws.add_image(SLEEPER, train=["sleep", "600"])
    aws.add_image(QUICK, train=["true"])
    aws.add_image(BRIEF, train=["sleep", "2.2"])
    aws.add_image(SERVER, serve=[sys.executable, "-c", _SERVE])


class FastClock:
    """The hook's clock, 30 times as fast: with logs it asks for a job's state every 30 seconds only."""

    @staticmethod
    def monotonic() -> float:
        return time.monotonic() * 30

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / 30)  # the product's own pause, not the test's


@dataclass
class Stock:
    """One task that runs a stock operator; every try is a new operator with the same configuration."""

    aws: LoopbackAws
    name: str

    @property
    def sagemaker(self) -> Any:
        return self.aws.client("sagemaker")

    @property
    def context(self) -> Any:
        return {"ti": SimpleNamespace(xcom_push=lambda **_: None)}

    def training(self, image: str = SLEEPER, *, spot: bool = False, **options: Any) -> Any:
        """The training operator of a new try."""
        config: dict[str, Any] = {"TrainingJobName": self.name, **self._definition(image)}
        if spot:
            config |= {"EnableManagedSpotTraining": True}
            config["StoppingCondition"] |= {"MaxWaitTimeInSeconds": 700}
        return self._made(SageMakerTrainingOperator, config, **{"print_log": False, **options})

    def tuning(self, **options: Any) -> Any:
        """The tuning operator of a new try: two trials that sleep."""
        config = {
            "HyperParameterTuningJobName": self.name,
            "HyperParameterTuningJobConfig": {
                "Strategy": "Random",
                "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
                "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2},
                "ParameterRanges": {
                    "ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]
                },
            },
            "TrainingJobDefinition": {
                **self._definition(SLEEPER),
                "InputDataConfig": [
                    {"ChannelName": "in", "DataSource": self._uploaded()}
                ],  # the hook wants one
            },
        }
        specification = config["TrainingJobDefinition"]["AlgorithmSpecification"]  # type: ignore[index]
        specification["MetricDefinitions"] = [{"Name": "score", "Regex": "score=([0-9.]+)"}]
        return self._made(SageMakerTuningOperator, config, **options)

    def transform(self, **options: Any) -> Any:
        """The transform operator of a new try: one file, for a model that never answers."""
        transform = {
            "TransformJobName": self.name,
            "ModelName": self.name,
            "TransformInput": {"DataSource": self._uploaded()},
            "TransformOutput": {"S3OutputPath": f"s3://{self.aws.buckets['jobs']}/{self.name}/out"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        }
        model = {
            "ModelName": self.name,
            "PrimaryContainer": {"Image": SERVER},
            "ExecutionRoleArn": self.aws.role_arn,
        }
        return self._made(SageMakerTransformOperator, {"Transform": transform, "Model": model}, **options)

    def _uploaded(self) -> dict[str, Any]:
        bucket = self.aws.buckets["jobs"]
        self.aws.client("s3").put_object(Bucket=bucket, Key=f"{self.name}/in/a.jsonl", Body=b"{}\n")
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{self.name}/in"}
        return {"S3DataSource": source}

    def trials(self) -> list[str]:
        """Names of the trials of this task's tuning that run."""
        found = self.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=self.name, StatusEquals="InProgress"
        )
        return [job["TrainingJobName"] for job in found["TrainingJobSummaries"]]

    def transforms(self) -> list[str]:
        """Names of the transform jobs of this task that run."""
        found = self.sagemaker.list_transform_jobs(NameContains=self.name, StatusEquals="InProgress")
        return [job["TransformJobName"] for job in found["TransformJobSummaries"]]

    def stop(self) -> None:
        """End what the test has left."""
        for job in self.transforms():
            self.sagemaker.stop_transform_job(TransformJobName=job)
        tuning = self.sagemaker.list_hyper_parameter_tuning_jobs(
            NameContains=self.name, StatusEquals="InProgress"
        )
        for job in tuning["HyperParameterTuningJobSummaries"]:
            name = job["HyperParameterTuningJobName"]
            self.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        for job in self.jobs():
            with contextlib.suppress(ClientError):  # a trial that its tuning has stopped meanwhile
                self.sagemaker.stop_training_job(TrainingJobName=job)

    def _definition(self, image: str) -> dict[str, Any]:
        return copy.deepcopy({
            "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
            "RoleArn": self.aws.role_arn,
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.aws.buckets['jobs']}/stock"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        })  # fmt: skip

    def _made(self, kind: Any, config: dict[str, Any], **options: Any) -> Any:
        common = {"task_id": "train", "aws_conn_id": CONNECTION, "region_name": self.aws.region}
        return kind(config=config, **common, **{"check_interval": 1, **options})

    def jobs(self, state: str = "InProgress") -> list[str]:
        """Names of the training jobs of this task in that state, oldest first."""
        found = self.sagemaker.list_training_jobs(
            NameContains=self.name, SortBy="CreationTime", SortOrder="Ascending", StatusEquals=state
        )
        return [job["TrainingJobName"] for job in found["TrainingJobSummaries"]]


def in_a_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Begin; the function returns what it returned or raised at its end."""
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(call())
        except Exception as error:  # noqa: BLE001 it is what the test looks at
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def outcome() -> Any:
        thread.join(20)
        assert ended, "still waiting"
        return ended[0]

    return outcome


def trigger_of(operator: Any, context: Any) -> Any:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    return deferred.value.trigger


def event_of(trigger: Any) -> dict[str, Any]:
    async def first() -> Any:
        return await anext(trigger.run())

    found: dict[str, Any] = asyncio.run(first()).payload
    return found
