"""Processes of jobs: each in a group of its own, read line by line, ended with all that belongs to it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.aws.tether import tethered
from localcloud.aws.warden import kill_container

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Processes", "Started", "run_all"]

_HERE = Path(__file__).parent
_LOOK_S = 0.02


class Processes:
    """Starts processes; the warden ends them should this server be killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[int, Started] = {}
        self._warden = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_HERE / "warden.py")],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        on_line: Callable[[str], None],
    ) -> Started:
        """Run a command in ``folder``, the base folder of a job, with that environment and no other.

        Whoever calls this must outlive the process: it ends with the calling thread.
        """
        process = subprocess.Popen(
            [*tethered(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
        self._tell(f"+ {process.pid} {folder}")
        started = Started(process, folder, on_line, self._forget)
        with self._lock:
            self._live[process.pid] = started
        return started

    def kill_all(self) -> None:
        """End every process at once, without manners."""
        with self._lock:
            live = list(self._live.values())
        for started in live:
            kill_container(started.pid, str(started.folder))

    def close(self) -> None:
        """Let the warden end what is left, and wait for it."""
        if self._warden.stdin:
            with contextlib.suppress(OSError):
                self._warden.stdin.close()
        self._warden.wait(timeout=10)

    def _forget(self, started: Started) -> None:
        with self._lock:
            self._live.pop(started.pid, None)
        self._tell(f"- {started.pid}")

    def _tell(self, line: str) -> None:
        with self._lock:
            if self._warden.stdin and not self._warden.stdin.closed:
                self._warden.stdin.write(line + "\n")
                self._warden.stdin.flush()


class Started:
    """A running process group."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        folder: Path,
        on_line: Callable[[str], None],
        on_end: Callable[[Started], None],
    ) -> None:
        self.pid = process.pid
        self.folder = folder
        self._process = process
        self._on_end = on_end
        self._reader = threading.Thread(target=self._read, args=(on_line,), daemon=True)
        self._reader.start()
        self._cleared = False

    def poll(self) -> int | None:
        """The exit code as a container shows it (128 + signal), with every line read; None while it runs."""
        if not self._has_ended():
            return None
        self._clear()
        code = self._process.wait()
        return 128 - code if code < 0 else code

    def _has_ended(self) -> bool:
        """Looked at without taking its process id off the table: nobody else can have it meanwhile."""
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.pid, look) is not None
        except ChildProcessError:
            return True

    def signal(self) -> None:
        """Ask the whole group to end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the group and all that left it."""
        kill_container(self.pid, str(self.folder))
        self._process.wait(timeout=10)

    def end(self, grace_s: float) -> None:
        """Wait for a group that was asked to end, then end it."""
        deadline = time.monotonic() + grace_s
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        if self.poll() is None:
            self.kill()
            self.poll()

    def _clear(self) -> None:
        """A container ends with its first process: so does everything that one left behind."""
        if self._cleared:
            return
        self._cleared = True
        kill_container(self.pid, str(self.folder))
        self._reader.join(timeout=10)
        self._on_end(self)

    def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            on_line(line.decode(errors="replace").rstrip("\r\n"))


def run_all(
    started: Sequence[Started], why_end: Callable[[], str | None], grace_s: float
) -> tuple[list[int], str | None]:
    """Wait for processes that belong together; one that fails ends the others.

    :param why_end: asked all the time; its first answer ends them.
    :returns: the exit codes, and that answer.
    """
    try:
        while True:
            codes = [process.poll() for process in started]
            if all(code is not None for code in codes) or any(codes):
                break
            why = why_end()
            if why:
                return _ended(started, grace_s), why
            time.sleep(_LOOK_S)
        first = next((code for code in codes if code), 0)
        return [first if code is None else code for code in codes], None
    finally:
        _ended(started, grace_s)


def _ended(started: Sequence[Started], grace_s: float) -> list[int]:
    live = [process for process in started if process.poll() is None]
    for process in live:
        process.signal()
    for process in live:
        process.end(grace_s)
    return [process.poll() or 0 for process in started]
