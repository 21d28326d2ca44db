"""A real stack that tests kill pieces of, and the runs of toy jobs that they watch meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import psutil
import pytest

from nightshift.embedded.processes import Service
from nightshift.embedded.stack import Stack
from tests.fakes.toy_jobs import starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nightshift.embedded.airflow_api import AirflowApi, Task
    from nightshift.platforms.base import JobRef, Platform

__all__ = [
    "STOP_WITHIN_S",
    "Chaos",
    "ChaosStack",
    "Start",
    "ToyRun",
    "ended_well",
    "kill_task",
    "kill_worker",
    "wait_for",
]

STOP_WITHIN_S = 20.0
"""A job is stopped this long after its task was ended, whoever ended it and wherever the task waited."""

INSIDE = Path(__file__).parent / "inside"

PACE = {
    # A worker says every second that it lives, and is taken for dead after 40 s (5 s and 300 s by default).
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
    # A scheduler or triggerer is taken for dead after some seconds, not after half a minute.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "8",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
    "AIRFLOW__CORE__PARALLELISM": "10",
    "AIRFLOW__NIGHTSHIFT__WARM_MODULES": "json",  # jobs are forked from warm workers; toys need no library
}
"""Only how fast Airflow notices that something died; what it does then is as it is."""


class ChaosStack(Stack):
    """The embedded stack at a faster pace, with moody platforms, and without MLflow."""

    @property
    def runs(self) -> Path:
        """The folders of the runs."""
        return self.home / "chaos"

    def variables(self) -> dict[str, str]:
        """The stack's own, and ours over them."""
        own = super().variables()
        path = os.pathsep.join([str(INSIDE), own["PYTHONPATH"]])
        return {**own, **PACE, "PYTHONPATH": path, "NIGHTSHIFT_CHAOS": str(self.runs)}

    def _mlflow(self) -> Service:
        return Service("mlflow", ("sleep", "infinity"), dict(os.environ), self.home, lambda: True)


class Start(Protocol):
    """Starts a run: :meth:`Chaos.start`."""

    def __call__(self, what: str, **plan: Any) -> ToyRun: ...


class Chaos:
    """The running stack: starts runs, kills components and brings them back."""

    def __init__(self, stack: ChaosStack, api: AirflowApi, platform: Platform) -> None:
        self.stack = stack
        self.api = api
        self.platform = platform
        self._runs = 0

    @contextmanager
    def runs(self) -> Iterator[Start]:
        """Gives :meth:`start`; at the end revives what is dead and ends the runs."""
        begun: list[ToyRun] = []

        def start(what: str, **plan: Any) -> ToyRun:
            begun.append(self.start(what, **plan))
            return begun[-1]

        try:
            yield start
        finally:
            self.revive("api-server", "scheduler", "triggerer")
            for run in begun:
                run.end()

    def start(self, what: str, *, dag_id: str = "chaos", force_new: bool = False, **plan: Any) -> ToyRun:
        """Start a run; see :meth:`ToyRun.plan` for what can be planned."""
        self._runs += 1
        words = re.sub(r"[^a-z0-9]+", "-", what.lower())
        run = ToyRun(self, f"{self._runs:02d}-{words}", dag_id)
        run.folder.mkdir(parents=True)
        run.plan(**plan)
        body = {"dag_run_id": run.run_id, "logical_date": None, "conf": {"force_new": force_new}}
        self.api.call("POST", f"dags/{dag_id}/dagRuns", json=body)
        return run

    def kill(self, component: str, *, with_children: bool = True) -> None:
        """SIGKILL, for a component and all that it started; of a scheduler that is its workers."""
        self.signal(component, signal.SIGKILL, with_children=with_children)
        wait_for(lambda: self.stack.services.find(component) is None, 10, f"{component} is dead")

    def idle_workers(self) -> list[int]:
        """The workers that wait for a task; one of them reads the queue, the others wait for their turn."""
        record = self.stack.services.find("scheduler")
        assert record is not None
        mine = (pid for pid in psutil.pids() if _session(pid) == record.pid)
        return [pid for pid in mine if "<idle>" in _title(pid)]

    def signal(self, component: str, number: int, *, with_children: bool = True) -> None:
        """Send a signal to a component and what it started."""
        record = self.stack.services.find(component)
        assert record is not None, f"{component} does not run"
        session = [pid for pid in psutil.pids() if _session(pid) == record.pid]
        for pid in session if with_children else [record.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextmanager
    def second_triggerer(self) -> Iterator[None]:
        """One more, for the length of the block."""
        services = self.stack.services
        services.start(replace(self.stack._component("triggerer", time.time()), name="second-triggerer"))
        try:
            yield
        finally:
            services.stop(["second-triggerer"])

    def revive(self, *components: str) -> None:
        """Bring back what is dead and wait until it works."""
        self.stack.revive(*components)

    def pause(self, dag_id: str) -> None:
        """Let the scheduler start nothing of a DAG any more."""
        self.api.call("PATCH", f"dags/{dag_id}", json={"is_paused": True})

    @contextmanager
    def paused(self, dag_id: str) -> Iterator[None]:
        """A DAG that starts nothing for the length of the block."""
        self.pause(dag_id)
        try:
            yield
        finally:
            self.api.unpause(dag_id)

    @contextmanager
    def without(self, component: str, *, at_least_s: float = 0.0) -> Iterator[None]:
        """Killed for the length of the block."""
        self.kill(component)
        try:
            with _lasting(at_least_s):
                yield
        finally:
            self.revive(component)

    @contextmanager
    def frozen(self, component: str, at_least_s: float = 0.0) -> Iterator[None]:
        """Stopped in its tracks for the length of the block: it accepts connections and answers none."""
        self.signal(component, signal.SIGSTOP)
        try:
            with _lasting(at_least_s):
                yield
        finally:
            self.signal(component, signal.SIGCONT)


@dataclass
class ToyRun:
    """One run of a DAG with one task, whose jobs are toys."""

    chaos: Chaos
    run_id: str
    dag_id: str

    @property
    def folder(self) -> Path:
        """Its plan and what its processes leave."""
        return self.chaos.stack.runs / self.run_id

    def plan(
        self,
        *,
        deferred: bool = False,
        job: dict[str, Any] | None = None,
        spec: dict[str, Any] | None = None,
        halts: Sequence[str] = (),
        faults: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Say what the tries from now on do.

        :param deferred: wait in the triggerer, at once.
        :param job: the toy's document: ``seconds`` (or until :meth:`enough`), ``error``, ``ignore_term``.
        :param spec: further fields of the job's specification, e.g. ``max_runtime_s``.
        :param halts: points at which the first process that comes by halts.
        :param faults: faults of the platform's API.
        """
        document = {
            "deferred": deferred,
            "job": job or {},
            "spec": {"max_runtime_s": 300, **(spec or {})},
            "halts": list(halts),
            "faults": list(faults),
        }
        scratch = self.folder / ".plan.json"
        scratch.write_text(json.dumps(document))
        scratch.replace(self.folder / "plan.json")

    # What it is at.

    @property
    def starts(self) -> int:
        """How many jobs really started."""
        return len(starts(self.folder / "starts"))

    @property
    def jobs(self) -> list[JobRef]:
        """Its jobs, oldest first."""
        found = self.chaos.platform.find({"run": self.run_id})
        return [job.ref for job in sorted(found, key=lambda job: job.status.submitted_at)]

    @property
    def ends(self) -> list[str]:
        """The states of its jobs, oldest first."""
        return [str(status.state) for job in self.jobs if (status := self.chaos.platform.status(job))]

    @property
    def task(self) -> Task:
        """The task instance as it is now."""
        api = self.chaos.api
        (found,) = api.tasks(api.run(self.dag_id, self.run_id))
        return found

    @property
    def returned(self) -> Any:
        """What the task returned."""
        return self.chaos.api.returned(self.task)

    def log(self, lines: int = 40) -> str:
        """The end of the log of the last try."""
        return "\n".join(self.chaos.api.log(self.task, lines))

    def wait(self, question: Callable[[], Any], what: str, patience_s: float = 60.0) -> Any:
        """The first true answer; else the test fails with what is known of the run."""
        return wait_for(question, patience_s, what, self.story)

    def until(self, *states: str, tries: int = 1, patience_s: float = 90.0) -> Task:
        """The task when it is in one of ``states``, at the earliest at that try."""

        def reached() -> Task | None:
            task = self.task
            return task if task.state in states and task.try_number >= tries else None

        found: Task = self.wait(reached, f"the task is {' or '.join(states)}, try {tries}", patience_s)
        return found

    def over(self) -> None:
        """Return when its DAG run is over; a task that is cleared just before that is never tried again."""
        api = self.chaos.api
        self.wait(lambda: api.run(self.dag_id, self.run_id).is_over, "its run is over")

    def running(self) -> None:
        """Return when its newest job runs."""
        self.wait(lambda: self.ends[-1:] == ["running"] and self.starts >= len(self.jobs), "its job runs")

    def waiting(self, *, deferred: bool) -> None:
        """Return when the task waits for its running job, in the worker or with a trigger that runs."""
        self.running()
        task = self.until("deferred" if deferred else "running")
        if deferred:
            self.wait(lambda: self.triggerers(task.try_number), "its trigger runs")

    def triggerers(self, tries: int = 1) -> int:
        """In how many triggerers the trigger of that try has run so far."""
        logs = self.chaos.stack.home / "airflow" / "logs" / f"dag_id={self.dag_id}" / f"run_id={self.run_id}"
        return len(list(logs.glob(f"task_id=job/attempt={tries}.log.trigger.*")))

    def stopped(self, *, within_s: float = STOP_WITHIN_S) -> None:
        """Return when its first job is stopped; say how long that took (pytest -rP shows it)."""
        begun = time.monotonic()
        self.wait(lambda: self.ends[:1] == ["stopped"], "its job is stopped", within_s)
        sys.stdout.write(f"{self.run_id}: stopped after {time.monotonic() - begun:.1f} s\n")

    def at(self, point: str) -> int:
        """The process that halts at ``point``, when it is there."""
        marker = self.folder / f"at-{point}"
        self.wait(marker.exists, f"a process halts at {point}")
        return int(marker.read_text())

    def go(self, point: str) -> None:
        """Let go what halts there."""
        (self.folder / f"go-{point}").touch()

    def enough(self) -> None:
        """Let its jobs end well now."""
        (self.folder / "enough").touch()

    def worker(self) -> int:
        """The task's newest process."""
        file = self.folder / "workers"
        self.wait(file.exists, "the task has started")
        return int(file.read_text().split()[-1])

    # What somebody does to it.

    def mark(self, state: str) -> None:
        """Mark the task, as a user does in the UI."""
        self.chaos.api.call("PATCH", f"{self._path}/taskInstances/job", json={"new_state": state})

    def mark_run(self, state: str) -> None:
        """Mark the whole run."""
        self.chaos.api.call("PATCH", self._path, json={"state": state})

    def clear(self) -> None:
        """Clear the task, whatever it is at."""
        body = {"dry_run": False, "only_failed": False, "task_ids": ["job"], "dag_run_id": self.run_id}
        self.chaos.api.call("POST", f"dags/{self.dag_id}/clearTaskInstances", json=body)

    def end(self) -> None:
        """Leave nothing running after a test, however it ended."""
        with suppress(Exception):
            self.mark_run("failed")
        for job in self.jobs:
            self.chaos.platform.stop(job)

    @property
    def _path(self) -> str:
        return f"dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}"

    def story(self) -> str:
        """What is known of it, for a test that fails."""
        try:
            task = f"task {self.task.state}, try {self.task.try_number}; log:\n{self.log()}"
        except Exception as error:  # noqa: BLE001 - the api-server may be what the test has killed
            task = f"task unknown: {error}"
        return f"{self.dag_id} {self.run_id}: {self.starts} started, ends {self.ends}; {task}"


def ended_well(run: ToyRun, *, tries: int | None = None) -> None:
    """One job really ran, it ended well, and so did the task, at that try, and its run."""
    task = run.until("success", "failed")
    assert task.state == "success", run.story()
    assert (run.starts, run.ends) == (1, ["succeeded"]), run.story()
    assert tries in (None, task.try_number), run.story()
    run.over()


def kill_task(pid: int) -> None:
    """SIGKILL to the process that runs the task; its supervisor lives."""
    os.kill(pid, signal.SIGKILL)


def kill_worker(pid: int) -> None:
    """SIGKILL to the process that runs the task and first to its supervisor, as when the host goes."""
    supervisor = psutil.Process(pid).ppid()
    os.kill(supervisor, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)


def wait_for(
    question: Callable[[], Any], patience_s: float, what: str, story: Callable[[], str] = str
) -> Any:
    """The first true answer; fails the test when none comes in time, with ``story``."""
    deadline = time.monotonic() + patience_s
    while not (answer := question()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {patience_s:.0f} s: {what}. {story()}")
        time.sleep(0.1)
    return answer


@contextmanager
def _lasting(seconds: float) -> Iterator[None]:
    """A block that takes at least so long."""
    begun = time.monotonic()
    yield
    time.sleep(max(0.0, seconds - (time.monotonic() - begun)))


def _title(pid: int) -> str:
    with suppress(psutil.Error):
        return " ".join(psutil.Process(pid).cmdline())
    return ""


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
