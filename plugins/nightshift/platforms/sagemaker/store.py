"""The files of SageMaker jobs on S3: where each is, and reading and writing them.

::

    <jobs_uri>/<name>/
      spec.json             what to run; written before anything is asked of SageMaker
      stop.txt              somebody asked for its end, and why; written before SageMaker is asked
      job/job.json          channel ``spec``
      channels/*.manifest   the files of a channel, where not all of a folder are meant
      output/model/         what a training job left below /opt/ml/model
      transform/            what batch transform answered, one .out for each file of features
      result/               put together by us for tune and score; ``_SUCCESS`` is written last, or
                            ``failed.json``: what the job failed of where SageMaker knows of no failure
    <jobs_uri>/<name>-f/output/model/  the features that a score job's first stage left
    <jobs_uri>/.code/<sha256>/         the package ``jobs``; .inputs/ and .models/: uploaded once
    <jobs_uri>/.checkpoints/<name without -rN>/
    <jobs_uri>/.debugger/<name>/, .profiler/<name>/  apart from the job's own files, for they expire
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from nightshift.lake.storage import (
    Location,
    list_objects,
    object_exists,
    read_object,
    read_objects,
    upload,
    write_object,
)
from nightshift.platforms.sagemaker.failures import storage_trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nightshift.lake.storage import StoredObject

__all__ = ["JobsStore", "checkpoints_of", "folder_of", "model_output"]

_AT_ONCE = 16
_SIGNED_IN_S = 600.0
_ATTEMPT = re.compile(r"-r\d+$")


def folder_of(name: str, *parts: str) -> str:
    """A place in a job's folder, below ``jobs_uri``."""
    return "/".join((name, *parts))


def model_output(name: str) -> str:
    """Where SageMaker leaves /opt/ml/model of an uncompressed training job."""
    return folder_of(name, "output", "model")


def checkpoints_of(name: str) -> str:
    """Shared by all attempts of a job, so that the next one resumes."""
    return f".checkpoints/{_ATTEMPT.sub('', name)}"


class JobsStore:
    """``jobs_uri``. A store that does not answer is a platform that does not.

    :param options: signs in; asked again every ten minutes, for what a role gives expires.
    """

    def __init__(self, uri: str, options: Callable[[], Mapping[str, str]]) -> None:
        self.root = uri.rstrip("/")
        self._options = options
        self._signed_in: tuple[float, Mapping[str, str]] = (0.0, {})

    @property
    def options(self) -> Mapping[str, str]:
        """Object store settings that are still good."""
        since, options = self._signed_in
        if not since or time.monotonic() - since > _SIGNED_IN_S:
            options = self._options()
            self._signed_in = (time.monotonic(), options)
        return options

    @property
    def location(self) -> Location:
        """The root, signed in to."""
        return Location(self.root, self.options)

    def uri(self, path: str) -> str:
        """What SageMaker calls a place below the root."""
        return f"{self.root}/{path}"

    def at(self, uri: str) -> Location:
        """Any folder of S3, signed in to in the same way."""
        return Location(uri, self.options)

    def read(self, path: str) -> bytes | None:
        """The object's content, None when there is none."""
        with storage_trouble():
            return read_object(self.location, path)

    def read_json(self, path: str) -> Any:
        """The document, None when there is none."""
        data = self.read(path)
        return None if data is None else json.loads(data)

    def read_many(self, paths: list[str]) -> dict[str, bytes]:
        """Those of these small objects that are there."""
        with storage_trouble():
            return read_objects(self.location, paths)

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""
        with storage_trouble():
            return object_exists(self.location, path)

    def write(self, path: str, data: bytes | str, *, only_if_new: bool = False) -> bool:
        """Write an object whole; whether it was written."""
        content = data.encode() if isinstance(data, str) else data
        with storage_trouble():
            return write_object(self.location, path, content, only_if_new=only_if_new)

    def write_json(self, path: str, document: object) -> None:
        """Write a document."""
        self.write(path, json.dumps(document, indent=1))

    def upload(self, folder: str, files: Mapping[str, Path]) -> None:
        """Upload local files to ``folder``, by the names that they get there."""
        location = self.location.child(folder)
        with storage_trouble(), ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda one: upload(location, one[0], one[1]), files.items()))

    def list(self, folder: str) -> list[StoredObject]:
        """Everything below ``folder``."""
        with storage_trouble():
            return list_objects(self.location.child(folder))
