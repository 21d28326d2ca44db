"""Manifests: exactly which files of which table version a run reads, and one hash of them all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Manifest", "ManifestFile"]


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One data file; ``path`` is relative to the table, ``partition`` is None in a snapshot table.

    :param etag: of the object, and ``object_version`` its version where the bucket keeps versions; "" where
        nobody asked the store (:meth:`~nightshift.lake.tables.LakeTable.pinned` does), or it has none.
    """

    path: str
    partition: str | None
    rows: int
    bytes: int
    etag: str = ""
    object_version: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run reads of one table: enough to read the very same rows again.

    ``partitions`` are those that hold rows; ``sha256`` covers the file list, not the place and not the
    objects' versions, so a lake that was copied elsewhere keeps its hashes.
    """

    table: str
    uri: str
    version: int
    partitions: tuple[str, ...]
    files: tuple[ManifestFile, ...]
    rows: int
    bytes: int
    sha256: str

    @classmethod
    def of(cls, table: str, uri: str, version: int, files: Iterable[ManifestFile]) -> Manifest:
        """The manifest of these files."""
        ordered = tuple(sorted(files, key=lambda file: file.path))
        listing = json.dumps([[file.path, file.rows, file.bytes] for file in ordered], separators=(",", ":"))
        return cls(
            table=table,
            uri=uri,
            version=version,
            partitions=tuple(sorted({file.partition for file in ordered if file.partition is not None})),
            files=ordered,
            rows=sum(file.rows for file in ordered),
            bytes=sum(file.bytes for file in ordered),
            sha256=hashlib.sha256(listing.encode()).hexdigest(),
        )

    def rows_by_partition(self) -> dict[str, int]:
        """How many rows each partition holds, oldest first."""
        found = dict.fromkeys(self.partitions, 0)
        for file in self.files:
            if file.partition is not None:
                found[file.partition] += file.rows
        return found

    def only(self, partition: str) -> Manifest:
        """The part of this manifest that one partition is."""
        files = [file for file in self.files if file.partition == partition]
        return Manifest.of(self.table, self.uri, self.version, files)

    def paths(self) -> dict[str, frozenset[str]]:
        """The files of each partition: two manifests with the same files hold the same rows."""
        found: dict[str, set[str]] = {key: set() for key in self.partitions}
        for file in self.files:
            if file.partition is not None:
                found[file.partition].add(file.path)
        return {key: frozenset(files) for key, files in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {**asdict(self), "partitions": list(self.partitions), "files": [asdict(f) for f in self.files]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        """The manifest that :meth:`to_dict` wrote."""
        files = tuple(ManifestFile(**file) for file in data["files"])
        return cls(**{**data, "partitions": tuple(data["partitions"]), "files": files})
