"""Places data live in (``file://``, ``s3://``, ``abfs://``) and plain objects there, by obstore."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError
from obstore.store import AzureStore, LocalStore, S3Store

from nightshift.errors import ConfigError
from nightshift.lake.trouble import storage_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from obstore import GetOptions
    from obstore.store import RetryConfig

__all__ = [
    "Location",
    "ObjectVersion",
    "StoredObject",
    "download",
    "list_folders",
    "list_objects",
    "object_exists",
    "object_versions",
    "read_object",
    "read_objects",
    "remove",
    "upload",
    "write_object",
]

_KIND = {"file": "file", "s3": "s3", "s3a": "s3", "abfs": "abfs", "abfss": "abfs"}
# Options that object_store takes for its HTTP client, whatever the cloud; obstore wants them apart.
_CLIENT_OPTIONS = frozenset({"allow_http", "allow_invalid_certificates", "connect_timeout", "timeout"})
# Keeps a host that is down from holding a task for object_store's default of three minutes.
_READERS = 16
_RETRIES: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}


_REQUEST_TIMEOUT = "120s"  # object_store's own 30 s end a part of a file on a slow line


@dataclass(frozen=True, slots=True)
class Location:
    """A folder on ``file://``, ``s3://`` or ``abfs://``, and how to sign in there.

    ``options`` carries object_store's names, which obstore, deltalake and polars share, and never shows
    in a ``repr`` or a message:

    - S3: ``aws_access_key_id``, ``aws_secret_access_key``, ``aws_region``; for a server of your own also
      ``aws_endpoint`` and ``aws_allow_http``. With none of them the machine's own identity is used.
    - Blob: ``azure_storage_account_name`` with ``azure_storage_account_key``, a SAS or a client secret.
      ``abfs://container@account.dfs.core.windows.net/path`` names the account itself. Azurite needs
      ``azure_storage_endpoint="http://127.0.0.1:PORT/ACCOUNT"`` and ``azure_allow_http="true"`` besides
      the account's name and key (``azure_storage_use_emulator`` serves its default port only).
    """

    uri: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        scheme = urlsplit(self.uri).scheme
        if scheme not in _KIND:
            raise ConfigError(
                f"{self.uri!r} is not a place that data can live in",
                fix="write it as file:///folder, s3://bucket/folder or abfs://container/folder",
            )
        if scheme != "file" and not urlsplit(self.uri).netloc:
            raise ConfigError(f"{self.uri!r} names no bucket or container")
        object.__setattr__(self, "uri", self.uri.rstrip("/"))

    @property
    def kind(self) -> str:
        """``file``, ``s3`` or ``abfs``."""
        return _KIND[urlsplit(self.uri).scheme]

    @property
    def is_local(self) -> bool:
        """Whether this is a folder of this machine."""
        return self.kind == "file"

    def path(self) -> Path:
        """The folder itself; local places only."""
        if not self.is_local:
            raise ConfigError(f"{self.uri} is not on this machine")
        return Path(unquote(urlsplit(self.uri).path))

    def child(self, *parts: str) -> Location:
        """The place below this one."""
        return Location("/".join((self.uri, *(part.strip("/") for part in parts))), self.options)

    @property
    def table_uri(self) -> str:
        """What deltalake, polars and duckdb take as the address of a table here."""
        return str(self.path()) if self.is_local else self.uri

    @property
    def table_options(self) -> dict[str, str]:
        """What deltalake takes to sign in here and to commit safely."""
        if self.is_local:
            return {}
        defaults = {"max_retries": "5", "retry_timeout": "30s"}
        if self.kind == "s3":
            defaults["aws_conditional_put"] = "etag"
        return {**defaults, **self.options}

    def store(self) -> LocalStore | S3Store | AzureStore:
        """An obstore store whose paths start here. A local folder is created."""
        if self.is_local:
            return LocalStore(self.path(), mkdir=True)
        parts = urlsplit(self.uri)
        config, client = _split_options(self.options)
        prefix = parts.path.strip("/") or None
        if self.kind == "s3":
            return S3Store(
                parts.netloc, prefix=prefix, config=config, client_options=client, retry_config=_RETRIES
            )
        container, _, host = parts.netloc.partition("@")
        if host:
            config.setdefault("azure_storage_account_name", host.split(".")[0])
        return AzureStore(
            container, prefix=prefix, config=config, client_options=client, retry_config=_RETRIES
        )


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as its store lists it; ``path`` is relative to the place that was listed."""

    path: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """Which of an object's contents is meant; ``version`` is "" where the store keeps none."""

    etag: str
    version: str


def _split_options(options: Mapping[str, str]) -> tuple[Any, Any]:
    """The store's own options and those of its HTTP client, both of obstore's closed TypedDicts."""
    config: dict[str, Any] = {}
    client: dict[str, Any] = {"timeout": _REQUEST_TIMEOUT}
    for name, value in options.items():
        bare = name.lower().removeprefix("aws_").removeprefix("azure_")
        if bare in _CLIENT_OPTIONS:
            client[bare] = value.lower() == "true" if bare.startswith("allow") else value
        else:
            config[name] = value
    return config, client


def list_objects(location: Location) -> list[StoredObject]:
    """Every object below ``location``, by path; empty when there is nothing."""
    if location.is_local and not location.path().is_dir():
        return []
    with storage_errors(location, "listing"):
        found = [
            StoredObject(meta["path"], meta["size"], meta["e_tag"] or "")
            for chunk in obstore.list(location.store())
            for meta in chunk
        ]
    return sorted(found, key=lambda each: each.path)


def list_folders(location: Location) -> list[str]:
    """Names of the folders right below ``location``, in order; what lies in them is not looked at."""
    if location.is_local and not location.path().is_dir():
        return []
    with storage_errors(location, "listing"):
        found = obstore.list_with_delimiter(location.store())["common_prefixes"]
    return sorted(each.strip("/") for each in found)


def read_object(location: Location, path: str) -> bytes | None:
    """The object's content, or None when there is none of that name."""
    if location.is_local and not location.path().is_dir():
        return None
    with storage_errors(location.child(path), "reading"):
        try:
            return bytes(obstore.get(location.store(), path).bytes())
        except (NotFoundError, FileNotFoundError):
            return None


def read_objects(location: Location, paths: Sequence[str]) -> dict[str, bytes]:
    """Those of these objects that are there, read side by side: small ones are nothing but waiting."""
    if not paths or (location.is_local and not location.path().is_dir()):
        return {}
    store = location.store()

    def read(path: str) -> bytes | None:
        try:
            return bytes(obstore.get(store, path).bytes())
        except (NotFoundError, FileNotFoundError):
            return None

    with storage_errors(location, "reading below"), ThreadPoolExecutor(_READERS) as readers:
        found = dict(zip(paths, readers.map(read, paths), strict=True))
    return {path: data for path, data in found.items() if data is not None}


def object_exists(location: Location, path: str) -> bool:
    """Whether there is an object of that name."""
    if location.is_local and not location.path().is_dir():
        return False
    with storage_errors(location.child(path), "looking for"):
        try:
            obstore.head(location.store(), path)
        except (NotFoundError, FileNotFoundError):
            return False
    return True


def object_versions(location: Location, paths: Sequence[str]) -> dict[str, ObjectVersion]:
    """What the store says of those of these objects that are there, asked side by side.

    On this machine nothing: its files have no versions, and their ETags change when they are copied.
    """
    if location.is_local or not paths:
        return {}
    store = location.store()

    def ask(path: str) -> ObjectVersion | None:
        try:
            meta = obstore.head(store, path)
        except (NotFoundError, FileNotFoundError):
            return None
        version = meta.get("version") or ""
        # "null" names what was there before versions were kept: the next writer replaces it for good.
        return ObjectVersion(meta["e_tag"] or "", "" if version == "null" else version)

    with storage_errors(location, "looking for objects below"), ThreadPoolExecutor(_READERS) as readers:
        found = dict(zip(paths, readers.map(ask, paths), strict=True))
    return {path: each for path, each in found.items() if each is not None}


def write_object(location: Location, path: str, data: bytes, *, only_if_new: bool = False) -> bool:
    """Write the object whole: a reader sees the old content or the new, never half of it.

    :param only_if_new: leave an object of that name as it is.
    :returns: whether it was written.
    """
    with storage_errors(location.child(path), "writing"):
        try:
            obstore.put(location.store(), path, data, mode="create" if only_if_new else "overwrite")
        except (AlreadyExistsError, FileExistsError):
            return False
    return True


def upload(location: Location, path: str, file: Path) -> None:
    """Make a local file an object; on this machine by a hard link where the file system allows it."""
    with storage_errors(location.child(path), "writing"):
        if location.is_local:
            _link_or_copy(file, location.path() / path)
        else:
            obstore.put(location.store(), path, file)


def download(location: Location, path: str, target: Path, *, version: str = "") -> Path:
    """Make an object a local file, streamed; on this machine by a hard link where that is possible.

    :param version: of the object, where it is not to be its newest; it may be deleted by now.
    """
    with storage_errors(location.child(path), "downloading"):
        if location.is_local:
            _link_or_copy(location.path() / path, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                options: GetOptions = {"version": version} if version else {}
                for chunk in obstore.get(location.store(), path, options=options):
                    out.write(chunk)
    return target


def remove(location: Location, paths: Sequence[str]) -> None:
    """Delete these objects, as far as they are there."""
    if not paths:
        return
    with storage_errors(location, "deleting below"):
        if not location.is_local:
            obstore.delete(location.store(), list(paths))
            return
        for path in paths:
            (location.path() / path).unlink(missing_ok=True)


def _link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        try:
            shutil.copyfile(source, target)
        except OSError:
            target.unlink(missing_ok=True)  # half a file takes the room that the next try needs
            raise
