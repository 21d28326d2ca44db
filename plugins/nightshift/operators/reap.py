"""Stops jobs that no task waits for any more: what slipped through when something died at a wrong moment."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from nightshift.config.loader import load_all
from nightshift.hooks.platform import connect
from nightshift.hooks.settings import current_settings
from nightshift.notifiers import metrics
from nightshift.notifiers.alerts import tell
from nightshift.notifiers.messages import Orphan, orphans_reaped
from nightshift.operators.base import retry_policy
from nightshift.platforms.base import JobState
from nightshift.platforms.patience import patiently
from nightshift.triggers.instances import key_of, named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.sdk import Context

    from nightshift.config.settings import Settings
    from nightshift.platforms.base import TaggedJob

__all__ = ["ReapOperator", "orphans_among"]

WAITING = frozenset(
    {"running", "deferred", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "restarting"}
)
"""States of a task instance that waits for its job, or will look for it when it is tried again."""


@dataclass(frozen=True, slots=True)
class _Suspect:
    job: TaggedJob
    state_of_task: str


class ReapOperator(BaseOperator):
    """Looks at every job of this deployment that has not ended and at the task instance that started it.

    A job is an orphan when that task instance neither waits for it nor will be tried again, or waits for
    a newer job. Only what looks like an orphan twice is stopped, so that a task instance between two
    states is left alone.

    :param platforms: names of the platforms to look at; left out, this machine and where pipelines run.
    :param confirm_s: seconds between the two looks.
    """

    def __init__(self, *, platforms: Sequence[str] = (), confirm_s: float = 15.0, **kwargs: Any) -> None:
        kwargs.setdefault("retries", 1)
        kwargs.setdefault("retry_delay", timedelta(seconds=30))
        kwargs.setdefault("retry_policy", retry_policy())
        super().__init__(**kwargs)
        self.platforms = platforms
        self.confirm_s = confirm_s

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: ``{looked_at, stopped: [{job, dag, run, task, state_of_task, saved_seconds, saved_usd}],
            saved_seconds, saved_usd}``; what is saved is counted up to each job's own time limit.
        """
        settings, ask = current_settings(), context["ti"].get_task_states
        looked_at, stopped = 0, []
        for name in self.platforms or in_use(settings):
            jobs, suspects = self._look(name, settings, ask)
            looked_at += len(jobs)
            if suspects:
                time.sleep(self.confirm_s)
                suspects = _still(suspects, self._look(name, settings, ask)[1])
            stopped += [self._stop(name, suspect, settings) for suspect in suspects]
        self._tell(stopped, settings)
        saved = {
            key: round(math.fsum(each[key] for each in stopped), 3) for key in ("saved_seconds", "saved_usd")
        }
        self.log.info("%d jobs run, %d were for nobody and were stopped", looked_at, len(stopped))
        shown = [{k: v for k, v in each.items() if k != "pipeline"} for each in stopped[:10]]
        return {"looked_at": looked_at, "stopped": shown, "stopped_total": len(stopped), **saved}

    def _look(self, platform: str, settings: Settings, ask: Any) -> tuple[list[TaggedJob], list[_Suspect]]:
        tags = {"deployment": settings.deployment}
        jobs = patiently(connect(platform, settings).find, tags, live=True)
        return jobs, orphans_among(jobs, lambda dag, runs: ask(dag_id=dag, run_ids=list(runs)))

    def _stop(self, platform: str, suspect: _Suspect, settings: Settings) -> dict[str, Any]:
        job, state = suspect.job, suspect.state_of_task
        left = max(0.0, job.max_runtime_s - job.status.seconds)
        self.log.warning(
            "Stopping job %s: its task %s of %s %s is %s; up to %.0f s of it are saved",
            *(job.ref.name, job.tags["task"], job.tags["dag"], job.tags["run"], state, left),
        )
        patiently(connect(platform, settings).stop, job.ref, f"no task waits for it: its task is {state}")
        metrics.orphan_stopped(job.tags["pipeline"], platform)
        found = Orphan(
            job=job.ref.name,
            dag=job.tags["dag"],
            run=job.tags["run"],
            task=job.tags["task"],
            state_of_task=state,
            saved_seconds=round(left, 1),
            saved_usd=round(left / 3600 * job.usd_per_hour, 4),
        )
        return {"pipeline": job.tags["pipeline"], **asdict(found)}

    def _tell(self, stopped: Sequence[Mapping[str, Any]], settings: Settings) -> None:
        """One message a pipeline."""
        if not stopped:
            return
        for pipeline in load_all(settings)[0]:
            mine = [
                Orphan(**{k: v for k, v in each.items() if k != "pipeline"})
                for each in stopped
                if each["pipeline"] == pipeline.pipeline
            ]
            if mine:
                cause = "orphans:" + ",".join(sorted(each.job for each in mine))
                tell(pipeline, orphans_reaped(pipeline.pipeline, mine, settings.ui_url), cause=cause)


def in_use(settings: Settings) -> list[str]:
    """This machine, then the platforms that pipelines run on."""
    return list(dict.fromkeys(["local", *(pipeline.platform for pipeline in load_all(settings)[0])]))


def orphans_among(
    jobs: Sequence[TaggedJob],
    states_of: Callable[[str, Sequence[str]], Mapping[str, Mapping[str, Any]]],
) -> list[_Suspect]:
    """The live jobs that no task instance waits for, with the state of the one that started each.

    :param states_of: for a DAG and its runs, the state of every task instance by run and by
        ``task_id``, or ``task_id_<map index>``; None is a task instance that was cleared.
    """
    runs: dict[str, set[str]] = {}
    for job in jobs:
        runs.setdefault(job.tags["dag"], set()).add(job.tags["run"])
    states = {dag: states_of(dag, sorted(of_dag)) for dag, of_dag in runs.items()}
    newest: dict[tuple[str, ...], float] = {}
    for job in jobs:
        newest[_owner(job)] = max(newest.get(_owner(job), 0.0), job.status.submitted_at)
    suspects = []
    for job in jobs:
        if job.status.state is JobState.STOPPING:
            continue
        state = _state(job, states)
        if state not in WAITING:
            suspects.append(_Suspect(job, state))
        elif job.status.submitted_at < newest[_owner(job)]:
            suspects.append(_Suspect(job, f"{state}, for a newer job"))
    return suspects


def _owner(job: TaggedJob) -> tuple[str, ...]:
    """The task instance that started a job; a mapped one by its partition too, for its index may move."""
    return tuple(job.tags[key] for key in ("dag", "run", "task", "map_index", "partition"))


def _state(job: TaggedJob, states: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    of_run = states[job.tags["dag"]].get(job.tags["run"], {})
    return named(of_run, key_of(job.tags["task"], int(job.tags["map_index"])))


def _still(before: Sequence[_Suspect], now: Sequence[_Suspect]) -> list[_Suspect]:
    names = {suspect.job.ref.name for suspect in before}
    return [suspect for suspect in now if suspect.job.ref.name in names]
