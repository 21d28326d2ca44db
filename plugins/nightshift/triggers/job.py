"""Waits for a job: fires once, when it ends or its deadline passes. Judges nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from nightshift.hooks.platform import connect
from nightshift.hooks.settings import current_settings
from nightshift.platforms.base import JobRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nightshift.platforms.base import JobStatus, Platform

__all__ = ["JobTrigger"]


class JobTrigger(BaseTrigger):
    """Fire once, when the job ends or its deadline passes.

    :param job: ``JobRef.to_dict()``.
    :param facts: handed back in the event, for the operator that wakes up with nothing else.
    :param deadline: seconds since the epoch; absolute, because a restart builds the trigger anew.
    :param poll_s: seconds between two looks.
    :param log_position: where the job's log was read to already.
    """

    def __init__(
        self,
        job: dict[str, str],
        facts: dict[str, str | int],
        deadline: float,
        poll_s: float,
        log_position: int = 0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base is untyped
        self.job = job
        self.facts = facts
        self.deadline = deadline
        self.poll_s = poll_s
        self.log_position = log_position

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What another triggerer needs to go on."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "job": self.job,
            "facts": self.facts,
            "deadline": self.deadline,
            "poll_s": self.poll_s,
            "log_position": self.log_position,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, stream the log, wait; one event at the end."""
        platform, ref, last = self._platform(), JobRef(**self.job), ""
        while True:
            status = await platform.status_async(ref)
            last = self._tell(ref, status, last)
            await self._stream(platform, ref)
            if status is None or status.state.is_terminal:
                yield self._event(timed_out=False)
                return
            if time.time() >= self.deadline:
                yield self._event(timed_out=True)
                return
            await asyncio.sleep(self.poll_s)

    async def on_kill(self) -> None:
        """Stop the job: somebody cleared or ended the deferred task. (Not cleanup(): restarts run that.)"""
        ref = JobRef(**self.job)
        self.log.info("Task was ended by a user: stopping job %s", ref.name)
        await self._platform().stop_async(ref)

    def _event(self, *, timed_out: bool) -> TriggerEvent:
        return TriggerEvent({"job": self.job, "facts": self.facts, "timed_out": timed_out})

    def _tell(self, ref: JobRef, status: JobStatus | None, last: str) -> str:
        state = str(status.state) if status else "gone"
        if state != last:
            self.log.info("Job %s is %s", ref.name, state)
        return state

    async def _stream(self, platform: Platform, ref: JobRef) -> None:
        chunk = await platform.logs_async(ref, self.log_position)
        self.log_position = chunk.position
        for line in chunk.lines:
            self.log.info("[job] %s", line)

    def _platform(self) -> Platform:
        return connect(self.job["platform"], current_settings())
