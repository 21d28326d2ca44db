"""Inside the stack's processes: what a test planned for a run, where it is to halt, what is to go wrong.

Every run has a folder below ``NIGHTSHIFT_CHAOS``; its ``plan.json`` can be changed between two tries.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["HERE", "halt", "plan", "run_folder", "take_fault"]

HERE = "triggerer" if "triggerer" in sys.argv else "worker"
"""A worker is a fork of the scheduler, the triggerer's event loop one of the triggerer."""

_LONGEST_HALT_S = 180.0


def run_folder(run: str) -> Path:
    """Where a run's plan is, and what it leaves."""
    return Path(os.environ["NIGHTSHIFT_CHAOS"]) / run


def plan(run: str) -> dict[str, Any]:
    """What the test wants now."""
    found: dict[str, Any] = json.loads((run_folder(run) / "plan.json").read_text())
    return found


def halt(run: str, point: str) -> None:
    """The first process that comes to a planned point says so and waits for leave; later ones pass."""
    folder = run_folder(run)
    if point not in plan(run)["halts"] or not _claim(folder / f"at-{point}", str(os.getpid())):
        return
    deadline = time.monotonic() + _LONGEST_HALT_S
    while not (folder / f"go-{point}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def take_fault(run: str, call: str) -> dict[str, Any] | None:
    """The next planned fault of a platform call in this kind of process; each happens as often as planned."""
    for number, fault in enumerate(plan(run)["faults"]):
        if fault["call"] != call or fault["where"] not in (HERE, "both"):
            continue
        for count in range(fault["times"]):
            if _claim(run_folder(run) / f"fault-{number}-{count}", HERE):
                return dict(fault)
    return None


def _claim(file: Path, word: str) -> bool:
    """Whether we are the first to make the file."""
    scratch = file.with_name(f".{file.name}.{os.getpid()}.{time.monotonic_ns()}")
    scratch.write_text(word)
    try:
        os.link(scratch, file)  # appears with its content, and only once
    except FileExistsError:
        return False
    finally:
        scratch.unlink()
    return True
