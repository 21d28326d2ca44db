"""Lists as AWS gives them: filtered, sorted, in pages of ten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import validation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from localcloud.aws.records import Record

__all__ = ["page", "summaries"]


def summaries(
    records: Sequence[Record],
    request: dict[str, Any],
    answer: str,
    summary: Callable[[Record], dict[str, Any]],
    *,
    status: str = "",
    name: str = "",
    order: str = "Descending",
    by: str = "CreationTime",
) -> dict[str, Any]:
    """One page of a List call.

    :param status: the member that ``StatusEquals`` looks at.
    :param name: the member that ``SortBy=Name`` looks at.
    :param order: what ``SortOrder`` is when it is not given, in botocore's documentation of the call.
    :param by: the same for ``SortBy``.
    """
    found = [summary(record) for record in records if _wanted(record, request, status)]
    member = {"Name": name, "Status": status}.get(request.get("SortBy", by), "CreationTime")
    found.sort(key=lambda one: one[member], reverse=request.get("SortOrder", order) == "Descending")
    return page(found, request, answer)


def _wanted(record: Record, request: dict[str, Any], status: str) -> bool:
    shown = record.shown
    created, changed = shown["CreationTime"], shown.get("LastModifiedTime", shown["CreationTime"])
    always = float("inf")
    return (
        request.get("NameContains", "").lower() in record.name.lower()
        and ("StatusEquals" not in request or shown[status] == request["StatusEquals"])
        and request.get("CreationTimeAfter", 0) <= created <= request.get("CreationTimeBefore", always)
        and request.get("LastModifiedTimeAfter", 0)
        <= changed
        <= request.get("LastModifiedTimeBefore", always)
    )


def page(found: Sequence[Any], request: dict[str, Any], answer: str, default: int = 10) -> dict[str, Any]:
    """A page of a list, and the token of the next one."""
    try:
        start = int(request.get("NextToken", "0"))
    except ValueError:
        raise validation("Invalid NextToken") from None
    end = start + int(request.get("MaxResults", default))
    more = {"NextToken": str(end)} if end < len(found) else {}
    return {answer: list(found[start:end]), **more}
