"""Progress for people: numbered steps with seconds; a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Console", "Step"]

CLEAR = "\r\x1b[2K"


class Console:
    """Writes steps ``[2/6] …`` to a stream.

    :param steps: how many steps are announced in all.
    """

    def __init__(self, steps: int, stream: TextIO | None = None) -> None:
        self.steps = steps
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.begun = time.monotonic()
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """One numbered step; ends with its seconds, or with FAILED when an error passes through."""
        self._number += 1
        step = Step(self, f"[{self._number}/{self.steps}] {title}")
        self.line(step.title)
        try:
            yield step
        except BaseException:
            self.line(f"      FAILED after {step.seconds:.1f} s")
            raise
        self.line(f"      done in {step.seconds:.1f} s{f': {step.outcome}' if step.outcome else ''}")

    def line(self, text: str) -> None:
        """A line that stays."""
        self.stream.write(f"{CLEAR if self.live else ''}{text}\n")
        self.stream.flush()

    def passing(self, text: str) -> None:
        """A line that the next one overwrites; not written where there is no terminal."""
        if self.live:
            self.stream.write(f"{CLEAR}{text[:100]}")
            self.stream.flush()


class Step:
    """A step under way."""

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self.title = title
        self.outcome = ""
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the step began."""
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        """A line below the step's title, with the seconds so far."""
        self.console.line(f"      {self.seconds:6.1f} s  {text}")

    def count(self, done: int, total: int, text: str) -> None:
        """Say that ``done`` of ``total`` is reached: each on a terminal, every quarter elsewhere."""
        if self.console.live:
            share = int(24 * done / max(total, 1))
            bar = "█" * share + "·" * (24 - share)
            self.console.passing(f"      {self.seconds:6.1f} s  {bar} {done}/{total} {text}")
        elif done == total or done % max(total // 4, 1) == 0:
            self.say(f"{done}/{total} {text}")
