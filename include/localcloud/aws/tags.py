"""Tags of what we keep ourselves; what moto keeps, moto tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import NotOurs
from localcloud.aws.listing import page
from localcloud.aws.operations import operation

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.records import Record

__all__ = ["tags_of"]


def tags_of(request: dict[str, Any]) -> dict[str, str]:
    """The tags in a Create call."""
    return {tag["Key"]: tag["Value"] for tag in request.get("Tags", ())}


@operation("sagemaker", "ListTags")
def list_tags(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """The tags of a thing, in pages."""
    tags = [{"Key": key, "Value": value} for key, value in _record(cloud, request).tags.items()]
    return page(tags, request, "Tags", default=50)


@operation("sagemaker", "AddTags")
def add_tags(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Set tags beside those that are there."""
    record = _record(cloud, request)
    record.tags = {**record.tags, **tags_of(request)}
    cloud.records.save(record)
    return {"Tags": [{"Key": key, "Value": value} for key, value in record.tags.items()]}


@operation("sagemaker", "DeleteTags")
def delete_tags(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Take tags away."""
    record = _record(cloud, request)
    record.tags = {key: value for key, value in record.tags.items() if key not in request["TagKeys"]}
    cloud.records.save(record)
    return {}


def _record(cloud: Cloud, request: dict[str, Any]) -> Record:
    record = cloud.records.by_arn(request["ResourceArn"])
    if record is None:
        raise NotOurs
    return record
