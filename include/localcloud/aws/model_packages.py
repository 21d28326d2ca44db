"""Model package groups and Search, where moto leaves a member or a whole operation out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import refused, validation
from localcloud.aws.home import ACCOUNT, REGION
from localcloud.aws.operations import operation
from localcloud.aws.records import arn_of

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud

__all__ = ["delete", "describe", "search"]


@operation("sagemaker", "DescribeModelPackageGroup")
def describe(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """A group as moto keeps it, with the member ``CreatedBy`` that the model asks for."""
    group = _groups().get(request["ModelPackageGroupName"])
    if group is None:
        raise _missing(request)
    description = group.model_package_group_description
    return {
        "ModelPackageGroupName": group.model_package_group_name,
        "ModelPackageGroupArn": group.arn,
        **({"ModelPackageGroupDescription": description} if description else {}),
        "CreationTime": group.creation_time.timestamp(),
        "CreatedBy": {},
        "ModelPackageGroupStatus": group.model_package_group_status,
    }


@operation("sagemaker", "DeleteModelPackageGroup")
def delete(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Remove a group; moto has no such operation."""
    if _groups().pop(request["ModelPackageGroupName"], None) is None:
        raise _missing(request)
    return {}


@operation("sagemaker", "Search")
def search(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """moto would search its own jobs, of which there are none here."""
    raise refused("Search; use the List calls with ListTags")


def _groups() -> Any:
    from moto.sagemaker.models import sagemaker_backends

    return sagemaker_backends[ACCOUNT][REGION].model_package_groups


def _missing(request: dict[str, Any]) -> Exception:
    arn = arn_of("model-package-group", request["ModelPackageGroupName"])
    return validation(f"ModelPackageGroup {arn} does not exist.")
