"""Small files of an MLflow run: read as they are, written again without harm."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from nightshift.errors import RegistryError
from nightshift.registry.server import connect, speaking_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

__all__ = ["Artifacts"]


class Artifacts:
    """The artifacts of runs of the MLflow server at ``uri``.

    :raises RegistryError: from every method, when MLflow cannot be reached or refuses.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self.uri)

    def exists(self, run_id: str, path: str) -> bool:
        """Whether the run has a file of that name."""
        folder = str(PurePosixPath(path).parent)
        with speaking_to(self.uri, f"{path} of run {run_id}"):
            there = self._client.list_artifacts(run_id, None if folder == "." else folder)
        return path in {each.path for each in there}

    def read(self, run_id: str, path: str) -> bytes | None:
        """The file's content, None where the run has none of that name."""
        if not self.exists(run_id, path):
            return None
        with speaking_to(self.uri, f"{path} of run {run_id}"), TemporaryDirectory() as here:
            return Path(self._client.download_artifacts(run_id, path, here)).read_bytes()

    def read_json(self, run_id: str, path: str) -> Any:
        """The same, parsed.

        :raises RegistryError: when it is no JSON.
        """
        data = self.read(run_id, path)
        try:
            return None if data is None else json.loads(data)
        except ValueError as error:
            raise RegistryError(
                f"{path} of run {run_id} is no JSON: {error}", fix="look at the run's artifacts in MLflow"
            ) from error

    def write(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Store each file under its path, in place of one of that name."""
        with speaking_to(self.uri, f"files of run {run_id}"), TemporaryDirectory() as here:
            for path, data in files.items():
                file = Path(here) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            self._client.log_artifacts(run_id, here)

    def url(self, run_id: str, path: str) -> str:
        """Where the file itself is fetched, e.g. by a picture in a description."""
        query = urlencode({"path": path, "run_uuid": run_id})
        return f"{self.uri.rstrip('/')}/get-artifact?{query}"
