"""The one job operator: get or create by name, wait, judge, for every verb on every platform."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowTaskTimeout

from nightshift.errors import (
    CapacityUnavailable,
    JobError,
    JobFailed,
    JobStopped,
    JobTimedOut,
    NightshiftError,
    TaskInterrupted,
)
from nightshift.hooks.platform import connect
from nightshift.notifiers import metrics
from nightshift.notifiers.budget import check_budget
from nightshift.operators.base import PipelineOperator
from nightshift.platforms.base import Failure, JobRef, JobState, error_of, job_name
from nightshift.platforms.patience import TROUBLE, Pause, patiently
from nightshift.triggers.instances import GOES_ON, state_of
from nightshift.triggers.job import JobTrigger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from nightshift.platforms.base import JobResult, JobSpec, JobStatus, Platform

__all__ = ["JobOperator"]

_STORE_KEY = "nightshift_job"
_LAST_LINES = 15
_MOST_ATTEMPTS = 50
_HEARD_S = 2.0
_NO_MACHINE = "it got no machine within"
"""How the reason of a stop begins that makes the next try ask for the next machine."""
_SOON_S = 60.0
"""No job is late that waits for its machine no longer than this."""
_STOP_RACE_S = 300.0
"""A stop that was meant for the try before may reach the job that this try has adopted, for so long."""


def settling_s() -> float:
    """Seconds after a deferral in which a trigger must not fire.

    The scheduler hears of the deferral from the worker's supervisor, which may notice the end of its
    process a heartbeat late. Heard after the task was woken, it is taken for a lost task, which fails
    (Airflow 3.3.2: "state mismatch").
    """
    from airflow.sdk.configuration import conf

    return float(conf.getint("workers", "min_heartbeat_interval", fallback=5)) + _HEARD_S


def _named(manifests: Mapping[str, Any]) -> dict[str, Any]:
    """What names the rows that a job reads, by table: small enough to be handed on."""
    return {name: {key: one[key] for key in ("version", "rows", "sha256")} for name, one in manifests.items()}


class JobOperator(PipelineOperator):
    """Runs one job and returns what it left behind.

    A subclass says what the job is (:meth:`build_spec`) and what its outputs mean (:meth:`finish`). The
    name of the job is derived from DAG run, task and fingerprint, so a retry or a clear finds the job that
    an earlier try started: it waits for it, or adopts its result. A new job starts only when the spec has
    changed, the last one failed or was stopped, or the run asks for it (parameter ``force_new``: then every
    clear starts a new job, and a retry still finds the one of its last try).

    :param deferrable: wait in the triggerer, without a worker.
    :param defer_after_s: seconds that the worker waits first; a job that is over by then is not worth
        the way to the triggerer and back, which costs about two seconds.
    :param poll_s: seconds between two looks at the job; left out, what the platform finds right.
    """

    kind: str

    def __init__(
        self,
        *,
        deferrable: bool = True,
        defer_after_s: float = 10.0,
        poll_s: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.defer_after_s = defer_after_s
        self.poll_s = poll_s
        self.facts: dict[str, Any] = {}
        self._job: JobRef | None = None
        self._adopted_at = 0.0
        self._log_position = 0
        self._log_pause = Pause()
        self._ti: Any = None
        self._told_to_go = False
        self._leaves = False

    @abstractmethod
    def build_spec(self, context: Context) -> JobSpec:
        """What to run; may put into ``self.facts`` what :meth:`finish` needs to know of it."""

    @abstractmethod
    def finish(self, context: Context, ref: JobRef, result: JobResult) -> dict[str, Any]:
        """What the task returns, under 4 KB, from the outputs of a succeeded job."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Get or create the job and wait for its end.

        :raises JobError: of the class that the end of the job calls for.
        """
        self._ti = context["ti"]
        try:
            return self._execute(context)
        except AirflowTaskTimeout:
            self._stop("its task took longer than its execution_timeout")
            raise

    def _execute(self, context: Context) -> dict[str, Any]:
        spec = self._tagged_spec(context)
        platform = self.platform()
        self.facts["fingerprint"] = spec.fingerprint
        self.facts["inputs"] = _named(spec.job.get("manifests", {}))
        ref = self._get_or_create(context, platform, spec)
        if self._told_to_go:  # while it was submitted: the stop may have found no job yet
            self._stop_if_ended_by_somebody()
        # From the platform's own clock of the job, so that a retry does not start the time anew.
        status = patiently(platform.status, ref)
        submitted_at = status.submitted_at if status else time.time()
        start_by = submitted_at + max(spec.max_wait_s, _SOON_S)
        deadline = submitted_at + spec.max_wait_s + spec.max_runtime_s + platform.late_s
        patience = min(deadline, time.time() + self.defer_after_s) if self.deferrable else deadline
        over = self._wait(platform, ref, patience, start_by=start_by)
        if not over and time.time() < deadline and not self._is_late(platform, ref, start_by):
            trigger = JobTrigger(
                job=ref.to_dict(),
                facts=self.facts,
                deadline=deadline,
                start_by=start_by,
                poll_s=self._pause_s(platform),
                log_position=self._log_position,
                adopted_at=self._adopted_at,
                not_before=time.time() + settling_s(),
            )
            self.defer(trigger=trigger, method_name="execute_complete")
        return self._conclude(context, platform, ref, timed_out=not over)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on where the trigger stopped waiting."""
        ref = self._job = JobRef(**event["job"])
        self.facts = event["facts"]
        self._adopted_at = event["adopted_at"]
        self._log_position = event["log_position"]
        self._ti = context["ti"]
        return self._conclude(context, self.platform(), ref, timed_out=event["timed_out"])

    def on_kill(self) -> None:
        """Stop the job when somebody has ended the task; not when only its worker has to go.

        A worker is told to go by a deployment, a lost connection or a scheduler that starts the task anew:
        then the job is left to the next try. In a thread, because this interrupts the task anywhere, also
        while it talks to Airflow.
        """
        self._told_to_go = True
        threading.Thread(target=self._stop_if_ended_by_somebody, daemon=True).start()

    def _stop_if_ended_by_somebody(self) -> None:
        state = state_of(self._ti)
        if state is None or state in GOES_ON:
            self.log.warning("The worker has to go, the task is %s: its job goes on", state or "not known")
            self._leaves = True
        else:
            self.log.info("The task is %s: stopping its job", state)
            self._stop(f"its task was ended: {state}")

    def _stop(self, reason: str) -> None:
        if self._job is not None:
            patiently(self.platform().stop, self._job, reason)

    def platform(self) -> Platform:
        """The pipeline's platform, signed in to."""
        return connect(self.pipeline.platform, self.settings)

    def _tagged_spec(self, context: Context) -> JobSpec:
        """The job with what the reaper, and people in a cloud's console, know it by."""
        spec, ti = self.build_spec(context), context["ti"]
        tags = {
            "deployment": self.settings.deployment,
            "pipeline": self.pipeline.pipeline,
            "partition": self.partition(context),
            "dag": ti.dag_id,
            "run": ti.run_id,
            "task": ti.task_id,
            "map_index": str(-1 if ti.map_index is None else ti.map_index),
            "fingerprint": spec.fingerprint,
        }
        return replace(spec, tags={**tags, **spec.tags})

    def _get_or_create(self, context: Context, platform: Platform, spec: JobSpec) -> JobRef:
        store: Any = context["task_state_store"]
        mine = {"partition": self.partition(context), "fingerprint": spec.fingerprint}
        ref, status, refused = self._find(context, platform, spec)
        self._stop_outdated(platform, store.get(_STORE_KEY), {"job": ref.to_dict(), **mine})
        if self._told_to_go:
            raise TaskInterrupted("the task was told to end before its job was there")
        self._job = ref
        store.set(_STORE_KEY, {"job": ref.to_dict(), **mine})
        if status is None:
            where = platform.console_url(ref) or ref.platform
            self.log.info("Submitting job %s to %s: %s", ref.name, ref.platform, where)
        else:
            self._adopted_at = time.time()
            self.log.info("Job %s was submitted before and is %s: not a second one", ref.name, status.state)
        found = self._submit(platform, spec, ref.name, refused)
        metrics.job_found(self.pipeline.pipeline, found, self.kind, submitted=status is None)
        return found

    def _submit(self, platform: Platform, spec: JobSpec, name: str, refused: int) -> JobRef:
        """Ask for one machine after the other.

        :raises CapacityUnavailable: when none of them can be had.
        """
        for number, machine in enumerate(spec.candidates):
            if number < refused % len(spec.candidates):
                continue
            try:
                return patiently(platform.submit, replace(spec, candidates=(machine,)), name)
            except CapacityUnavailable as error:
                if number == len(spec.candidates) - 1:
                    raise
                self.log.warning("%s: asking for the next machine", error)
        raise AssertionError("a job has at least one candidate")

    def _find(
        self, context: Context, platform: Platform, spec: JobSpec
    ) -> tuple[JobRef, JobStatus | None, int]:
        """The name to use, the first that no job failed or was stopped under; how many found no machine."""
        ti = context["ti"]
        identity = [self.settings.deployment, ti.dag_id, ti.run_id, ti.task_id, spec.fingerprint]
        identity += filter(None, [platform.what_runs(spec.kind)])
        if context["params"].get("force_new"):
            identity.append(
                f"clear {ti.max_tries - (self.retries or 0)}"
            )  # Airflow raises max_tries at each clear
        slug = f"{self.pipeline.pipeline}-{spec.kind}-{self.partition(context)}"
        refused, limit = 0, platform.name_limit(spec.kind)
        for attempt in range(1, _MOST_ATTEMPTS):
            ref = JobRef(platform.name, job_name(slug, identity, attempt, limit))
            status = self._settled(platform, ref)
            if status is None or status.state not in (JobState.FAILED, JobState.STOPPED):
                return ref, status, refused
            self.log.info("Job %s %s: %s", ref.name, status.state, status.reason or "no reason given")
            self._record_cost(context, platform, ref, status)  # whoever ended it may not have waited for it
            refused += status.failure is Failure.CAPACITY or status.reason.startswith(_NO_MACHINE)
        raise JobFailed(f"{_MOST_ATTEMPTS} jobs {ref.name} failed", fix="look at their logs, then run again")

    def _settled(self, platform: Platform, ref: JobRef) -> JobStatus | None:
        """The job's status, once a stop that is under way has come to its end."""
        status = patiently(platform.status, ref)
        if status is not None and status.state is JobState.STOPPING:
            self.log.info("Job %s is being stopped: waiting for its end", ref.name)
            self._wait(platform, ref, time.time() + platform.end_s)
            self._log_position = 0  # of the job that comes after it
            status = patiently(platform.status, ref)
        return status

    def _stop_outdated(self, platform: Platform, before: Any, mine: dict[str, Any]) -> None:
        """Stop the job of an earlier try that is not ours: the specification has changed, or a new one was
        asked for."""
        if not before or before["job"] == mine["job"]:
            return
        if before["partition"] != mine["partition"]:
            return  # the store knows a mapped task by its position, which may have moved to another partition
        old = JobRef(**before["job"])
        status = patiently(platform.status, old)
        if status is not None and not status.state.is_terminal:
            changed = before["fingerprint"] != mine["fingerprint"]
            reason = "its specification has changed" if changed else "a new job was asked for"
            self.log.info("Stopping job %s of an earlier try: %s", old.name, reason)
            patiently(platform.stop, old, reason)

    def _wait(self, platform: Platform, ref: JobRef, until: float, *, start_by: float = float("inf")) -> bool:
        """Wait in the worker, log as we go; whether the job is over."""
        while True:
            status = patiently(platform.status, ref)
            self._stream(platform, ref)
            if status is None or status.state.is_terminal:
                return True
            if self._leaves:
                raise TaskInterrupted(f"the worker has to go, job {ref.name} goes on")
            if time.time() >= until or (status.state is JobState.PENDING and time.time() >= start_by):
                return False
            time.sleep(min(self._pause_s(platform), max(0.0, until - time.time())))

    def _stream(self, platform: Platform, ref: JobRef) -> None:
        """New lines of the job's log; where they cannot be read, the job's end is still waited for."""
        if not self._log_pause.is_over:
            return
        try:
            chunk = platform.logs(ref, self._log_position)
        except (NightshiftError, *TROUBLE) as error:
            self.log.warning("The log of job %s cannot be read now: %s", ref.name, error)
            self._log_pause.failed()
            return
        self._log_pause.worked()
        self._log_position = chunk.position
        for line in chunk.lines:
            self.log.info("[job] %s", line)

    @staticmethod
    def _is_late(platform: Platform, ref: JobRef, start_by: float) -> bool:
        """Whether the job should have had its machine by now."""
        status = patiently(platform.status, ref)
        return status is not None and status.state is JobState.PENDING and time.time() >= start_by

    def _pause_s(self, platform: Platform) -> float:
        return platform.poll_s if self.poll_s is None else self.poll_s

    def _conclude(
        self, context: Context, platform: Platform, ref: JobRef, *, timed_out: bool
    ) -> dict[str, Any]:
        """The one place where a job's end becomes the task's: its result, or its error."""
        status = patiently(platform.status, ref)
        late = timed_out and status is not None and status.state is JobState.PENDING
        if timed_out:
            patiently(platform.stop, ref, f"{_NO_MACHINE} its max_wait_s" if late else "past its deadline")
            self._wait(platform, ref, time.time() + platform.end_s)
            status = patiently(platform.status, ref)
        if status is not None and not (status.state.is_terminal or timed_out):
            return self.execute(context)  # the trigger could not go on: wait here and defer anew
        self._record_cost(context, platform, ref, status)
        error = error_of(ref, status, timed_out=timed_out)
        if late and isinstance(error, JobTimedOut | JobStopped):
            error = CapacityUnavailable(
                f"job {ref.name} on {ref.platform}: {_NO_MACHINE} its max_wait_s",
                fix="add candidates to the resources in the pipeline file, or raise max_wait_s",
            )
        self._repeat_last_lines(platform, ref)
        if error is None:
            return self._returned(context, ref, platform.result(ref))
        if self._is_worth_another(context, platform, error):
            self.log.warning("%s: starting the next job", error)
            self._log_position = 0
            return self.execute(context)
        raise error

    def _record_cost(
        self, context: Context, platform: Platform, ref: JobRef, status: JobStatus | None
    ) -> None:
        """A job that failed or was stopped has cost its money too."""
        from nightshift.lake.spend import JobCost, record

        if status is None or not status.state.is_terminal:
            return
        result, partition = patiently(platform.result, ref), self.partition(context)
        self.log.info(
            "Job %s %s after %.1f s, %.1f s billed, %.4f USD",
            *(ref.name, status.state, result.seconds, result.billable_seconds, result.cost_usd),
        )
        cost = JobCost(
            *(ref.name, self.kind, partition, result.seconds, result.billable_seconds, result.cost_usd),
            ended_at=time.time(),
            state=str(status.state),
        )
        is_news = True
        try:
            is_news = record(self.lake(), cost)
        except NightshiftError as error:
            self.log.warning("The cost of job %s was not recorded: %s", ref.name, error)
        else:
            check_budget(self.pipeline, self.lake())
        if is_news:
            metrics.job_ended(self.pipeline.pipeline, ref, self.kind, status, result)

    def _returned(self, context: Context, ref: JobRef, result: JobResult) -> dict[str, Any]:
        return {
            "job": ref.name,
            **self.facts,
            "output_uri": result.output_uri,
            "seconds": round(result.seconds, 3),
            "billable_seconds": round(result.billable_seconds, 3),
            "cost_usd": round(result.cost_usd, 6),
            **self.finish(context, ref, result),
        }

    def _is_worth_another(self, context: Context, platform: Platform, error: JobError) -> bool:
        """Whether this try goes on with a new job: there is another machine to ask for, or the stop was
        meant for the try before, whose job this one had adopted."""
        if self._told_to_go:
            return False
        if isinstance(error, CapacityUnavailable):
            spec = self.build_spec(context)
            return self._find(context, platform, spec)[2] % len(spec.candidates) != 0
        return isinstance(error, JobStopped) and time.time() - self._adopted_at < _STOP_RACE_S

    def _repeat_last_lines(self, platform: Platform, ref: JobRef) -> None:
        """The trigger's log can be lost; the worker's is the one people look at."""
        try:
            lines = platform.last_lines(ref, _LAST_LINES)
        except (NightshiftError, *TROUBLE) as error:
            self.log.warning("The last lines of job %s cannot be read: %s", ref.name, error)
            return
        self.log.info("Last lines of job %s:\n%s", ref.name, "\n".join(lines))
