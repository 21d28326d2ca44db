"""Become a command that ends with the process that started it: ``tether.py PARENT COMMAND ...``.

A program of its own, and not code between fork and exec: the server has many threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["main", "tethered"]

_PR_SET_PDEATHSIG = 1


def tethered() -> list[str]:
    """The words before a command that shall end with the thread that starts it."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid())]


def main(parent: int, command: list[str]) -> None:
    """Replace this process by the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before this line
        sys.exit(137)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
