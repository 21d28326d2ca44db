"""Folders for what does not fit into memory: gone afterwards, also when the process is killed."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["workspace"]

_STALE_AFTER_S = 24 * 3600


@contextmanager
def workspace(staging: Path, verb: str, name: str) -> Iterator[Path]:
    """A folder of our own below ``staging``; what a killed run of this ``verb`` left there goes too."""
    staging.mkdir(parents=True, exist_ok=True)
    for left in staging.glob(f"{verb}-*"):
        if time.time() - left.stat().st_mtime > _STALE_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{verb}-{name}-", dir=staging) as folder:
        yield Path(folder)
