"""A job's inputs as SageMaker's channels: a folder of S3, or exactly the files that a manifest names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from nightshift.errors import ConfigError
from nightshift.platforms.sagemaker.code import identity_of
from nightshift.platforms.sagemaker.store import folder_of

if TYPE_CHECKING:
    from nightshift.platforms.base import JobInput, JobSpec
    from nightshift.platforms.sagemaker.store import JobsStore

__all__ = [
    "Channel",
    "channel_name",
    "channels_of",
    "folder_channel",
    "local_folder",
    "manifest_channel",
    "manifest_of",
    "put_channels",
    "s3_uri",
]

Channel = dict[str, Any]

_MOST = 20
_RESERVED = ("spec", "code")


def channel_name(name: str) -> str:
    """SageMaker's channels have no slash: ``models/champion`` is ``models.champion`` there."""
    return name.replace("/", ".")


def folder_channel(name: str, uri: str) -> Channel:
    """Everything below a folder."""
    return _channel(name, "S3Prefix", uri.rstrip("/") + "/")


def manifest_channel(name: str, manifest_uri: str) -> Channel:
    """The files that a manifest names."""
    return _channel(name, "ManifestFile", manifest_uri)


def _channel(name: str, kind: str, uri: str) -> Channel:
    source = {"S3DataType": kind, "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": channel_name(name), "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def manifest_of(uri: str, files: tuple[str, ...]) -> list[Any]:
    """SageMaker's manifest: a prefix, then names below it.

    A container is assumed to see each file under that name, as documented for File mode.
    """
    return [{"prefix": uri.rstrip("/") + "/"}, *files]


def channels_of(
    store: JobsStore, name: str, inputs: tuple[JobInput, ...], code_folder: str
) -> tuple[Channel, ...]:
    """Every channel of a job whose files are where :func:`put_channels` puts them.

    :raises ConfigError: when there are more than SageMaker takes, or one bears a name of ours.
    """
    if len(inputs) + len(_RESERVED) > _MOST:
        raise ConfigError(
            f"job {name} reads {len(inputs)} tables and models; SageMaker takes {_MOST - len(_RESERVED)}",
            fix="join reference tables into fewer",
        )
    taken = [each.channel for each in inputs if channel_name(each.channel) in _RESERVED]
    if taken:
        raise ConfigError(f"job {name}: {taken[0]!r} cannot be the name of an input on SageMaker")
    ours = (
        folder_channel("spec", store.uri(folder_of(name, "job"))),
        folder_channel("code", store.uri(code_folder)),
    )
    return (*ours, *(_input_channel(store, name, each) for each in inputs))


def _input_channel(store: JobsStore, name: str, each: JobInput) -> Channel:
    if _is_local(each):
        return folder_channel(each.channel, store.uri(_upload_folder(each)))
    if not each.files:
        return folder_channel(each.channel, s3_uri(each.uri))
    return manifest_channel(each.channel, store.uri(_manifest_path(name, each)))


def put_channels(store: JobsStore, name: str, spec: JobSpec) -> None:
    """Write a job's job.json and manifests, and upload what is on this machine, if it is not there yet.

    :raises ConfigError: for a file that is not there, or a place that SageMaker cannot read.
    """
    for each in spec.inputs:
        if _is_local(each):
            _upload(store, each)
        else:
            uri = s3_uri(each.uri)
            if each.files:
                store.write_json(_manifest_path(name, each), manifest_of(uri, each.files))
    store.write_json(folder_of(name, "job", "job.json"), dict(spec.job))


def s3_uri(uri: str) -> str:
    """An S3 address as SageMaker writes it.

    :raises ConfigError: for any other place.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("s3", "s3a"):
        raise ConfigError(
            f"SageMaker cannot read {uri}", fix="keep the lake on s3://, or on this machine for a trial run"
        )
    return f"s3://{parts.netloc}{parts.path}".rstrip("/")


def _manifest_path(name: str, each: JobInput) -> str:
    return folder_of(name, "channels", f"{channel_name(each.channel)}.manifest")


def _is_local(each: JobInput) -> bool:
    return urlsplit(each.uri).scheme in ("", "file")


def local_folder(uri: str) -> Path:
    """The folder behind a ``file://`` uri."""
    return Path(unquote(urlsplit(uri).path))


def _upload_folder(each: JobInput) -> str:
    return f".inputs/{identity_of(each.channel, each.uri, each.identity, *each.files)[:32]}"


def _upload(store: JobsStore, each: JobInput) -> None:
    """Once: a note beside the folder says how many files were put there; lifecycle rules may take them."""
    folder, root = _upload_folder(each), local_folder(each.uri)
    names = each.files or tuple(
        path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()
    )
    absent = [name for name in names if not (root / name).is_file()]
    if absent or not names:
        missing = root / absent[0] if absent else root
        raise ConfigError(f"input {each.channel}: {missing} is not there", fix="was it removed since?")
    note = store.read_json(f"{folder}.json")
    if note is not None and note["files"] == len(store.list(folder)):
        return
    store.upload(folder, {name: root / name for name in names})
    store.write(f"{folder}.json", json.dumps({"channel": each.channel, "files": len(names)}))
