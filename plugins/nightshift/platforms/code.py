"""The identity of the code that jobs run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["code_sha256"]


def code_sha256(jobs_dir: Path) -> str:
    """sha256 over names and contents of every source file of the package ``jobs`` below ``jobs_dir``."""
    digest = hashlib.sha256()
    for path in sorted((jobs_dir / "jobs").rglob("*.py")):
        digest.update(path.relative_to(jobs_dir).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
