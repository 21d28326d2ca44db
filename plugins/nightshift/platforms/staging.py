"""Puts a job's inputs into its input folder: links on this machine, downloads from an object store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from nightshift.lake.storage import Location, download, list_objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["stage"]

_AT_ONCE = 16


def stage(
    inputs: Sequence[Mapping[str, Any]], target: Path, options: Mapping[str, Mapping[str, str]]
) -> None:
    """Make every input's files appear at ``target/<channel>/<path>``.

    :param inputs: ``{"channel", "uri", "files"}`` each; no files means everything below the uri.
    :param options: object store settings by channel.
    :raises ConfigError: naming a file that is not there.
    :raises StorageUnavailable: when the store does not answer.
    """
    for entry in inputs:
        location = Location(entry["uri"], options.get(entry["channel"], {}))
        folder = target / entry["channel"]
        folder.mkdir(parents=True, exist_ok=True)
        names = entry["files"] or _everything_below(location)
        if location.is_local:  # no client and no thread: this may be a fork of a process that had both
            for name in names:
                download(location, name, folder / name)
        else:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda name, at=location, to=folder: download(at, name, to / name), names))


def _everything_below(location: Location) -> list[str]:
    if not location.is_local:
        return [found.path for found in list_objects(location)]
    root = location.path()
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
