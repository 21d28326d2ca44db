"""One night through Airflow: start the ingest run, follow what its assets start, say what happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nightshift.errors import NightshiftError

if TYPE_CHECKING:
    from nightshift.embedded.airflow_api import AirflowApi, Run, Task

__all__ = ["VERBS", "Night", "NightFailed", "follow", "prepare", "result"]

VERBS = ("ingest", "retrain", "score")
"""The DAGs of a night, in the order in which each one's asset starts the next."""

HANDOVER_S = 60.0
"""An asset-triggered run appears within a second or two of its asset; after this long it will not."""

Say = Callable[[str], None]


class NightFailed(NightshiftError):
    """A night did not end well; ``task`` is the one that failed, where it was one."""

    def __init__(self, what: str, *, fix: str = "", log: Sequence[str] = ()) -> None:
        super().__init__(what, fix=fix)
        self.log = log


@dataclass(slots=True)
class Night:
    """What is known of one night so far."""

    pipeline: str
    partition: str
    seconds: float = 0.0
    runs: dict[str, Run] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)

    def task(self, verb: str, *, dag: str) -> Task | None:
        """The task ``verb`` of one of the night's DAGs; groups do not matter."""
        dag_id = f"{self.pipeline}_{dag}"
        return next((t for t in self.tasks.values() if t.dag_id == dag_id and t.verb == verb), None)

    @property
    def seconds_by_task(self) -> dict[str, float]:
        """Seconds of every task that ran, by ``retrain.train``."""
        prefix = f"{self.pipeline}_"
        return {
            f"{task.dag_id.removeprefix(prefix)}.{task.name}": task.seconds
            for task in self.tasks.values()
            if task.seconds is not None and task.state == "success"
        }


def prepare(api: AirflowApi, pipeline: str, *, patience_s: float = 90.0) -> None:
    """Wait until Airflow knows the night's DAGs, and let them run.

    :raises NightFailed: when one of them does not appear; says which files could not be read.
    """
    wanted = [f"{pipeline}_{verb}" for verb in VERBS]
    deadline = time.monotonic() + patience_s
    while missing := [dag_id for dag_id in wanted if api.dag(dag_id) is None]:
        if time.monotonic() > deadline:
            errors = "\n".join(api.import_errors()) or "no file has an import error"
            raise NightFailed(f"Airflow does not know {', '.join(missing)}:\n{errors}", fix="see 'make lint'")
        time.sleep(0.5)
    for dag_id in reversed(wanted):  # consumers first: an asset event finds them awake
        api.unpause(dag_id)


def follow(
    api: AirflowApi,
    pipeline: str,
    partition: str,
    say: Say,
    *,
    timeout_s: float = 1800.0,
    poll_s: float = 0.5,
) -> Night:
    """Run the night of ``partition`` and return when all of its DAG runs have ended well.

    :raises NightFailed: when a run fails, does not start, or the night takes longer than ``timeout_s``.
    """
    night = Night(pipeline, partition)
    begun, since = time.monotonic(), datetime.now(UTC)
    waiting_since = begun
    night.runs["ingest"] = api.trigger(f"{pipeline}_ingest", partition)
    while True:
        _update(api, night, since, say)
        night.seconds = round(time.monotonic() - begun, 1)
        if any(run.state == "failed" for run in night.runs.values()):
            raise _failure(api, night)
        if len(night.runs) == len(VERBS) and all(run.is_over for run in night.runs.values()):
            return night
        if any(not run.is_over for run in night.runs.values()):
            waiting_since = time.monotonic()
        elif time.monotonic() - waiting_since > HANDOVER_S:
            missing = next(verb for verb in VERBS if verb not in night.runs)
            raise NightFailed(f"{pipeline}_{missing} was not started within {HANDOVER_S:.0f} s of its asset")
        if night.seconds > timeout_s:
            raise NightFailed(
                f"the night is not over after {timeout_s:.0f} s", fix="look at the runs in the UI"
            )
        time.sleep(poll_s)


def result(api: AirflowApi, night: Night, verb: str, *, dag: str) -> dict[str, Any]:
    """What a task of the night returned; empty when it returned nothing."""
    task = night.task(verb, dag=dag)
    value = api.returned(task) if task is not None else None
    return value if isinstance(value, dict) else {}


def _update(api: AirflowApi, night: Night, since: datetime, say: Say) -> None:
    for verb in VERBS:
        known = night.runs.get(verb)
        if known is not None and known.is_over:
            continue
        fresh = _run_of(api, night, verb, known, since)
        if fresh is None:
            continue
        night.runs[verb] = fresh
        for task in api.tasks(fresh):
            _note(api, night, task, say)
        if known is None or known.state != fresh.state:
            say(f"{fresh.dag_id}: {fresh.state}")


def _run_of(api: AirflowApi, night: Night, verb: str, known: Run | None, since: datetime) -> Run | None:
    dag_id = f"{night.pipeline}_{verb}"
    if known is not None:
        return api.run(dag_id, known.run_id)
    found = api.runs(dag_id, night.partition, since)
    return found[0] if found else None


def _note(api: AirflowApi, night: Night, task: Task, say: Say) -> None:
    key = f"{task.dag_id}.{task.name}"
    before = night.tasks.get(key)
    night.tasks[key] = task
    if (before is not None and before.state == task.state) or task.state in ("none", "scheduled", "queued"):
        return
    took = f" in {task.seconds:.1f} s" if task.is_over and task.seconds is not None else ""
    again = f" (try {task.try_number})" if task.try_number > 1 else ""
    state = "waiting for its job" if task.state == "deferred" else task.state
    say(f"{task.dag_id}.{task.name}: {state}{took}{again}")
    if task.state == "up_for_retry":
        for line in api.log(task, 3):
            say(f"    {line[:160]}")


def _failure(api: AirflowApi, night: Night) -> NightFailed:
    run = next(run for run in night.runs.values() if run.state == "failed")
    broken = [t for t in night.tasks.values() if t.run_id == run.run_id and t.dag_id == run.dag_id]
    task = next((t for t in broken if t.state == "failed"), None)
    if task is None:
        return NightFailed(f"{run.dag_id} failed without a failed task", fix="look at the run in the UI")
    return NightFailed(f"{task.dag_id}.{task.name} failed", fix=f"see {task.url}", log=api.log(task, 25))
