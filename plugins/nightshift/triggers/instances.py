"""What Airflow says of a task instance, asked from its worker or its triggerer."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["GOES_ON", "GONE", "key_of", "named", "state_of", "warm_up"]

GONE = "gone"
"""Told as the state of a task instance that Airflow does not know."""

CLEARED = "cleared"
"""Told as the state of a task instance that has none, until it is scheduled."""

GOES_ON = frozenset({"running", "queued", "scheduled", "deferred", "up_for_retry", "up_for_reschedule"})
"""States in which nobody has ended a task: it runs, or will be tried again."""

log = logging.getLogger(__name__)


def key_of(task_id: str, map_index: int) -> str:
    """How the execution API names a task instance within its run."""
    return task_id if map_index < 0 else f"{task_id}_{map_index}"


def named(states: Mapping[str, Any], key: str) -> str:
    """The state of one task instance among those of its run, as a word."""
    if key not in states:
        return GONE
    state = states[key]
    return CLEARED if state is None else str(getattr(state, "value", state))


@cache
def warm_up() -> None:
    """Ask Airflow something, once a process: a triggerer's first question takes it seconds."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    try:
        RuntimeTaskInstance.get_task_states(dag_id="none", run_ids=["none"])
    except Exception as error:  # noqa: BLE001 nobody waits for an answer
        log.debug("Airflow gave no answer: %s", error)


def state_of(ti: Any) -> str | None:
    """The state of a task instance, by its worker's or triggerer's own connection; None without an answer."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    try:
        states = RuntimeTaskInstance.get_task_states(
            dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[ti.task_id]
        )
    except Exception as error:  # noqa: BLE001 whatever it is, it is no answer
        log.warning("Airflow does not say how task %s stands: %s", getattr(ti, "task_id", "?"), error)
        return None
    map_index = -1 if ti.map_index is None else ti.map_index
    return named(states.get(ti.run_id, {}), key_of(ti.task_id, map_index))
