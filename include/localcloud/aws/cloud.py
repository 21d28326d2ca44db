"""One running loopback AWS: its settings, records, logs, faults, and how jobs get a place to run."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from localcloud.aws.faults import Faults
from localcloud.aws.home import ACCESS_KEY, REGION, SECRET_KEY, Settings
from localcloud.aws.logs import LogStore
from localcloud.aws.processes import Processes
from localcloud.aws.records import Record, Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Closing", "Cloud", "client_for"]

_CALLS_KEPT = 20_000


class Closing(Exception):
    """The server goes away; a job that hears it leaves its record as it is."""


class Cloud:
    """What every operation and every job runner is given."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.faults = Faults()
        self.logs = LogStore(settings.home / "logs")
        self.processes = Processes()
        self.records = Records(settings.home / "records")
        self.calls: deque[dict[str, Any]] = deque(maxlen=_CALLS_KEPT)
        self.closing = threading.Event()
        self.on_close: list[Callable[[], None]] = []
        self._slots = threading.BoundedSemaphore(settings.parallel)
        shutil.rmtree(settings.home / "containers", ignore_errors=True)

    def s3(self) -> Any:
        """A client of our S3."""
        return client_for("s3", self.settings.s3_endpoint)

    def folder(self, *parts: str) -> Path:
        """A folder for one container."""
        return self.settings.home.joinpath("containers", *parts)

    def run(self, record: Record, work: Callable[[Cloud, Record], None]) -> None:
        """Do a record's work in a thread of its own; ``done`` is set when it has ended, however."""

        def do() -> None:
            try:
                work(self, record)
            except Closing:
                return
            record.done.set()

        threading.Thread(target=do, daemon=True, name=f"{record.kind}/{record.name}").start()

    @contextmanager
    def slot(self, record: Record) -> Iterator[bool]:
        """A place among the jobs that run at once; False when the job was stopped before it got one."""
        while not self._slots.acquire(timeout=0.05):
            self.check()
            if record.stop.is_set():
                yield False
                return
        try:
            yield not record.stop.is_set()
        finally:
            self._slots.release()

    def check(self) -> None:
        """:raises Closing: when the server goes away."""
        if self.closing.is_set():
            raise Closing

    def close(self) -> None:
        """End every job and every thread's interest in it."""
        self.closing.set()
        for callback in self.on_close:
            callback()
        self.processes.kill_all()
        self.processes.close()
        self.logs.close()


@lru_cache(maxsize=8)
def client_for(service: str, endpoint: str) -> Any:
    """A client for our own calls, kept."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(max_pool_connections=64, retries={"max_attempts": 5, "mode": "standard"}),
    )
