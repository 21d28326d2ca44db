"""A lock between processes that the kernel takes from whoever dies."""

from __future__ import annotations

import fcntl
import tempfile
from typing import Any

__all__ = ["KernelLock"]


class KernelLock:
    """Stands in for ``multiprocessing.Lock`` between a process and its forks.

    A semaphore stays taken when its holder is killed, and everybody else waits for ever. A record lock of
    the kernel belongs to one process and ends with it. It does not keep threads of one process apart.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the lock

    def acquire(self, block: bool = True) -> bool:
        """Take it; without ``block`` say whether that could be done."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give it back."""
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: Any) -> None:
        self.release()
