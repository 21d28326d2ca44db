"""A loopback AWS from Python: start one for the length of a ``with``, or use one that runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.aws.tether import tethered
from localcloud.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LoopbackAws", "at", "running"]


@dataclass(frozen=True)
class LoopbackAws:
    """What ``aws.json`` says of a running server, and ways to talk to it."""

    endpoint: str
    s3_endpoint: str
    region: str
    account: str
    access_key: str
    secret_key: str
    role_arn: str
    image: str
    buckets: dict[str, str]
    jobs_uri: str
    connection: dict[str, Any]
    options: dict[str, str]
    environment: dict[str, str]
    home: str
    pid: int

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client that talks to this server."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.s3_endpoint if service == "s3" else self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            **options,
        )

    def fault(self, fault: str, **order: Any) -> dict[str, Any]:
        """Ask for trouble: ``fault("throttling", operation="CreateTrainingJob", times=2)``.

        :raises ValueError: for an order that the server does not understand.
        """
        found: dict[str, Any] = self._ask("POST", "faults", {"fault": fault, **order})
        return found

    def calls(self, operation: str = "") -> list[dict[str, Any]]:
        """The calls since the start or the last reset, oldest first."""
        found: list[dict[str, Any]] = self._ask("GET", f"calls?operation={operation}")
        return found

    def reset(self) -> None:
        """Forget faults and calls."""
        self._ask("POST", "reset")

    def add_image(self, name: str, **commands: Any) -> None:
        """Let an image name stand for commands: ``train=[...]``, ``serve=[...]``, ``environment={...}``."""
        from localcloud.aws.home import write_json

        path = Path(self.home) / "images.json"
        write_json(path, {**json.loads(path.read_text()), name: commands})

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.endpoint}/loopback/{path}",
            method=method,
            data=json.dumps(body).encode() if body else None,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None


def at(home: Path) -> LoopbackAws:
    """The server that lives in a folder, whoever started it."""
    card = json.loads((home / "aws.json").read_text())
    return LoopbackAws(**{field.name: card[field.name] for field in fields(LoopbackAws)})


@contextmanager
def running(home: Path, *options: str, timeout_s: float = 60) -> Iterator[LoopbackAws]:
    """Run a server in ``home`` for the length of the block; it ends with the thread that enters it.

    :param options: more words for ``python -m localcloud.aws``.
    :raises RuntimeError: when it does not start; with the end of its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    card, log = home / "aws.json", home / "server.log"
    card.unlink(missing_ok=True)
    include = str(Path(__file__).parents[2])
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [*tethered(), sys.executable, "-m", "localcloud.aws", "--home", str(home), *options],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": include},
            start_new_session=True,
        )
    try:
        wait_until(lambda: card.exists() or process.poll() is not None, timeout_s)
        if not card.exists():
            raise RuntimeError(f"the loopback AWS did not start:\n{log.read_text(errors='replace')[-3000:]}")
        yield at(home)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, sign)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            continue
        return
