"""The one job operator: get or create by name, wait, judge, for every verb on every platform."""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from nightshift.errors import JobFailed
from nightshift.hooks.platform import connect
from nightshift.operators.base import PipelineOperator
from nightshift.platforms.base import JobRef, JobState, error_of, job_name
from nightshift.triggers.job import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from nightshift.platforms.base import JobResult, JobSpec, JobStatus, Platform

__all__ = ["JobOperator", "local_output"]

_STORE_KEY = "nightshift_job"
_LAST_LINES = 15
_MOST_ATTEMPTS = 50
_DEADLINE_SLACK_S = 600.0


def local_output(uri: str) -> Path:
    """The folder behind a ``file://`` output."""
    return Path(unquote(urlsplit(uri).path))


class JobOperator(PipelineOperator):
    """Runs one job and returns what it left behind.

    A subclass says what the job is (:meth:`build_spec`) and what its outputs mean (:meth:`finish`). The
    name of the job is derived from DAG run, task and fingerprint, so a retry or a clear finds the job that
    an earlier try started: it waits for it, or adopts its result. A new job starts only when the spec has
    changed, or the last one failed or was stopped.

    :param deferrable: wait in the triggerer, without a worker.
    :param defer_after_s: seconds that the worker waits first; a job that is over by then is not worth
        the way to the triggerer and back, which costs about two seconds.
    :param poll_s: seconds between two looks at the job.
    """

    def __init__(
        self, *, deferrable: bool = True, defer_after_s: float = 10.0, poll_s: float = 0.25, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.defer_after_s = defer_after_s
        self.poll_s = poll_s
        self.facts: dict[str, str | int] = {}
        self._job: JobRef | None = None

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
        spec = self.build_spec(context)
        platform = self.platform()
        self.facts["fingerprint"] = spec.fingerprint
        ref = self._get_or_create(context, platform, spec)
        deadline = time.time() + spec.max_runtime_s + _DEADLINE_SLACK_S
        patience = min(deadline, time.time() + self.defer_after_s) if self.deferrable else deadline
        over, log_position = self._wait(platform, ref, patience)
        if not over and time.time() < deadline:
            trigger = JobTrigger(ref.to_dict(), self.facts, deadline, self.poll_s, log_position)
            self.defer(trigger=trigger, method_name="execute_complete")
        return self._conclude(context, platform, ref, timed_out=not over)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Go on where the trigger stopped waiting."""
        ref = self._job = JobRef(**event["job"])
        self.facts = event["facts"]
        return self._conclude(context, self.platform(), ref, timed_out=event["timed_out"])

    def on_kill(self) -> None:
        """Stop the job: the task was ended while a worker waited for it."""
        if self._job is not None:
            self.log.info("Task was ended: stopping job %s", self._job.name)
            self.platform().stop(self._job)

    def platform(self) -> Platform:
        """The pipeline's platform, signed in to."""
        return connect(self.pipeline.platform, self.settings)

    def _get_or_create(self, context: Context, platform: Platform, spec: JobSpec) -> JobRef:
        store: Any = context["task_state_store"]
        self._stop_outdated(platform, store.get(_STORE_KEY), spec)
        ref, status = self._find(context, platform, spec)
        self._job = ref
        store.set(_STORE_KEY, {"job": ref.to_dict(), "fingerprint": spec.fingerprint})
        if status is None:
            where = platform.console_url(ref) or ref.platform
            self.log.info("Submitting job %s to %s: %s", ref.name, ref.platform, where)
        else:
            self.log.info("Job %s was submitted before and is %s: not a second one", ref.name, status.state)
        return platform.submit(spec, ref.name)

    def _find(self, context: Context, platform: Platform, spec: JobSpec) -> tuple[JobRef, JobStatus | None]:
        """The name to use: the first that no job failed or was stopped under."""
        ti = context["ti"]
        identity = (ti.dag_id, ti.run_id, ti.task_id, spec.fingerprint)
        slug = f"{self.pipeline.pipeline}-{spec.kind}-{self.partition(context)}"
        for attempt in range(1, _MOST_ATTEMPTS):
            ref = JobRef(platform.name, job_name(slug, identity, attempt))
            status = platform.status(ref)
            if status is None or status.state not in (JobState.FAILED, JobState.STOPPED):
                return ref, status
        raise JobFailed(f"{_MOST_ATTEMPTS} jobs {ref.name} failed", fix="look at their logs, then run again")

    def _stop_outdated(self, platform: Platform, before: Any, spec: JobSpec) -> None:
        """Stop the job of an earlier try whose specification is not ours any more."""
        if not before or before["fingerprint"] == spec.fingerprint:
            return
        old = JobRef(**before["job"])
        status = platform.status(old)
        if status is not None and not status.state.is_terminal:
            self.log.info("The specification has changed: stopping job %s", old.name)
            platform.stop(old)

    def _wait(self, platform: Platform, ref: JobRef, until: float) -> tuple[bool, int]:
        """Wait in the worker, log as we go; whether the job is over, and where its log was read to."""
        position = 0
        while True:
            status = platform.status(ref)
            chunk = platform.logs(ref, position)
            position = chunk.position
            for line in chunk.lines:
                self.log.info("[job] %s", line)
            if status is None or status.state.is_terminal:
                return True, position
            if time.time() >= until:
                return False, position
            time.sleep(self.poll_s)

    def _conclude(
        self, context: Context, platform: Platform, ref: JobRef, *, timed_out: bool
    ) -> dict[str, Any]:
        """The one place where a job's end becomes the task's: its result, or its error."""
        if timed_out:
            platform.stop(ref)
        status = platform.status(ref)
        if status is None:
            raise JobFailed(
                f"job {ref.name} is gone from {ref.platform}", fix="clear the task to run it again"
            )
        error = error_of(ref, status, timed_out=timed_out)
        self._repeat_last_lines(platform, ref)
        if error is not None:
            raise error
        result = platform.result(ref)
        return {
            "job": ref.name,
            **self.facts,
            "output_uri": result.output_uri,
            "seconds": round(result.seconds, 3),
            **self.finish(context, ref, result),
        }

    def _repeat_last_lines(self, platform: Platform, ref: JobRef) -> None:
        """The trigger's log can be lost; the worker's is the one people look at."""
        lines = platform.logs(ref).lines[-_LAST_LINES:]
        self.log.info("Last lines of job %s:\n%s", ref.name, "\n".join(lines))
