"""The front door: every call is written down, may meet trouble, and is answered by us or by moto."""

from __future__ import annotations

import io
import json
import time
import traceback
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from werkzeug.wrappers import Request, Response

from localcloud.aws import control
from localcloud.aws.errors import AwsError, NotOurs
from localcloud.aws.faults import CALL_FAULTS
from localcloud.aws.model import operation_model, violations
from localcloud.aws.operations import handler_of, route_of
from localcloud.aws.requests import Call, call_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from localcloud.aws.cloud import Cloud
    from localcloud.aws.operations import Handler

__all__ = ["Gateway", "error_response"]

_JSON = "application/x-amz-json-1.1"
# Their answers are checked even where moto gives them.
_CHECKED = ("sagemaker",)
# Parameters of longer requests are not written down.
_KEPT = 100_000

_OURSELVES = frozenset({"127.0.0.1", "localhost"})
_BROWSERS = ("Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode")


def _of_a_web_page(request: Request) -> bool:
    """Whether a browser sends it: a page of anybody's could run jobs here, for a job is any command."""
    host = request.host.rpartition(":")[0] or request.host
    return host not in _OURSELVES or any(header in request.headers for header in _BROWSERS)


class Gateway:
    """A WSGI application around moto's."""

    def __init__(self, cloud: Cloud, moto: Callable[..., Iterable[bytes]]) -> None:
        self._cloud = cloud
        self._moto = moto

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        if _of_a_web_page(request):
            return Response("only programs of this machine may ask", 403)(environ, start_response)
        request.get_data(cache=True)
        if request.path.startswith("/loopback/"):
            return control.answer(self._cloud, request)(environ, start_response)
        routed = route_of(request)
        call = call_of(request)
        if routed:
            call = Call(call.service, routed[0], call.parameters, "rest")
        written = {"at": time.time(), "service": call.service, "operation": call.operation}
        written["parameters"] = call.parameters if len(request.get_data()) < _KEPT else {}
        self._cloud.calls.append(written)
        response = self._answer(request, call, written, routed and routed[1])
        written["status"] = response.status_code
        return response(environ, start_response)

    def _answer(self, request: Request, call: Call, written: dict[str, Any], routed: Any) -> Response:
        trouble = self._cloud.faults.take(
            CALL_FAULTS, call.operation, call.parameters, _name(call.parameters)
        )
        kind = trouble.fault if trouble else ""
        if trouble:
            written["fault"] = kind
        if kind in _REFUSALS:
            return error_response(_REFUSALS[kind](call), call.protocol)
        if trouble and kind == "slow":
            time.sleep(trouble.seconds)
        response = self._work(request, call, routed)
        if kind == "lost_reply":
            written["status"] = f"{response.status_code}, lost"
            # werkzeug drops the connection without an answer
            raise ConnectionResetError("this reply is lost on request")
        return response

    def _work(self, request: Request, call: Call, routed: Any) -> Response:
        try:
            if routed:
                response: Response = routed(self._cloud)
                return response
            handler = handler_of(call.service, call.operation)
            if handler is None:
                return self._by_moto(request, call)
            return self._by_us(handler, request, call)
        except AwsError as error:
            return error_response(error, call.protocol)
        except Exception as error:  # noqa: BLE001 - a broken fake says so, with the place
            return error_response(_broken(error), call.protocol)

    def _by_us(self, handler: Handler, request: Request, call: Call) -> Response:
        _check_request(call)
        try:
            answer = handler(self._cloud, call.parameters)
        except NotOurs:
            return self._by_moto(request, call)
        _check_answer(call, answer)
        return _response(answer)

    def _by_moto(self, request: Request, call: Call) -> Response:
        if call.service in _CHECKED and call.protocol == "json":
            _check_request(call)
        try:
            response = Response.from_app(self._moto, _fresh(request))
        except NotImplementedError as error:
            message = f"the loopback AWS has no {call.service} {call.operation}: {error}"
            return error_response(AwsError("NotImplemented", message, 501), call.protocol)
        if call.service in _CHECKED and call.protocol == "json" and response.status_code == 200:
            answer = json.loads(response.get_data() or b"{}")
            _check_answer(call, answer, constraints=False, nulls=True)
        return response


def _fresh(request: Request) -> dict[str, Any]:
    """The environment with a body that can be read once more."""
    environ = dict(request.environ)
    environ["wsgi.input"] = io.BytesIO(request.get_data())
    environ.pop("werkzeug.request", None)
    return environ


def _name(parameters: dict[str, Any]) -> str:
    """The name of what a SageMaker call is about."""
    return next(
        (str(v) for k, v in parameters.items() if k.endswith(("JobName", "ModelName", "EndpointName"))), ""
    )


def _check_request(call: Call) -> None:
    """:raises AwsError: with AWS's own words for parameters that break the model."""
    model = operation_model(call.service, call.operation)
    found = violations(model.input_shape, call.parameters) if model and model.input_shape else []
    if found:
        count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected"
        raise AwsError("ValidationException", f"{count}: {'; '.join(found)}")


def _check_answer(call: Call, answer: Any, *, constraints: bool = True, nulls: bool = False) -> None:
    """:raises RuntimeError: for an answer that the service could not give."""
    model = operation_model(call.service, call.operation)
    if model is None:
        raise RuntimeError(f"{call.service} has no operation {call.operation}")
    found = violations(model.output_shape, answer, constraints=constraints, nulls=nulls)
    if found:
        raise RuntimeError(
            f"the loopback's answer breaks botocore's model of {call.operation}: {'; '.join(found)}"
        )


def _broken(error: Exception) -> AwsError:
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
    traceback.print_exception(error)
    return AwsError("LoopbackBroken", f"{type(error).__name__}: {error} ({where})", 500)


def _quota(call: Call) -> AwsError:
    asked = call.parameters
    resources = asked.get("ResourceConfig") or asked.get("TransformResources") or {}
    return AwsError(
        "ResourceLimitExceeded",
        f"The account-level service limit '{resources.get('InstanceType', 'instances')} for job usage' is 0 "
        "Instances, with current utilization of 0 Instances and a request delta of "
        f"{resources.get('InstanceCount', 1)} Instances. Please use AWS Service Quotas to request an "
        "increase for this quota.",
    )


_REFUSALS: dict[str, Callable[[Call], AwsError]] = {
    "throttling": lambda _: AwsError("ThrottlingException", "Rate exceeded"),
    "server_error": lambda _: AwsError(
        "InternalFailure", "We encountered an internal error. Please try again.", 500
    ),
    "quota": _quota,
}


def _response(answer: dict[str, Any]) -> Response:
    headers = {"x-amzn-RequestId": str(uuid4())}
    return Response(json.dumps(answer), content_type=_JSON, headers=headers)


def error_response(error: AwsError, protocol: str) -> Response:
    """An error as that protocol writes it."""
    headers = {"x-amzn-RequestId": str(uuid4()), "x-amzn-ErrorType": error.code}
    if protocol == "cbor":
        headers["smithy-protocol"] = "rpc-v2-cbor"
        body = b"\xa2" + b"".join(map(_cbor, ("__type", error.code, "message", error.message)))
        return Response(body, error.status, headers, content_type="application/cbor")
    if protocol == "query":
        kind = "Sender" if error.status < 500 else "Receiver"
        text = f"<ErrorResponse><Error><Type>{kind}</Type><Code>{error.code}</Code>"
        text += f"<Message>{error.message}</Message></Error></ErrorResponse>"
        return Response(text, error.status, headers, content_type="text/xml")
    text = json.dumps({"__type": error.code, "message": error.message})
    return Response(text, error.status, headers, content_type=_JSON)


def _cbor(text: str) -> bytes:
    """A text string in CBOR."""
    raw = text.encode()
    return b"\x79" + len(raw).to_bytes(2, "big") + raw
