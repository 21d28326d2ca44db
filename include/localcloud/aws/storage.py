"""What moves between S3 and a container: channels in, models and checkpoints out."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from localcloud.aws.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "Entry",
    "Sync",
    "download",
    "entries_of",
    "fetch_tree",
    "listed",
    "need_bucket",
    "pack",
    "split_uri",
    "upload_tree",
]

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a channel and the path it gets inside it."""

    bucket: str
    key: str
    path: str


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3 URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def listed(s3: Any, uri: str) -> Iterator[Entry]:
    """The objects below a prefix; folder markers are none."""
    bucket, prefix = split_uri(uri)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", ()):
            if not found["Key"].endswith("/"):
                yield Entry(bucket, found["Key"], _relative(found["Key"], prefix))


def _relative(key: str, prefix: str) -> str:
    """Below a folder, the path in it; else the path beside what the prefix is the beginning of."""
    folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    return key[len(folder) :] if key.startswith(folder) else key[len(prefix.rpartition("/")[0]) :].lstrip("/")


def entries_of(s3: Any, source: dict[str, Any]) -> list[Entry]:
    """What an S3DataSource names: everything below a prefix, or the files of a manifest.

    :raises JobError: when that is nothing, or the manifest is none.
    """
    uri = source["S3Uri"]
    try:
        found = _manifest(s3, uri) if source["S3DataType"] == "ManifestFile" else list(listed(s3, uri))
    except ClientError as error:
        raise JobError(f'ClientError: Data download failed: cannot read "{uri}": {error}') from error
    if not found:
        raise JobError(f'ClientError: Data download failed: No S3 objects found under S3 URL "{uri}"')
    return found


def _manifest(s3: Any, uri: str) -> list[Entry]:
    """``[{"prefix": "s3://bucket/folder/"}, "a/b.parquet", ...]``."""
    bucket, key = split_uri(uri)
    text = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        head, *names = json.loads(text)
        bucket, prefix = split_uri(head["prefix"])
        return [Entry(bucket, prefix + name, name) for name in names]
    except (ValueError, TypeError, KeyError) as error:
        raise JobError(
            f'ClientError: Data download failed: the manifest "{uri}" is malformed: {error!r}'
        ) from error


def download(s3: Any, entries: Sequence[Entry], folder: Path) -> None:
    """Bring objects to their paths below a folder.

    :raises JobError: for an object that is not there, or a path that leads out of the folder.
    """

    def one(entry: Entry) -> None:
        if PurePosixPath(entry.path).is_absolute() or ".." in PurePosixPath(entry.path).parts:
            raise JobError(f"ClientError: Data download failed: {entry.path} leads out of its channel")
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            s3.download_file(entry.bucket, entry.key, str(target))
        except ClientError as error:
            raise JobError(
                f'ClientError: Data download failed: "s3://{entry.bucket}/{entry.key}": {error}'
            ) from error

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, entries))


def need_bucket(s3: Any, uri: str) -> None:
    """SeaweedFS makes a bucket when something is put into it; S3 does not.

    :raises JobError: when there is no such bucket.
    """
    bucket = split_uri(uri)[0]
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        raise JobError(
            f"ClientError: Artifact upload failed: the specified bucket {bucket} does not exist"
        ) from error


def fetch_tree(s3: Any, uri: str, folder: Path) -> None:
    """Bring everything below a prefix, which may be nothing."""
    download(s3, list(listed(s3, uri.rstrip("/") + "/")), folder)


def upload_tree(s3: Any, folder: Path, uri: str) -> None:
    """Bring every file of a folder below a prefix."""
    bucket, prefix = split_uri(uri.rstrip("/") + "/")

    def one(path: Path) -> None:
        s3.upload_file(str(path), bucket, prefix + path.relative_to(folder).as_posix())

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, _files(folder)))


def pack(s3: Any, folders: Sequence[Path], uri: str) -> None:
    """Bring the content of folders into one tar.gz."""
    bucket, key = split_uri(uri)
    with tempfile.NamedTemporaryFile(suffix=".tar.gz") as packed:
        with tarfile.open(packed.name, "w:gz", compresslevel=1) as archive:
            for folder in folders:
                for path in sorted(folder.iterdir()):
                    archive.add(path, arcname=path.name)
        s3.upload_file(packed.name, bucket, key)


class Sync:
    """Checkpoints: what changed in a folder since the last time goes to S3, like the agent on AWS does it."""

    def __init__(self, s3: Any, folder: Path, uri: str) -> None:
        self._s3, self._folder, self._uri = s3, folder, uri
        self._seen: dict[Path, tuple[int, int]] = {}

    def start(self) -> None:
        """Bring what is there."""
        fetch_tree(self._s3, self._uri, self._folder)
        self._seen = {path: stamp for path in _files(self._folder) if (stamp := _stamp(path))}

    def push(self) -> None:
        """Upload what is new or changed; a file that went away stays in S3."""
        bucket, prefix = split_uri(self._uri.rstrip("/") + "/")
        for path in _files(self._folder):
            stamp = _stamp(path)
            if stamp is None or self._seen.get(path) == stamp:
                continue
            try:
                self._s3.upload_file(str(path), bucket, prefix + path.relative_to(self._folder).as_posix())
            except FileNotFoundError:  # renamed meanwhile: the next round takes it
                continue
            self._seen[path] = stamp


def _files(folder: Path) -> list[Path]:
    return [Path(root) / name for root, _, names in os.walk(folder) for name in sorted(names)]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size
