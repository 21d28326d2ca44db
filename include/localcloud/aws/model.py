"""Requests and responses held against botocore's own service model: what AWS would turn down, and drift."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape, StructureShape

__all__ = ["echo", "operation_model", "pattern_of", "service_model", "violations"]

# The model's patterns are Java's; the classes that Python lacks, near enough. They stand inside brackets.
_CLASSES = {
    r"\p{L}": r"\w", r"\p{M}": "", r"\p{N}": r"\d", r"\p{Z}": r"\s", r"\p{S}": r"+<=>^`|~$",
    r"\p{P}": r"!\"#%&'()*,\-./:;?@\[\\\]_{}", r"\p{Alnum}": "a-zA-Z0-9",
    r"\uD800\uDC00-\uDBFF\uDFFF": "\U00010000-\U0010ffff",
}  # fmt: skip
_NUMBERS = ("integer", "long", "float", "double", "timestamp")


@lru_cache(maxsize=32)
def service_model(service: str) -> ServiceModel:
    """botocore's model of a service, by its client name."""
    import botocore.session

    return botocore.session.get_session().get_service_model(service)


def operation_model(service: str, operation: str) -> OperationModel | None:
    """The model of one operation; None when the service has none of that name."""
    model = service_model(service)
    return model.operation_model(operation) if operation in model.operation_names else None


def echo(request: dict[str, Any], service: str, operation: str) -> dict[str, Any]:
    """The part of a request that the output of ``operation`` shows again under the same names."""
    model = operation_model(service, operation)
    shown = model.output_shape.members if model and model.output_shape else {}
    return {key: value for key, value in request.items() if key in shown}


def violations(
    shape: Shape | None, value: Any, where: str = "", *, constraints: bool = True, nulls: bool = False
) -> list[str]:
    """What is wrong with a JSON value, in the words the service uses; empty when it fits.

    :param constraints: also lengths, ranges and patterns, not only types, members and enumerations.
    :param nulls: whether a null counts as absent.
    """
    if value is None:
        return [] if nulls else [f"Value at '{where}' failed to satisfy constraint: Member must not be null"]
    if shape is None:
        return [f"Unexpected content: {str(value)[:200]}"] if value else []
    found = _wrong_type(shape, value, where)
    if found:
        return found
    found = [_told(value, where, rule) for rule in _broken(shape, value, constraints)]
    for member, inner, place in _members(shape, value, where):
        found += violations(member, inner, place, constraints=constraints, nulls=nulls)
    if shape.type_name == "structure":
        found += _missing_and_unknown(shape, value, where, nulls)
    return found


def _wrong_type(shape: Shape, value: Any, where: str) -> list[str]:
    kinds: dict[str, type | tuple[type, ...]] = {
        "structure": dict, "map": dict, "list": list, "string": str, "boolean": bool, "blob": str,
        "integer": int, "long": int, "float": (int, float), "double": (int, float),
        "timestamp": (int, float),
    }  # fmt: skip
    kind = kinds.get(shape.type_name, object)
    if isinstance(value, kind) and not (isinstance(value, bool) and shape.type_name in _NUMBERS):
        return []
    return [f"Value at '{where}' failed to satisfy constraint: Member must be a {shape.type_name}"]


def _missing_and_unknown(shape: StructureShape, value: dict[str, Any], where: str, nulls: bool) -> list[str]:
    found = [
        f"Value at '{_under(where, name)}' failed to satisfy constraint: Member must not be null"
        for name in shape.required_members
        if name not in value or (nulls and value[name] is None)
    ]
    unknown = sorted(set(value) - set(shape.members))
    return found + [f"Unknown member '{_under(where, name)}' of {shape.name}" for name in unknown]


def _members(shape: Shape, value: Any, where: str) -> list[tuple[Shape, Any, str]]:
    if shape.type_name == "structure":
        known: dict[str, Shape] = shape.members
        return [(known[k], v, _under(where, k)) for k, v in value.items() if k in known]
    if shape.type_name == "list":
        member: Shape = shape.member
        return [(member, v, f"{where}.{n}.member") for n, v in enumerate(value, 1)]
    if shape.type_name == "map":
        key: Shape = shape.key
        inner: Shape = shape.value
        pairs = [(key, k, f"{where}.key") for k in value]
        return [*pairs, *((inner, v, f"{where}.{k}.member") for k, v in value.items())]
    return []


def _broken(shape: Shape, value: Any, constraints: bool) -> list[str]:
    rules: list[str] = []
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        rules.append(f"Member must satisfy enum value set: [{', '.join(allowed)}]")
    if constraints:
        rules += _out_of_bounds(shape, value)
        pattern = pattern_of(shape.metadata.get("pattern"))
        if pattern and isinstance(value, str) and not pattern.fullmatch(value):
            rules.append(f"Member must satisfy regular expression pattern: {shape.metadata['pattern']}")
    return rules


def _out_of_bounds(shape: Shape, value: Any) -> list[str]:
    if shape.type_name in ("structure", "timestamp", "boolean"):
        return []
    what, size = ("value", value) if shape.type_name in _NUMBERS else ("length", len(value))
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    rules = []
    if least is not None and size < least:
        rules.append(f"Member must have {what} greater than or equal to {least}")
    if most is not None and size > most:
        rules.append(f"Member must have {what} less than or equal to {most}")
    return rules


@cache
def pattern_of(pattern: str | None) -> re.Pattern[str] | None:
    """A pattern of the model for Python; None when there is none, or none that Python can read."""
    if not pattern:
        return None
    for java, python in _CLASSES.items():
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _told(value: Any, where: str, rule: str) -> str:
    return f"Value '{str(value)[:200]}' at '{where}' failed to satisfy constraint: {rule}"


def _under(where: str, name: str) -> str:
    """A member's path, with a small first letter as the service writes it."""
    small = name[:1].lower() + name[1:]
    return f"{where}.{small}" if where else small
