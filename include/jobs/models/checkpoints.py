"""Checkpoints of a PyTorch fit: written whole or not at all, read without running code."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import torch

from jobs.contract import atomic, say

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["newest", "write"]

_KEPT = 2
_NAME = re.compile(r"epoch-(\d{6})\.pt$")


def write(folder: Path, epoch: int, state: dict[str, Any]) -> None:
    """Write ``epoch-NNNNNN.pt`` atomically and let the newest two stay."""
    with atomic(folder / f"epoch-{epoch:06d}.pt") as partial:
        torch.save(state, partial)
    for old in _files(folder)[_KEPT:]:
        with contextlib.suppress(OSError):
            old.unlink()
    say(f"[checkpoint] epoch={epoch}")


def newest(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the newest checkpoint that can be read and belongs to this fit, or None.

    ``weights_only``: tensors and plain values, no pickled code, whoever wrote the file.
    """
    for path in _files(folder):
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            owner = state["fingerprint"]
        except Exception as error:  # noqa: BLE001 - torch raises whatever its zip and reader raise
            say(f"checkpoint {path.name} is ignored: it is damaged or half-written ({type(error).__name__})")
            continue
        if owner == fingerprint:
            return state
        say(f"checkpoint {path.name} is ignored: it belongs to other data, parameters or seed")
    return None


def _files(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted((path for path in folder.glob("epoch-*.pt") if _NAME.search(path.name)), reverse=True)
