"""Values from outside, as one line that is safe on a terminal."""

from __future__ import annotations

from typing import Any

__all__ = ["plain", "text"]


def text(value: Any) -> str:
    """One line that is safe on a terminal: a source may send control characters."""
    found = "-" if value is None else value if isinstance(value, str) else plain(value)
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in found)


def plain(value: Any) -> str:
    """A value that JSON does not know, in words."""
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    return str(value)
