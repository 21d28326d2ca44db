"""A night's splits for people who look: which files were train, validation and test, by folder.

``<lake>/<pipeline>/views/<partition>/``::

    index.json                        which days, rows and files each split has, and of which table versions
    train|validation|test/
        manifest.json                 the split's files as nightshift.lake.manifest writes them
        symlinks/manifest             their addresses, one a line: Athena's and Hive's SymlinkTextInputFormat

No row is copied: the files are those of ``clean``. ``test`` is what the pipeline file calls the holdout.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nightshift.errors import LakeError
from nightshift.lake.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.lake.tables import Lake

__all__ = ["FOLDERS", "read_view", "view_files", "view_path", "write_view"]

FOLDERS = {"train": "train", "validation": "validation", "holdout": "test"}
"""The folder of each split."""


def view_path(partition: str, file: str = "index.json") -> str:
    """Where a night's view lies in the lake of its pipeline."""
    return f"views/{partition}/{file}"


def write_view(
    lake: Lake, partition: str, splits: Mapping[str, Sequence[str]], versions: Mapping[str, int]
) -> dict[str, Any]:
    """Leave the view of a night; what is there already as it should be stays untouched.

    :param splits: days by split, as the night's plan has them.
    :param versions: of the tables; ``clean`` is the one that is split.
    :returns: the index.
    """
    table = lake.table("clean")
    every = [day for days in splits.values() for day in days]
    clean = table.pinned(table.manifest(every, version=versions["clean"]))
    files = view_files(lake, partition, splits, versions, clean)
    there = lake.read_files(list(files))
    # The index last: where it is, the rest is.
    for path, data in files.items():
        if there.get(path) != data:
            lake.write_file(path, data)
    index: dict[str, Any] = json.loads(files[view_path(partition)])
    return index


def view_files(
    lake: Lake,
    partition: str,
    splits: Mapping[str, Sequence[str]],
    versions: Mapping[str, int],
    clean: Manifest,
) -> dict[str, bytes]:
    """Every file of a view, by its path in the lake; the index is the last."""
    files: dict[str, bytes] = {}
    parts: dict[str, Any] = {}
    for name, folder in FOLDERS.items():
        part = _part(clean, splits.get(name, ()))
        addresses = [f"{clean.uri}/{file.path}" for file in part.files]
        parts[folder] = {
            "days": sorted(splits.get(name, ())),
            "rows": part.rows,
            "bytes": part.bytes,
            "files": len(part.files),
            "sha256": part.sha256,
        }
        files[view_path(partition, f"{folder}/manifest.json")] = _bytes(part.to_dict())
        lines = "".join(f"{each}\n" for each in addresses)
        files[view_path(partition, f"{folder}/symlinks/manifest")] = lines.encode()
    index = {
        "pipeline": lake.pipeline,
        "partition": partition,
        "versions": dict(versions),
        "splits": parts,
    }
    return {**files, view_path(partition): _bytes(index)}


def read_view(lake: Lake, partition: str) -> dict[str, Any]:
    """The index of a night's view.

    :raises LakeError: when no night of that partition was planned.
    """
    if not lake.exists(view_path(partition)):
        raise LakeError(
            f"there is no view of {partition}",
            fix=f"it is made when {lake.pipeline}_retrain plans that night",
        )
    index: dict[str, Any] = json.loads(lake.read_file(view_path(partition)))
    return index


def _part(clean: Manifest, days: Sequence[str]) -> Manifest:
    wanted = set(days)
    files = [file for file in clean.files if file.partition in wanted]
    return Manifest.of(clean.table, clean.uri, clean.version, files)


def _bytes(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, sort_keys=True).encode()
