"""A process beside the server that ends its jobs when the server was killed.

It reads ``+ PID FOLDER`` and ``- PID`` lines; at the end of the input, everything still on its list is
killed. A signal at the parent's death reaches children only, not what they started: this does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

__all__ = ["kill_container", "main"]


def kill_container(pid: int, folder: str) -> None:
    """Kill a process group, and what left the group but belongs to the job of that base folder."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    for other in _processes_of(folder):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(other, signal.SIGKILL)


def _processes_of(folder: str) -> list[int]:
    """Processes whose environment names that base folder: a container ends with all that is in it."""
    wanted = f"SAGEMAKER_BASE_DIR={folder}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in variables:
            found.append(int(entry.name))
    return found


def main() -> None:
    """Keep the list until the input ends, then kill what is on it."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    watched: dict[int, str] = {}
    for line in sys.stdin:
        sign_, pid, *folder = line.rstrip("\n").split(" ", 2)
        if sign_ == "+":
            watched[int(pid)] = folder[0]
        else:
            watched.pop(int(pid), None)
    for left, where in watched.items():
        kill_container(left, where)


if __name__ == "__main__":
    main()
