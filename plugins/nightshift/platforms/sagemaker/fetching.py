"""Outputs of jobs, brought to this machine once and kept for a while."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from nightshift.errors import JobLost
from nightshift.lake.storage import download, list_objects
from nightshift.platforms.sagemaker.failures import storage_trouble

if TYPE_CHECKING:
    from nightshift.lake.storage import Location

__all__ = ["fetch"]

_AT_ONCE = 16
_KEPT_S = 2 * 86_400.0


def fetch(location: Location, cache: Path) -> Path:
    """The folder below ``cache`` with everything that lies at ``location``.

    It appears whole, so that several processes may ask for it at once; asked for again it is there. Copies
    that nobody asked for in two days are removed.

    :raises JobLost: when there is nothing.
    """
    target = cache / hashlib.sha256(location.uri.encode()).hexdigest()[:32]
    try:
        os.utime(target)  # first of all, so that nobody finds it too old from here on
    except FileNotFoundError:
        cache.mkdir(parents=True, exist_ok=True)
        _bring(location, cache, target)
        _prune(cache, target)
    return target


def _bring(location: Location, cache: Path, target: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=".fetching-", dir=cache))
    try:
        with storage_trouble():
            names = [each.path for each in list_objects(location)]
            if not names:
                raise JobLost(f"there is nothing at {location.uri}", fix="was it removed since?")
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda name: download(location, name, scratch / name), names))
        scratch.chmod(0o755)
        try:
            scratch.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster: its copy is as good
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _prune(cache: Path, kept: Path) -> None:
    """Folders go by another name before they go: what has its own name is whole."""
    old = time.time() - _KEPT_S
    for folder in cache.iterdir():
        with contextlib.suppress(OSError):
            if folder != kept and folder.stat().st_mtime < old:
                going = folder.rename(cache / f".old-{uuid4().hex}")
                shutil.rmtree(going, ignore_errors=True)
