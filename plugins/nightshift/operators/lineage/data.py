"""Datasets as OpenLineage names them, and what is said of them, before they become events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Check", "Data", "Days", "Lineage", "days_of", "place"]

Kind = Literal["TABLE", "FILE", "MODEL", "JOB_OUTPUT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Partitions: all of them by name, or the first, the last and how many."""

    keys: tuple[str, ...] = ()
    first: str = ""
    last: str = ""
    count: int = 0


def days_of(keys: Sequence[str]) -> Days:
    """These partitions, by name."""
    if not keys:
        return Days()
    return Days(keys=tuple(keys), first=min(keys), last=max(keys), count=len(keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule that a partition was held against."""

    rule: str
    holds: bool
    critical: bool
    column: str = ""
    suite: str = ""
    words: str = ""
    observed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A dataset as a task read or wrote it; what is not known is empty.

    :param version: of a Delta table its version, of a model its version, of a job's output the job's name.
    :param location: where a job's output lies; its name says only what it is.
    :param rows: of the partitions; where there is a manifest, of all rows that it names.
    :param changed: False where the task found that what it would write is there already.
    """

    namespace: str
    name: str
    kind: Kind
    pipeline: str
    version: str = ""
    location: str = ""
    days: Days = field(default_factory=Days)
    rows: int | None = None
    files: int | None = None
    bytes: int | None = None
    manifest_sha256: str = ""
    source_sha256: str = ""
    changed: bool | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a task read, what it wrote, and which model it was about (fields of the facet, {} for none)."""

    inputs: Sequence[Data] = ()
    outputs: Sequence[Data] = ()
    model: Mapping[str, Any] = field(default_factory=dict)


def place(uri: str) -> tuple[str, str]:
    """Namespace and name of what lies at a URI, by OpenLineage's rules; nothing of a sign-in is in them."""
    parts = urlsplit(uri)
    path, scheme = unquote(parts.path), parts.scheme
    if scheme in ("", "file"):
        return "file", path.rstrip("/") or "/"
    before, _, host = parts.netloc.rpartition("@")
    if scheme in ("abfs", "abfss") and before:  # the container, never a password
        return f"abfss://{before.partition(':')[0]}@{host}", path.strip("/")
    known = {"s3a": "s3", "abfs": "abfss"}
    return f"{known.get(scheme, scheme)}://{host}", path.strip("/")
