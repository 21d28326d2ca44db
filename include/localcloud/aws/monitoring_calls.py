"""Monitoring schedules: kept and shown, started and stopped; nothing is executed at their hours."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import in_use, not_found
from localcloud.aws.listing import summaries
from localcloud.aws.operations import operation
from localcloud.aws.records import Record, arn_of
from localcloud.aws.tags import tags_of

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.errors import AwsError

__all__ = ["KIND"]

KIND = "monitoring-schedule"


@operation("sagemaker", "CreateMonitoringSchedule")
def create(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Remember a schedule."""
    now, name = time.time(), request["MonitoringScheduleName"]
    shown = {
        "MonitoringScheduleName": name,
        "MonitoringScheduleConfig": request["MonitoringScheduleConfig"],
        "MonitoringScheduleStatus": "Scheduled",
        "CreationTime": now,
        "LastModifiedTime": now,
        **_about(request),
    }
    record = Record(KIND, name, request, shown, tags_of(request))
    record.shown["MonitoringScheduleArn"] = record.arn
    cloud.records.add(record, taken=_taken)
    return {"MonitoringScheduleArn": record.arn}


def _about(request: dict[str, Any]) -> dict[str, Any]:
    config = request["MonitoringScheduleConfig"]
    job = config.get("MonitoringJobDefinition", {})
    names = [each.get("EndpointInput", {}).get("EndpointName") for each in job.get("MonitoringInputs", ())]
    found = {"EndpointName": names[0]} if names and names[0] else {}
    kind = config.get("MonitoringType")
    return {**found, **({"MonitoringType": kind} if kind else {})}


def _taken(there: Record) -> AwsError:
    return in_use(f"Monitoring Schedule with name {there.name} already exists ({there.arn}).")


@operation("sagemaker", "UpdateMonitoringSchedule")
def update(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Another configuration."""
    record = _find(cloud, request)
    config = request["MonitoringScheduleConfig"]
    cloud.records.change(record, MonitoringScheduleConfig=config, **_about(request))
    return {"MonitoringScheduleArn": record.arn}


@operation("sagemaker", "DescribeMonitoringSchedule")
def describe(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """All that is known of a schedule."""
    return _find(cloud, request).shown


@operation("sagemaker", "StartMonitoringSchedule")
def start(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Let it run at its hours."""
    cloud.records.change(_find(cloud, request), MonitoringScheduleStatus="Scheduled")
    return {}


@operation("sagemaker", "StopMonitoringSchedule")
def stop(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Let it rest."""
    cloud.records.change(_find(cloud, request), MonitoringScheduleStatus="Stopped")
    return {}


@operation("sagemaker", "DeleteMonitoringSchedule")
def delete(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Forget it."""
    cloud.records.remove(_find(cloud, request))
    return {}


@operation("sagemaker", "ListMonitoringSchedules")
def list_(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Schedules, newest first."""

    def summary(record: Record) -> dict[str, Any]:
        keys = (
            "MonitoringScheduleName", "MonitoringScheduleArn", "CreationTime", "LastModifiedTime",
            "MonitoringScheduleStatus", "EndpointName", "MonitoringType",
        )  # fmt: skip
        return {key: record.shown[key] for key in keys if key in record.shown}

    wanted = request.get("EndpointName")
    found = [each for each in cloud.records.all(KIND) if wanted in (None, each.shown.get("EndpointName"))]
    return summaries(
        found,
        request,
        "MonitoringScheduleSummaries",
        summary,
        status="MonitoringScheduleStatus",
        name="MonitoringScheduleName",
    )


def _find(cloud: Cloud, request: dict[str, Any]) -> Record:
    name = request["MonitoringScheduleName"]
    record = cloud.records.find(KIND, name)
    if record is None:
        raise not_found(f"Monitoring Schedule {arn_of(KIND, name)} not found.")
    return record
