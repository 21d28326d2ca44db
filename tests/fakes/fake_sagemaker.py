"""SageMaker's control plane in this process, for tests: it remembers, and does nothing by itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from nightshift.platforms.sagemaker.calls import TRAINING, TRANSFORM, TUNING
from nightshift.platforms.sagemaker.config import SageMakerConfig
from nightshift.platforms.sagemaker.platform import SageMakerPlatform
from nightshift.platforms.sagemaker.store import JobsStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nightshift.platforms.sagemaker.calls import Kind

__all__ = ["FakeSageMaker", "platform_with", "refusal"]

_KINDS = {kind.method: kind for kind in (TRAINING, TUNING, TRANSFORM)}
_RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1}
_FIRST, _LAST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


def refusal(code: str, message: str) -> ClientError:
    """What boto3 raises."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "Operation")


@dataclass
class FakeSageMaker:
    """A boto3 client, as far as jobs need one.

    :param refused: by operation, what it answers instead.
    :param before: by operation, what happens before it does its work.
    """

    refused: dict[str, ClientError] = field(default_factory=dict)
    before: dict[str, Callable[[], Any]] = field(default_factory=dict)
    called: list[tuple[str, str]] = field(default_factory=list)
    jobs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(ClientError=ClientError))

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            name = next((value for key, value in request.items() if key.endswith("Name")), "")
            self.called.append((operation, name))
            self.before.pop(operation, lambda: None)()
            if operation in self.refused:
                raise self.refused[operation]
            verb, _, method = operation.partition("_")
            return getattr(self, f"_{verb}")(method, name)

        if operation.startswith("__"):
            raise AttributeError(operation)
        return call

    def _create(self, method: str, name: str) -> None:
        if method in _KINDS:
            self.put(_KINDS[method], name, "InProgress")

    def _describe(self, method: str, name: str) -> dict[str, Any]:
        found = self.jobs.get((method, name))
        if found is None:
            raise refusal("ValidationException", "Requested resource not found.")
        return found

    def _stop(self, method: str, name: str) -> None:
        found = self._describe(method, name)
        noun = _KINDS[method].noun
        if found[f"{noun}Status"] != "InProgress":
            raise refusal(
                "ValidationException", "The request was rejected because it is in status Completed."
            )
        self.put(_KINDS[method], name, "Stopped")

    def _delete(self, method: str, name: str) -> None:
        pass

    def _list(self, method: str, _: str) -> dict[str, Any]:
        return {"TrainingJobSummaries": []}

    def put(self, kind: Kind, name: str, status: str) -> None:
        """There is such a job now."""
        self.jobs[kind.method, name] = {
            f"{kind.noun}Name": name,
            f"{kind.noun}Arn": f"arn:aws:sagemaker:eu-central-1:123456789012:job/{name}",
            f"{kind.noun}Status": status,
            "SecondaryStatus": {"InProgress": "Training"}.get(status, status),
            "CreationTime": _FIRST,
            f"{kind.noun.removesuffix('Job')}StartTime": _FIRST,
            **({} if status == "InProgress" else {f"{kind.noun.removesuffix('Job')}EndTime": _LAST}),
            "BillableTimeInSeconds": 60,
            "ResourceConfig": _RESOURCES,
            "TransformResources": _RESOURCES,
            "HyperParameterTuningJobConfig": {"ResourceLimits": {}},
            "BestTrainingJob": {"TrainingJobName": f"{name}-001-0a1b2c3d"},
            "OutputDataConfig": {},
        }

    def times(self, operation: str) -> int:
        """How often it was called."""
        return sum(each == operation for each, _ in self.called)


def platform_with(client: FakeSageMaker, folder: Path, jobs_dir: Path, **settings: Any) -> SageMakerPlatform:
    """A platform whose files are in ``folder``."""
    given = {"role_arn": "arn:aws:iam::123456789012:role/x", "jobs_uri": "s3://jobs", "image": "nightshift:1"}
    config = SageMakerConfig(**{**given, **settings})
    places = {"jobs_dir": jobs_dir, "cache": folder / "cache"}
    platform = SageMakerPlatform(config, "us-east-1", lambda _: client, dict, **places)
    (folder / "jobs").mkdir(parents=True)
    platform.site = replace(platform.site, store=JobsStore((folder / "jobs").as_uri(), dict))
    return platform
