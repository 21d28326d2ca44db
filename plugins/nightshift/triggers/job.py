"""Waits for a job: fires once, when it ends or its deadline passes. Judges nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from nightshift.errors import NightshiftError
from nightshift.hooks.platform import connect
from nightshift.hooks.settings import current_settings
from nightshift.platforms.base import JobRef, JobState
from nightshift.platforms.patience import TROUBLE, Pause
from nightshift.triggers.instances import state_of, warm_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nightshift.platforms.base import JobStatus, Platform

__all__ = ["JobTrigger"]

_LONGEST_PAUSE_S = 30.0


class JobTrigger(BaseTrigger):
    """Fire once, when the job ends or its deadline passes.

    :param job: ``JobRef.to_dict()``.
    :param facts: handed back in the event, for the operator that wakes up with nothing else.
    :param deadline: seconds since the epoch; absolute, because a restart builds the trigger anew.
    :param start_by: seconds since the epoch; a job that has no machine by then is waited for no longer.
    :param poll_s: seconds between two looks.
    :param log_position: where the job's log was read to already.
    :param not_before: seconds since the epoch; the event waits until then.
    :param adopted_at: when the task's try took over a job of an earlier one; 0 when it did not. Handed back.
    """

    def __init__(
        self,
        job: dict[str, str],
        facts: dict[str, Any],
        deadline: float,
        poll_s: float,
        log_position: int = 0,
        adopted_at: float = 0.0,
        not_before: float = 0.0,
        start_by: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base is untyped
        self.job = job
        self.facts = facts
        self.deadline = deadline
        self.poll_s = poll_s
        self.log_position = log_position
        self.adopted_at = adopted_at
        self.not_before = not_before
        self.start_by = start_by
        self._connected: Platform | None = None
        self._log_pause = Pause()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What another triggerer needs to go on."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "job": self.job,
            "facts": self.facts,
            "deadline": self.deadline,
            "poll_s": self.poll_s,
            "log_position": self.log_position,
            "adopted_at": self.adopted_at,
            "not_before": self.not_before,
            "start_by": self.start_by,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, stream the log, wait; one event at the end, whatever happens on the way.

        A platform that does not answer is asked again. Anything else wakes the worker, which meets the
        same trouble and tells it with its class; a trigger that dies would fail the task and leave the job.
        """
        asyncio.get_running_loop().run_in_executor(None, warm_up)
        try:
            timed_out = not await self._is_over_in_time()
        except Exception:
            self.log.exception("Cannot wait for job %s here: the worker goes on", self.job["name"])
            timed_out = False
        await asyncio.sleep(max(0.0, self.not_before - time.time()))
        yield TriggerEvent(
            {
                "job": self.job,
                "facts": self.facts,
                "timed_out": timed_out,
                "adopted_at": self.adopted_at,
                "log_position": self.log_position,
            }
        )

    async def on_kill(self) -> None:
        """Stop the job: somebody cleared or ended the deferred task. (Not cleanup(): restarts run that.)

        A triggerer that was out of reach for a while is told the same when another one has taken over: the
        task is still deferred then, and its job is none of ours any more.
        """
        ref = JobRef(**self.job)
        if await asyncio.to_thread(state_of, self.task_instance) == "deferred":
            self.log.info("Another triggerer waits for job %s", ref.name)
            return
        self.log.info("Task was ended by a user: stopping job %s", ref.name)
        for attempt in range(1, 6):
            try:
                platform = await self._platform()
                await platform.stop_async(ref, "its task was ended by a user")
            except TROUBLE as error:
                self.log.warning("%s: asking again", error)
                await asyncio.sleep(attempt)  # Airflow gives us 30 s in all; after that it is the reaper's
            else:
                return

    async def _is_over_in_time(self) -> bool:
        ref, said, pause = JobRef(**self.job), "", self.poll_s
        while True:
            try:
                platform = await self._platform()
                status = await platform.status_async(ref)
            except TROUBLE as error:
                pause = min(2 * max(pause, 0.25), _LONGEST_PAUSE_S)
                self.log.warning("%s: looking again in %.1f s", error, pause)
            else:
                pause = self.poll_s
                said = self._tell(ref, status, said)
                await self._stream(platform, ref)
                if status is None or status.state.is_terminal:
                    return True
                if self.start_by and status.state is JobState.PENDING and time.time() >= self.start_by:
                    return False
            if time.time() >= self.deadline:
                return False
            await asyncio.sleep(min(pause, max(0.0, self.deadline - time.time())))

    def _tell(self, ref: JobRef, status: JobStatus | None, said: str) -> str:
        state = "gone" if status is None else " ".join(filter(None, (str(status.state), status.reason)))
        if state != said:
            self.log.info("Job %s is %s", ref.name, state)
        return state

    async def _stream(self, platform: Platform, ref: JobRef) -> None:
        """New lines; where they cannot be read, the job's end is still waited for."""
        if not self._log_pause.is_over:
            return
        try:
            chunk = await platform.logs_async(ref, self.log_position)
        except (NightshiftError, *TROUBLE) as error:
            self.log.warning("The log of job %s cannot be read now: %s", ref.name, error)
            self._log_pause.failed()
            return
        self._log_pause.worked()
        self.log_position = chunk.position
        for line in chunk.lines:
            self.log.info("[job] %s", line)

    async def _platform(self) -> Platform:
        """Signed in to once, in a thread: a connection may come from a secrets backend."""
        if self._connected is None:
            self._connected = await asyncio.to_thread(connect, self.job["platform"], current_settings())
        return self._connected
