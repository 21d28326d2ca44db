"""Models: a container image and where its files are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import refused, validation
from localcloud.aws.listing import summaries
from localcloud.aws.operations import operation
from localcloud.aws.records import Record, arn_of
from localcloud.aws.roles import check_role
from localcloud.aws.storage import listed
from localcloud.aws.tags import tags_of

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.errors import AwsError

__all__ = ["KIND", "container_of", "find_model"]

KIND = "model"


@operation("sagemaker", "CreateModel")
def create(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Remember a model; its files must be there."""
    model = Record(KIND, request["ModelName"], request, {"CreationTime": time.time()}, tags_of(request))
    if "ExecutionRoleArn" in request:
        check_role(request["ExecutionRoleArn"])
    container = container_of(model)
    if "Image" not in container:
        raise refused("a model without an Image (model packages)")
    url = container.get("ModelDataUrl") or _uri_of_source(container)
    if url and next(iter(listed(cloud.s3(), url)), None) is None:
        raise validation(f"Could not find model data at {url}.")
    shown = {"EnableNetworkIsolation": False, **{k: v for k, v in request.items() if k != "Tags"}}
    model.shown |= {**shown, "ModelArn": model.arn}
    cloud.records.add(model, taken=_taken)
    return {"ModelArn": model.arn}


def _taken(there: Record) -> AwsError:
    return validation(f'Cannot create already existing model "{there.arn}".')


def _uri_of_source(container: dict[str, Any]) -> str:
    uri: str = container.get("ModelDataSource", {}).get("S3DataSource", {}).get("S3Uri", "")
    return uri


def container_of(model: Record) -> dict[str, Any]:
    """The one container of a model.

    :raises AwsError: for an inference pipeline of several.
    """
    containers = model.request.get("Containers") or [model.request.get("PrimaryContainer")]
    if len(containers) != 1 or containers[0] is None:
        raise refused("models of several containers, or of none")
    found: dict[str, Any] = containers[0]
    return found


def find_model(cloud: Cloud, name: str) -> Record:
    """A model by its name.

    :raises AwsError: when there is none.
    """
    model = cloud.records.find(KIND, name)
    if model is None:
        raise validation(f'Could not find model "{arn_of(KIND, name)}".')
    return model


@operation("sagemaker", "DescribeModel")
def describe(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """What was said when it was created."""
    return find_model(cloud, request["ModelName"]).shown


@operation("sagemaker", "DeleteModel")
def delete(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Forget a model; its files stay."""
    cloud.records.remove(find_model(cloud, request["ModelName"]))
    return {}


@operation("sagemaker", "ListModels")
def list_(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Models, newest first."""

    def summary(model: Record) -> dict[str, Any]:
        return {key: model.shown[key] for key in ("ModelName", "ModelArn", "CreationTime")}

    return summaries(cloud.records.all(KIND), request, "Models", summary, name="ModelName")
