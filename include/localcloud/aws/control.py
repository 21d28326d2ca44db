"""The loopback's own paths below ``/loopback/``: health, faults, the log of calls, reset."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

    from localcloud.aws.cloud import Cloud

__all__ = ["answer"]


def answer(cloud: Cloud, request: Request) -> Response:
    """Answer one of our own paths."""
    action = _ACTIONS.get((request.method, request.path.removeprefix("/loopback/")))
    if action is None:
        known = ", ".join(f"{method} /loopback/{name}" for method, name in _ACTIONS)
        return _json({"error": f"there is no {request.method} {request.path}; there are {known}"}, 404)
    try:
        return _json(action(cloud, request), 200)
    except ValueError as error:
        return _json({"error": str(error)}, 400)


def _health(cloud: Cloud, request: Request) -> Any:
    return {"status": "ok", "endpoint": cloud.settings.endpoint, "s3_endpoint": cloud.settings.s3_endpoint}


def _order(cloud: Cloud, request: Request) -> Any:
    order = json.loads(request.get_data() or b"{}")
    _refuse_impossible(cloud, order)
    return asdict(cloud.faults.add(order))


def _refuse_impossible(cloud: Cloud, order: dict[str, Any]) -> None:
    """An interruption of a job that is no spot job would wait for ever."""
    job = cloud.records.find("training-job", order.get("job", ""))
    if order.get("fault") != "spot_interruption" or job is None:
        return
    if not job.request.get("EnableManagedSpotTraining"):
        raise ValueError(f"{job.name} is no spot job: only those are interrupted")


def _calls(cloud: Cloud, request: Request) -> Any:
    wanted = request.args.get("operation")
    return [call for call in list(cloud.calls) if not wanted or call["operation"] == wanted]


def _reset(cloud: Cloud, request: Request) -> Any:
    """Forget orders and calls; jobs, models and S3 stay."""
    cloud.faults.clear()
    cloud.calls.clear()
    return {"status": "ok"}


def _json(document: Any, status: int) -> Response:
    return Response(json.dumps(document, default=str), status, content_type="application/json")


_ACTIONS = {
    ("GET", "health"): _health,
    ("POST", "faults"): _order,
    ("GET", "calls"): _calls,
    ("POST", "reset"): _reset,
}
