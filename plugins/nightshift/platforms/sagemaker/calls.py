"""Calls to SageMaker: what botocore raises becomes ours here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.platforms.sagemaker.failures import has_ended, is_absent, is_there_already, vendor_errors
from nightshift.platforms.sagemaker.tags import read_tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["TRAINING", "TRANSFORM", "TUNING", "Calls", "Client", "Kind"]

Client = Callable[[str], Any]
"""A boto3 client for a service's name, signed in."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of SageMaker's kinds of job: how its operations and fields are called."""

    words: str
    noun: str
    method: str
    page: str

    @property
    def summaries(self) -> str:
        """The list in an answer of List…Jobs."""
        return f"{self.noun}Summaries"


TRAINING = Kind("training job", "TrainingJob", "training_job", "jobs")
TUNING = Kind("tuning job", "HyperParameterTuningJob", "hyper_parameter_tuning_job", "hyper-tuning-jobs")
TRANSFORM = Kind("transform job", "TransformJob", "transform_job", "transform-jobs")


class Calls:
    """SageMaker's control plane, as far as jobs need it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tags: dict[str, dict[str, str]] = {}

    @property
    def client(self) -> Any:
        """boto3's own."""
        return self._client("sagemaker")

    def describe(self, kind: Kind, name: str) -> dict[str, Any] | None:
        """What SageMaker says of a job, None when it knows none of that name."""
        with vendor_errors(f"describing {kind.words} {name}"):
            call = getattr(self.client, f"describe_{kind.method}")
            try:
                found: dict[str, Any] = call(**{f"{kind.noun}Name": name})
            except self.client.exceptions.ClientError as error:
                if is_absent(error):
                    return None
                raise
            return found

    def create(self, method: str, what: str, request: Mapping[str, Any]) -> bool:
        """Create something by its name; False when it was there already, perhaps from a call whose answer
        was lost."""
        with vendor_errors(f"creating {what}"):
            try:
                getattr(self.client, f"create_{method}")(**request)
            except self.client.exceptions.ClientError as error:
                if is_there_already(error):
                    return False
                raise
            return True

    def stop(self, kind: Kind, name: str) -> None:
        """Ask a job to end; one that has ended by now, or never was, is left as it is."""
        with vendor_errors(f"stopping {kind.words} {name}"):
            try:
                getattr(self.client, f"stop_{kind.method}")(**{f"{kind.noun}Name": name})
            except self.client.exceptions.ClientError as error:
                if not (has_ended(error) or is_absent(error)):
                    raise

    def delete_model(self, name: str) -> None:
        """Forget a model; one that is not there is left as it is."""
        with vendor_errors(f"deleting model {name}"):
            try:
                self.client.delete_model(ModelName=name)
            except self.client.exceptions.ClientError as error:
                if not is_absent(error):
                    raise

    def jobs(self, kind: Kind, **only: Any) -> Iterator[dict[str, Any]]:
        """Summaries of jobs, the newest first."""
        sorting = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": 100}
        yield from self.pages(f"list_{kind.method}s", kind.summaries, **sorting, **only)

    def trials(self, name: str) -> list[dict[str, Any]]:
        """Summaries of the training jobs that a tuning job started, the first one first."""
        found = self.pages(
            "list_training_jobs_for_hyper_parameter_tuning_job",
            "TrainingJobSummaries",
            HyperParameterTuningJobName=name,
            MaxResults=100,
        )
        return sorted(found, key=lambda each: (each["CreationTime"], each["TrainingJobName"]))

    def pages(self, method: str, key: str, **request: Any) -> Iterator[dict[str, Any]]:
        """Everything that a List operation has, page by page."""
        token: dict[str, str] = {}
        while True:
            with vendor_errors(f"{method} at SageMaker"):
                answer = getattr(self.client, method)(**request, **token)
            yield from answer[key]
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    def tags(self, arn: str) -> dict[str, str]:
        """Our tags of a job; they never change after it was created, so each job is asked once.

        None of one that is gone by now.
        """
        if arn not in self._tags:
            self._tags[arn] = self._read_tags(arn)
        return self._tags[arn]

    def _read_tags(self, arn: str) -> dict[str, str]:
        with vendor_errors(f"reading the tags of {arn}"):
            pages = self.client.get_paginator("list_tags").paginate(ResourceArn=arn)
            try:
                return read_tags(tag for page in pages for tag in page["Tags"])
            except self.client.exceptions.ClientError as error:
                if is_absent(error):
                    return {}
                raise
