"""FilterLogEvents by the prefix of a stream's name, which moto leaves out of account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import AwsError
from localcloud.aws.logs import backend
from localcloud.aws.operations import operation

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud

__all__ = ["filter_log_events"]


@operation("logs", "FilterLogEvents")
def filter_log_events(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """The events of a group in order of time."""
    group = _group(request)
    names = request.get("logStreamNames") or []
    prefix = request.get("logStreamNamePrefix")
    if names and prefix:
        raise AwsError(
            "InvalidParameterException", "logStreamNames and logStreamNamePrefix exclude each other"
        )
    with cloud.logs.lock:
        if prefix:
            names = [name for name in group.streams if name.startswith(prefix)]
            if not names:
                return {"events": [], "searchedLogStreams": []}
        events, token, searched = group.filter_log_events(
            log_group_name=group.name,
            log_stream_names=names,
            start_time=request.get("startTime", 0),
            end_time=request.get("endTime", 0),
            limit=request.get("limit"),
            next_token=request.get("nextToken"),
            filter_pattern=request.get("filterPattern", ""),
            interleaved=True,
        )
    answer = {"events": events, "searchedLogStreams": searched}
    return {**answer, "nextToken": token} if token else answer


def _group(request: dict[str, Any]) -> Any:
    name = request.get("logGroupName") or request.get("logGroupIdentifier", "").split(":log-group:")[-1]
    found = backend().groups.get(name)
    if found is None:
        raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
    return found
