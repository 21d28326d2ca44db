"""The table of what we answer ourselves; everything else goes to moto. New operations register here.

A handler is a function ``(cloud, request) -> answer`` under ``@operation(service, name)``, both dicts as in
botocore's model, times as seconds since 1970; the request is checked before it and the answer after it. A
path that is no AWS JSON call (an endpoint's ``/invocations``) is a function under ``@route(method, path)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from werkzeug.wrappers import Request, Response

    from localcloud.aws.cloud import Cloud

__all__ = ["MODULES", "Handler", "handler_of", "operation", "route", "route_of"]

Handler = Callable[["Cloud", dict[str, Any]], dict[str, Any]]
Route = Callable[..., "Response"]

# Imported when the server starts; a module that is not there is an error.
MODULES = (
    "localcloud.aws.training_calls",
    "localcloud.aws.tuning_calls",
    "localcloud.aws.models",
    "localcloud.aws.transform_calls",
    "localcloud.aws.processing",
    "localcloud.aws.endpoints",
    "localcloud.aws.invocations",
    "localcloud.aws.monitoring_calls",
    "localcloud.aws.tags",
    "localcloud.aws.model_packages",
    "localcloud.aws.cloudwatch_logs",
)

_operations: dict[tuple[str, str], Handler] = {}
_routes: list[tuple[str, re.Pattern[str], str, Route]] = []


def operation(service: str, name: str) -> Callable[[Handler], Handler]:
    """Register the answer to an operation; the service is its botocore client name."""

    def register(handler: Handler) -> Handler:
        _operations[service, name] = handler
        return handler

    return register


def route(method: str, path: str, name: str) -> Callable[[Route], Route]:
    """Register a function ``(cloud, request, **groups) -> Response`` for paths that match the pattern.

    :param name: the operation's name in faults and in the log of calls.
    """

    def register(handler: Route) -> Route:
        _routes.append((method, re.compile(path), name, handler))
        return handler

    return register


def handler_of(service: str, name: str) -> Handler | None:
    """Who answers that operation; None means moto."""
    _load()
    return _operations.get((service, name))


def route_of(request: Request) -> tuple[str, Callable[[Cloud], Response]] | None:
    """The operation's name and the function that answers a request to one of our own paths."""
    _load()
    for method, pattern, name, handler in _routes:
        found = pattern.fullmatch(request.path)
        if found and method == request.method:
            groups = found.groupdict()
            return name, lambda cloud, handler=handler, groups=groups: handler(cloud, request, **groups)
    return None


@lru_cache(maxsize=1)
def _load() -> None:
    for module in MODULES:
        import_module(module)
