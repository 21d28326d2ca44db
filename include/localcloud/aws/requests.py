"""Which AWS operation an HTTP request is, in any of AWS's protocols."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from localcloud.aws.model import service_model

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

__all__ = ["Call", "call_of"]

_CBOR = re.compile(r"/service/(?P<target>\w+)/operation/(?P<operation>\w+)")
# Signing names that are not the client's name.
_NAMES = {"monitoring": "cloudwatch", "eventbridge": "events"}
# JSON calls whose signing name is shared by two clients, by the target's prefix.
_REST = {"sagemaker": "sagemaker-runtime"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request to AWS.

    :param protocol: how its errors are written: json, query, cbor or rest.
    """

    service: str
    operation: str
    parameters: dict[str, Any]
    protocol: str


def call_of(request: Request) -> Call:
    """The operation a request asks for; an unknown one has the method and path as its name."""
    service = _service(request)
    target = request.headers.get("X-Amz-Target", "")
    cbor = _CBOR.fullmatch(request.path)
    if target:
        return Call(service, target.rpartition(".")[2], _json(request), "json")
    if cbor:
        return Call(service, cbor["operation"], {}, "cbor")
    if "x-www-form-urlencoded" in request.headers.get("Content-Type", ""):
        form = {key: values[0] for key, values in parse_qs(request.get_data(as_text=True)).items()}
        return Call(service, form.pop("Action", ""), form, "query")
    return _rest(service, request)


def _service(request: Request) -> str:
    """From the credential scope of the signature."""
    scope = re.search(
        r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request", request.headers.get("Authorization", "")
    )
    name = scope[1].lower() if scope else ""
    return _NAMES.get(name, name)


def _json(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.get_data() or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _rest(service: str, request: Request) -> Call:
    service = _REST.get(service, service)
    for method, pattern, name in _paths(service):
        found = pattern.fullmatch(request.path)
        if found and method == request.method:
            return Call(service, name, {**_json(request), **found.groupdict()}, "rest")
    return Call(service, f"{request.method} {request.path}", {}, "rest")


@lru_cache(maxsize=16)
def _paths(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    from botocore.exceptions import UnknownServiceError

    try:
        model = service_model(service)
    except UnknownServiceError:
        return []
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path = http.get("requestUri", "/").partition("?")[0]
        pattern = re.sub(r"\\{(\w+)(\\\+)?\\}", r"(?P<\1>[^/]+)", re.escape(path))
        found.append((http.get("method", "POST"), re.compile(pattern), name))
    return found
