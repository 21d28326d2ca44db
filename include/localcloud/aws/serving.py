"""``serve`` of a model in a container: for batch transform, and for endpoints."""

from __future__ import annotations

import json
import tarfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from localcloud.aws.containers import Container, image_of
from localcloud.aws.errors import JobError
from localcloud.aws.models import container_of
from localcloud.aws.storage import fetch_tree, split_uri
from localcloud.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from localcloud.aws.cloud import Cloud
    from localcloud.aws.processes import Started
    from localcloud.aws.records import Record

__all__ = ["Answer", "ModelServer"]

_READY_S = 120
_FAILED = "AlgorithmError: See job logs for more information"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model's server said."""

    status: int
    body: bytes
    content_type: str = ""


class ModelServer:
    """A model that answers on a port of its own.

    The thread that calls ``start`` must live as long as the server: the process ends with it.
    """

    def __init__(self, cloud: Cloud, model: Record, name: str, on_line: Callable[[str], None]) -> None:
        self._cloud = cloud
        self._model = model
        self._on_line = on_line
        self._container = Container(cloud.folder(f"{name}-{uuid4().hex[:6]}"), cloud.settings)
        self._port = free_port()
        self._process: Started | None = None

    def start(self, environment: Mapping[str, str], why_end: Callable[[], bool]) -> bool:
        """Unpack the model, run ``serve`` and wait for its ``/ping``; False when ``why_end`` came first.

        :raises JobError: when it ends or does not answer.
        """
        said = container_of(self._model)
        image = image_of(self._cloud.settings, said["Image"])
        if not image.get("serve"):
            raise JobError(f"ClientError: the image {said['Image']} has no command for serve")
        self._unpack(said)
        port = {"SAGEMAKER_BIND_TO_HOST": "127.0.0.1", "SAGEMAKER_BIND_TO_PORT": str(self._port)}
        given = self._container.environment(image, port, said.get("Environment", {}), environment)
        command = self._container.command(image["serve"])
        self._process = self._cloud.processes.start(command, given, self._container.base, self._on_line)
        return self._wait(why_end)

    def _unpack(self, said: dict[str, Any]) -> None:
        s3, folder = self._cloud.s3(), self._container.base / "model"
        source = said.get("ModelDataSource", {}).get("S3DataSource", {})
        if source.get("CompressionType") == "None":
            fetch_tree(s3, source["S3Uri"], folder)
            return
        url = said.get("ModelDataUrl") or source.get("S3Uri")
        if url:
            packed = self._container.base / "tmp" / "model.tar.gz"
            s3.download_file(*split_uri(url), str(packed))
            with tarfile.open(packed) as archive:
                archive.extractall(folder, filter="data")
            packed.unlink()

    def _wait(self, why_end: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _READY_S
        while not self._pings():
            self._cloud.check()
            if why_end():
                return False
            if not self.alive() or time.monotonic() > deadline:
                raise JobError(_FAILED)
            time.sleep(0.05)
        return True

    def _pings(self) -> bool:
        try:
            return self._ask("GET", "/ping", None, {}, 2).status == 200
        except OSError:
            return False

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def execution_parameters(self) -> dict[str, Any]:
        """What the container asks for; empty when it has no wishes."""
        try:
            answer = self._ask("GET", "/execution-parameters", None, {}, 10)
            found = json.loads(answer.body) if answer.status == 200 else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def invoke(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
        """POST to ``/invocations``.

        :raises OSError: when no answer comes.
        """
        return self._ask("POST", "/invocations", body, headers, timeout_s)

    def kill(self) -> None:
        """End the process without manners; whoever waits for an answer gets none."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End the process and remove its folder."""
        if self._process is not None and self.alive():
            self._process.signal()
            self._process.end(self._cloud.settings.grace_s)
        self._container.discard()

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> Answer:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}", body, dict(headers), method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                return Answer(response.status, response.read(), response.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), error.headers.get("Content-Type", ""))
