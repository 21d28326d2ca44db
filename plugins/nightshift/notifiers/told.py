"""Remembers in the pipeline's lake which causes were told, so that one cause is one message."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nightshift.lake.storage import object_exists, read_object, remove, write_object

if TYPE_CHECKING:
    from nightshift.lake.storage import Location

__all__ = ["Telling"]

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Telling:
    """One cause and its marker, ``alerts/<sha256 of the cause>.json``.

    The marker is written after a channel has accepted the message: a teller that dies before that leaves
    none, and the next one tells it. Two that come at once are told apart by a claim; it is only a reason to
    wait a while for the other's marker, never to be silent.

    :param folder: the pipeline's part of the lake.
    :param lease_s: seconds that a claim is waited for.
    """

    folder: Location
    cause: str
    lease_s: float = 30.0

    def is_done(self) -> bool:
        """Whether somebody told it, before or while we looked; if not, it is the caller's to tell."""
        if self._is_marked():
            return True
        if write_object(self.folder, self._path("claim"), str(time.time()).encode(), only_if_new=True):
            return False
        until = min(self._claimed_at(), time.time()) + self.lease_s
        while time.time() < until:
            if self._is_marked():
                return True
            time.sleep(_POLL_S)
        return self._is_marked()

    def done(self, title: str) -> bool:
        """Remember that it was told; whether nobody had before."""
        marker = {"cause": self.cause, "title": title, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        return write_object(self.folder, self._path("json"), json.dumps(marker).encode(), only_if_new=True)

    def given_up(self) -> bool:
        """Nobody could be reached: let the next one try without waiting for us."""
        remove(self.folder, [self._path("claim")])
        return True

    def _is_marked(self) -> bool:
        return object_exists(self.folder, self._path("json"))

    def _claimed_at(self) -> float:
        return float(read_object(self.folder, self._path("claim")) or 0)

    def _path(self, suffix: str) -> str:
        return f"alerts/{hashlib.sha256(self.cause.encode()).hexdigest()}.{suffix}"
