"""The stack's secrets: made once, kept in files that only their owner reads."""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["secret"]


def secret(folder: Path, name: str, *, size: int = 32) -> str:
    """The secret ``name``, made at the first call; 32 random bytes in URL-safe base64 are a Fernet key."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / name
    fresh = base64.urlsafe_b64encode(secrets.token_bytes(size))
    partial = folder / f".{name}.{secrets.token_hex(4)}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(fresh)
    try:
        os.link(partial, file)  # never replaces: of two first callers one wins, both read the same
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    return file.read_text()
