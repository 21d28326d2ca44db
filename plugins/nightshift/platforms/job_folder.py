"""The files of one local job: what the platform writes, the runner fills in and both read.

::

    <home>/<name>/
      spec.json      what to run; written before the folder appears, never changed
      status.json    the runner's word: state, pids, times, reason
      lock           held by the runner while it lives: the proof that a job is alive
      heartbeat      touched by the runner every second: the proof that it is not stuck
      stop           somebody asked for its end, and why
      log.txt        standard output and error of the job
      input/ output/ the job contract's folders
    <home>/.checkpoints/<name without -rN>/   shared by all attempts, so that the next one resumes
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["JobFolder", "boot_id", "write_atomically"]

_ATTEMPT = re.compile(r"-r\d+$")


def boot_id() -> str:
    """Names this run of the machine's kernel: process ids of another one mean nothing here."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new content, never half of it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


@dataclass(frozen=True, slots=True)
class JobFolder:
    """One job's folder below a platform's home."""

    path: Path

    @property
    def name(self) -> str:
        """The job's name."""
        return self.path.name

    @property
    def log(self) -> Path:
        """Standard output and error of the job."""
        return self.path / "log.txt"

    @property
    def input(self) -> Path:
        """Where the inputs are staged."""
        return self.path / "input"

    @property
    def output(self) -> Path:
        """Where the job leaves its outputs."""
        return self.path / "output"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of every attempt at the same job."""
        return self.path.parent / ".checkpoints" / _ATTEMPT.sub("", self.name)

    def beat(self) -> None:
        """Note that the runner is at work."""
        (self.path / "heartbeat").touch()

    def silence_s(self) -> float:
        """Seconds since the last heartbeat; 0 before the first."""
        try:
            return max(0.0, time.time() - (self.path / "heartbeat").stat().st_mtime)
        except FileNotFoundError:
            return 0.0

    @property
    def stop_request(self) -> Path:
        """The file that asks for the job's end."""
        return self.path / "stop"

    def create(self, spec: Mapping[str, Any]) -> bool:
        """Make the folder with its specification, at once; False where it was there already."""
        if self.path.exists():
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_name(f".new-{self.name}-{os.getpid()}-{time.monotonic_ns()}")
        scratch.mkdir()
        (scratch / "spec.json").write_text(json.dumps(spec, indent=1), encoding="utf-8")
        (scratch / "lock").touch()
        try:
            scratch.rename(self.path)  # fails where another submit was faster: its folder is not empty
        except OSError:
            (scratch / "spec.json").unlink()
            (scratch / "lock").unlink()
            scratch.rmdir()
            return False
        return True

    def spec(self) -> dict[str, Any]:
        """What to run."""
        return self._read("spec.json") or {}

    def status(self) -> dict[str, Any] | None:
        """The runner's last word, or None before its first."""
        return self._read("status.json")

    def write_status(self, **fields: Any) -> None:
        """Replace the status."""
        write_atomically(self.path / "status.json", json.dumps(fields, indent=1))

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            data: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return data

    def is_alive(self) -> bool:
        """Whether a runner lives: the kernel drops its lock when it dies, and when the host restarts."""
        try:
            with (self.path / "lock").open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    @contextmanager
    def locked(self, patience_s: float = 2.0) -> Iterator[IO[str] | None]:
        """Hold the lock of the living; None where another runner holds it.

        Somebody who only looks (:meth:`is_alive`) holds it for a moment, hence the patience.
        """
        with (self.path / "lock").open("r+") as file:
            deadline = time.monotonic() + patience_s
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        yield None
                        return
                    time.sleep(0.05)
            yield file
