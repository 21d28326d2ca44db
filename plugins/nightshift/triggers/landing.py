"""Waits until a partition has landed: its marker is there."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from nightshift.hooks.settings import current_settings
from nightshift.hooks.storage import landing_zone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["LandingTrigger"]


class LandingTrigger(BaseTrigger):
    """Fire once, when all markers are there or the deadline passes.

    :param markers: each a folder's URI template with its partition filled in, and the marker's name.
    :param deadline: seconds since the epoch.
    :param poll_s: seconds between two looks.
    """

    def __init__(self, markers: list[list[str]], deadline: float, poll_s: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base is untyped
        self.markers = markers
        self.deadline = deadline
        self.poll_s = poll_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What another triggerer needs to go on."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "markers": self.markers,
            "deadline": self.deadline,
            "poll_s": self.poll_s,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for the markers, and for the time."""
        from nightshift.lake.landing import missing_markers

        landing = landing_zone(current_settings())
        while True:
            missing = await asyncio.to_thread(missing_markers, self.markers, landing)
            if not missing or time.time() >= self.deadline:
                yield TriggerEvent({"missing": missing})
                return
            self.log.info("Waiting for %s", ", ".join(missing))
            await asyncio.sleep(self.poll_s)
