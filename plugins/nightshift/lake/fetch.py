"""Copy objects to local staging: concurrent ranged GETs, bounded memory, checksummed on the way."""

from __future__ import annotations

import hashlib
import shutil
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import NotFoundError, PreconditionError

from nightshift.errors import PartitionCorrupt, PartitionIncomplete, StorageUnavailable
from nightshift.lake.trouble import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obstore import Bytes, GetOptions
    from obstore.store import AzureStore, LocalStore, S3Store

    from nightshift.lake.storage import Location, StoredObject

__all__ = ["StagedFile", "fetch"]

PART_BYTES = 16 * 1024 * 1024
WORKERS = 3
# Parts in flight or waiting to be written: with PART_BYTES the bound on memory, whatever the objects' size.
_WINDOW = WORKERS + 2


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A verified local copy of ``uri``; ``path`` is the object's own, relative to its partition."""

    path: str
    uri: str
    file: Path
    size: int
    etag: str
    sha256: str


@dataclass(frozen=True, slots=True)
class _Part:
    index: int
    start: int
    end: int


def fetch(source: Location, objects: Sequence[StoredObject], folder: Path) -> list[StagedFile]:
    """Copy ``objects`` of ``source`` into ``folder``; each is the very one that was listed, or it fails.

    :raises PartitionIncomplete: an object changed or vanished while it was read.
    :raises PartitionCorrupt: an object is shorter than its listing says.
    :raises StorageUnavailable: the store failed, or ``folder`` has no room.
    """
    _check_room(folder, sum(each.size for each in objects))
    store = source.store()
    staged = []
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="fetch") as pool:
        parts = _fetched(pool, store, source, objects)
        for index, each in enumerate(objects):
            target = folder / f"{index:05d}-{Path(each.path).name}"
            staged.append(_write(source, each, target, parts))
    return staged


def _write(source: Location, each: StoredObject, target: Path, parts: Iterator[Bytes]) -> StagedFile:
    """Write one object's parts as they come, in order, hashing them."""
    digest, written = hashlib.sha256(), 0
    with target.open("wb") as out:
        while written < each.size:
            block = memoryview(next(parts))
            if not block:
                break
            digest.update(block)
            out.write(block)
            written += len(block)
    uri = source.child(each.path).uri
    if written != each.size or target.stat().st_size != each.size:
        raise PartitionCorrupt(
            f"{uri} is truncated: {written} bytes came, {each.size} were listed", fix="deliver the file again"
        )
    return StagedFile(each.path, uri, target, each.size, each.etag, digest.hexdigest())


def _fetched(
    pool: ThreadPoolExecutor,
    store: LocalStore | S3Store | AzureStore,
    source: Location,
    objects: Sequence[StoredObject],
) -> Iterator[Bytes]:
    """Every part of every object in order, at most ``_WINDOW`` of them in memory."""
    window: deque[Future[Bytes]] = deque()
    try:
        for part in _parts(objects):
            window.append(pool.submit(_get, store, source, objects[part.index], part))
            if len(window) == _WINDOW:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        for waiting in window:
            waiting.cancel()


def _parts(objects: Sequence[StoredObject]) -> Iterator[_Part]:
    for index, each in enumerate(objects):
        for start in range(0, each.size, PART_BYTES):
            yield _Part(index, start, min(start + PART_BYTES, each.size))


def _get(
    store: LocalStore | S3Store | AzureStore, source: Location, each: StoredObject, part: _Part
) -> Bytes:
    options: GetOptions = {"range": (part.start, part.end)}
    if each.etag:
        options["if_match"] = each.etag
    with storage_errors(source.child(each.path), "reading"):
        try:
            return obstore.get(store, each.path, options=options).bytes()
        except (PreconditionError, NotFoundError, FileNotFoundError):
            raise PartitionIncomplete(
                f"{source.child(each.path).uri} changed while it was read",
                fix="write the marker only after the last file",
            ) from None


def _check_room(folder: Path, needed: int) -> None:
    # The copy, its typed form beside it, and some air.
    if shutil.disk_usage(folder).free < 3 * needed + PART_BYTES:
        raise StorageUnavailable(
            f"{folder} has no room for {3 * needed >> 20} MiB", fix="free space, or move nightshift's staging"
        )
