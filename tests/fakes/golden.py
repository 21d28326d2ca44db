"""Golden files: what a function renders, held by a file that people read.

``NIGHTSHIFT_WRITE_GOLDEN=1 pytest …`` writes them anew; what changed is then in the diff.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WRITE", "same_as_golden"]

WRITE = "NIGHTSHIFT_WRITE_GOLDEN"


def same_as_golden(path: Path, document: Any) -> bool:
    """Whether ``document`` is what the file says; with the flag it is written, and the same."""
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    if os.environ.get(WRITE) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path.exists() and path.read_text() == text
