"""Waits for an endpoint: fires when a change is over, or the time of two models. Judges nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from nightshift.hooks.endpoints import endpoints
from nightshift.hooks.settings import current_settings
from nightshift.platforms.endpoints import OWNER, UNDO, EndpointState
from nightshift.platforms.patience import TROUBLE
from nightshift.platforms.rollout import go_back
from nightshift.triggers.instances import state_of, warm_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nightshift.platforms.endpoints import EndpointStatus

__all__ = ["EndpointTrigger"]

_LONGEST_PAUSE_S = 30.0
_KILL_S = 25.0
"""Airflow gives a trigger that is killed 30 seconds; what is left then is the reaper's."""


class EndpointTrigger(BaseTrigger):
    """Fire once.

    :param platform: whose endpoint; ``name`` which one; ``owner`` whose deployment waits.
    :param until: seconds since the epoch until which both models answer; 0 to wait for a change's end.
    :param deadline: seconds since the epoch; absolute, because a restart builds the trigger anew.
    :param facts: handed back in the event, for the operator that wakes up with nothing else.
    :param not_before: seconds since the epoch; the event waits until then.
    """

    def __init__(
        self,
        platform: str,
        name: str,
        owner: str,
        until: float,
        deadline: float,
        poll_s: float,
        facts: dict[str, Any],
        not_before: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's base is untyped
        self.platform = platform
        self.name = name
        self.owner = owner
        self.until = until
        self.deadline = deadline
        self.poll_s = poll_s
        self.facts = facts
        self.not_before = not_before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What another triggerer needs to go on."""
        fields = ("platform", "name", "owner", "until", "deadline", "poll_s", "facts", "not_before")
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            field: getattr(self, field) for field in fields
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look and wait; one event at the end, whatever happens on the way: the worker meets it again."""
        asyncio.get_running_loop().run_in_executor(None, warm_up)
        try:
            await self._until_it_is_time()
        except Exception:
            self.log.exception("Cannot wait for endpoint %s here: the worker goes on", self.name)
        await asyncio.sleep(max(0.0, self.not_before - time.time()))
        yield TriggerEvent({"facts": self.facts})

    async def _until_it_is_time(self) -> None:
        pause, there = self.poll_s, await asyncio.to_thread(endpoints, self.platform, current_settings())
        while time.time() < self.deadline:
            try:
                status = await asyncio.to_thread(there.status, self.name)
            except TROUBLE as error:
                pause = min(2 * max(pause, 0.25), _LONGEST_PAUSE_S)
                self.log.warning("%s: looking again in %.1f s", error, pause)
            else:
                pause = self.poll_s
                if self._is_over(status):
                    return
            await asyncio.sleep(min(pause, max(0.0, self.deadline - time.time())))

    def _is_over(self, status: EndpointStatus | None) -> bool:
        if status is None or status.notes.get(UNDO) or status.notes.get(OWNER, "") > self.owner:
            return True
        if self.until:
            return time.time() >= self.until or status.state is EndpointState.FAILED
        return status.state is not EndpointState.CHANGING

    async def on_kill(self) -> None:
        """Bring the endpoint back: somebody cleared or ended the deferred task. (Not cleanup(): restarts
        run that.) What takes longer is noted with the endpoint, and the reaper finishes it.

        A triggerer that was out of reach for a while is told the same when another one has taken over.
        """
        if await asyncio.to_thread(state_of, self.task_instance) == "deferred":
            self.log.info("Another triggerer waits for endpoint %s", self.name)
            return
        self.log.info("Task was ended by a user: endpoint %s goes back", self.name)
        try:
            there = await asyncio.to_thread(endpoints, self.platform, current_settings())
            status = await asyncio.to_thread(there.status, self.name)
            if status is not None and status.notes.get(OWNER, "") > self.owner:
                return  # a newer deployment's
            why = "its task was ended by a user"
            done = await asyncio.to_thread(go_back, there, self.name, why, time.time() + _KILL_S)
        except TROUBLE as error:
            self.log.warning("%s: the reaper goes on", error)
        else:
            self.log.info("Endpoint %s is %s", self.name, "back" if done else "on its way back")
