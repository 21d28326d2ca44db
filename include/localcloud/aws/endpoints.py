"""Endpoints and their configurations: the calls. What serves is in :mod:`localcloud.aws.hosting`.

Like AWS, an update that fails leaves the old configuration serving, ``InService`` with a ``FailureReason``;
an endpoint that never served is ``Failed`` and can only be deleted. Unlike AWS: one process answers for all
instances of a variant, a model that stays is not started anew, and nothing waits for alarms: one that is on
when an update begins sends it back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import validation
from localcloud.aws.hosting import CHANGING, change, host_of, settle_weights
from localcloud.aws.listing import summaries
from localcloud.aws.models import find_model
from localcloud.aws.operations import operation
from localcloud.aws.records import Record, arn_of
from localcloud.aws.tags import tags_of

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.errors import AwsError

__all__ = ["CONFIG", "ENDPOINT", "find_config", "find_endpoint"]

CONFIG, ENDPOINT = "endpoint-config", "endpoint"


# -- configurations -----------------------------------------------------------------------------


@operation("sagemaker", "CreateEndpointConfig")
def create_config(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Remember a configuration; its models must be there."""
    for variant in request["ProductionVariants"]:
        find_model(cloud, variant.get("ModelName", ""))
    shown = {**{k: v for k, v in request.items() if k != "Tags"}, "CreationTime": time.time()}
    record = Record(CONFIG, request["EndpointConfigName"], request, shown, tags_of(request))
    record.shown["EndpointConfigArn"] = record.arn
    cloud.records.add(record, taken=_config_taken)
    return {"EndpointConfigArn": record.arn}


def _config_taken(there: Record) -> AwsError:
    return validation(f'Cannot create already existing endpoint configuration "{there.arn}".')


def find_config(cloud: Cloud, name: str) -> Record:
    """A configuration by its name.

    :raises AwsError: when there is none.
    """
    record = cloud.records.find(CONFIG, name)
    if record is None:
        raise validation(f'Could not find endpoint configuration "{arn_of(CONFIG, name)}".')
    return record


@operation("sagemaker", "DescribeEndpointConfig")
def describe_config(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """What was said when it was created."""
    return find_config(cloud, request["EndpointConfigName"]).shown


@operation("sagemaker", "DeleteEndpointConfig")
def delete_config(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Forget a configuration, in use or not: AWS lets everybody do that, and warns of it."""
    cloud.records.remove(find_config(cloud, request["EndpointConfigName"]))
    return {}


@operation("sagemaker", "ListEndpointConfigs")
def list_configs(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Configurations, newest first."""

    def summary(record: Record) -> dict[str, Any]:
        keys = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        return {key: record.shown[key] for key in keys}

    found = cloud.records.all(CONFIG)
    return summaries(found, request, "EndpointConfigs", summary, name="EndpointConfigName")


# -- endpoints ----------------------------------------------------------------------------------


@operation("sagemaker", "CreateEndpoint")
def create(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Begin to make an endpoint."""
    find_config(cloud, request["EndpointConfigName"])
    now = time.time()
    shown = {
        "EndpointName": request["EndpointName"],
        "EndpointConfigName": request["EndpointConfigName"],
        "EndpointStatus": "Creating",
        "CreationTime": now,
        "LastModifiedTime": now,
    }
    record = Record(ENDPOINT, request["EndpointName"], request, shown, tags_of(request))
    record.shown["EndpointArn"] = record.arn
    cloud.records.add(record, taken=_taken)
    change(cloud, record, request)
    return {"EndpointArn": record.arn}


def _taken(there: Record) -> AwsError:
    return validation(f'Cannot create already existing endpoint "{there.arn}".')


def find_endpoint(cloud: Cloud, name: str) -> Record:
    """An endpoint by its name; one whose server was started anew comes up again.

    :raises AwsError: when there is none.
    """
    record = cloud.records.find(ENDPOINT, name)
    if record is None:
        raise validation(f'Could not find endpoint "{arn_of(ENDPOINT, name)}".')
    host_of(cloud, record)
    return record


@operation("sagemaker", "UpdateEndpoint")
def update(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Begin to change an endpoint to another configuration."""
    record = find_endpoint(cloud, request["EndpointName"])
    config = find_config(cloud, request["EndpointConfigName"])
    with record.lock:
        _refuse_while_changing(record)
        if "DeploymentConfig" in request:
            _refuse_other_variants(record, config)
        if record.shown["EndpointStatus"] == "Failed":
            raise validation(f'Cannot update endpoint "{record.arn}" in status Failed.')
        cloud.records.change(
            record,
            EndpointStatus="Updating",
            PendingDeploymentSummary={
                "EndpointConfigName": request["EndpointConfigName"],
                "StartTime": time.time(),
            },
        )
    change(cloud, record, request)
    return {"EndpointArn": record.arn}


def _refuse_while_changing(record: Record) -> None:
    if record.shown["EndpointStatus"] in CHANGING:
        raise validation(f'Cannot update in-progress endpoint "{record.arn}".')


def _refuse_other_variants(record: Record, config: Record) -> None:
    """The exclusions of AWS's deployment guardrails: a guarded update keeps the names of the variants."""
    there = {each["VariantName"] for each in record.shown.get("ProductionVariants", ())}
    wanted = {each["VariantName"] for each in config.request["ProductionVariants"]}
    if there != wanted:
        raise validation(
            f'Cannot update endpoint "{record.arn}" with a deployment configuration: the variants '
            f"{sorted(wanted)} are not those of the endpoint, {sorted(there)}."
        )


@operation("sagemaker", "UpdateEndpointWeightsAndCapacities")
def weigh(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Change the shares and the machines of variants that serve."""
    record = find_endpoint(cloud, request["EndpointName"])
    with record.lock:
        _refuse_while_changing(record)
        there = {each["VariantName"] for each in record.shown.get("ProductionVariants", ())}
        wanted = {each["VariantName"] for each in request["DesiredWeightsAndCapacities"]}
        if strange := sorted(wanted - there):
            raise validation(
                f'The variant name(s) "{", ".join(strange)}" is/are not present within endpoint '
                f'configuration "{record.shown["EndpointConfigName"]}".'
            )
        cloud.records.change(record, EndpointStatus="Updating")
    settle_weights(cloud, record, request["DesiredWeightsAndCapacities"])
    return {"EndpointArn": record.arn}


@operation("sagemaker", "DescribeEndpoint")
def describe(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """All that is known of an endpoint."""
    return find_endpoint(cloud, request["EndpointName"]).shown


@operation("sagemaker", "DeleteEndpoint")
def delete(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """End what serves; the endpoint is gone at once, which takes AWS a minute."""
    record = find_endpoint(cloud, request["EndpointName"])
    with record.lock:
        _refuse_while_changing(record)
        cloud.records.change(record, EndpointStatus="Deleting")
    host_of(cloud, record).close()
    cloud.records.remove(record)
    return {}


@operation("sagemaker", "ListEndpoints")
def list_(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Endpoints, newest first."""

    def summary(record: Record) -> dict[str, Any]:
        keys = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        return {key: record.shown[key] for key in keys}

    found = cloud.records.all(ENDPOINT)
    return summaries(found, request, "Endpoints", summary, status="EndpointStatus", name="EndpointName")
