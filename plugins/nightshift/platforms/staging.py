"""Puts a job's inputs into its input folder: links on this machine, downloads from an object store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from obstore.store import ObjectStore

__all__ = ["stage"]

_AT_ONCE = 16


def stage(
    inputs: Sequence[Mapping[str, Any]], target: Path, options: Mapping[str, Mapping[str, str]]
) -> None:
    """Make every input's files appear at ``target/<channel>/<path>``.

    :param inputs: ``{"channel", "uri", "files"}`` each; no files means everything below the uri.
    :param options: object store settings by channel.
    :raises FileNotFoundError: naming the first file that is not there.
    """
    for entry in inputs:
        folder = target / entry["channel"]
        folder.mkdir(parents=True, exist_ok=True)
        if entry["uri"].startswith("file://"):
            _link(Path(unquote(urlsplit(entry["uri"]).path)), entry["files"], folder)
        else:
            asyncio.run(_download(entry, folder, options.get(entry["channel"], {})))


def _link(source: Path, files: Sequence[str], folder: Path) -> None:
    names = files or [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
    for name in names:
        if not (source / name).is_file():
            raise FileNotFoundError(f"input file {source / name} is gone")
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(source / name)


async def _download(entry: Mapping[str, Any], folder: Path, options: Mapping[str, str]) -> None:
    import obstore
    from obstore.store import from_url

    store = from_url(entry["uri"], config=cast("Any", dict(options)))
    names = list(entry["files"])
    if not names:
        names = [meta["path"] async for page in obstore.list(store) for meta in page]
    places = asyncio.Semaphore(_AT_ONCE)

    async def fetch(name: str) -> None:
        async with places:
            await _download_one(store, name, folder / name)

    await asyncio.gather(*(fetch(name) for name in names))


async def _download_one(store: ObjectStore, name: str, target: Path) -> None:
    import obstore

    target.parent.mkdir(parents=True, exist_ok=True)
    answer = await obstore.get_async(store, name)
    with target.open("wb") as file:
        async for part in answer.stream(min_chunk_size=8 * 2**20):
            file.write(part)
