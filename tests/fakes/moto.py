"""Moto as a server of its own process: AWS's control plane, and where asked for its IAM enforcement."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.fakes.process import answers, free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MotoServer", "moto_running"]

REGION = "us-east-1"
ACCOUNT = "123456789012"


@dataclass(frozen=True, slots=True)
class MotoServer:
    """A running server; nothing is checked until :meth:`enforce`."""

    endpoint: str

    def client(self, service: str, key: str = "test", secret: str = "test", token: str | None = None) -> Any:
        """A client that signs in as somebody."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    def enforce(self) -> None:
        """From now on each call is allowed by a policy or refused."""
        self._post("reset-auth", b"0")

    def reset(self) -> None:
        """Forget everything that was made."""
        self._post("reset", b"")

    def _post(self, what: str, data: bytes) -> None:
        import requests

        requests.post(f"{self.endpoint}/moto-api/{what}", data=data, timeout=30).raise_for_status()


@contextmanager
def moto_running(folder: Path) -> Iterator[MotoServer]:
    """Run a server for the length of the block; its log is in ``folder``."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with running(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        ready=partial(answers, f"{endpoint}/moto-api/data.json"),
        log=folder / "moto.log",
        environment={},
        folder=folder,
    ):
        yield MotoServer(endpoint)
