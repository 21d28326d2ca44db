"""Jobs on this machine: process groups that outlive the worker which started them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from nightshift.errors import CapacityUnavailable
from nightshift.platforms.base import (
    Failure,
    JobRef,
    JobResult,
    JobSpec,
    JobState,
    JobStatus,
    LogChunk,
    Platform,
    TaggedJob,
)
from nightshift.platforms.job_folder import JobFolder, boot_id
from nightshift.platforms.local_runner import INPUT_OPTIONS, detach_and_run

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WARM", "LocalPlatform"]

WARM = "NIGHTSHIFT_WARM_WORKER"
"""Set in workers that imported the heavy libraries before they forked; jobs then fork from them."""

_PACKAGES = Path(__file__).resolve().parents[2]
_START_PATIENCE_S = 30.0
_SILENCE_S = 60.0
_LOG_CHUNK = 1 << 20
_TAIL = 64 << 10


class LocalPlatform(Platform):
    """Jobs as process groups below ``home``, one folder each.

    :param home: where the job folders are; every worker and the triggerer of a machine share it.
    :param jobs_dir: the folder that holds the package ``jobs``.
    :param grace_s: seconds between asking a job to end and ending it.
    :param usd_per_hour: what an hour of a job is worth here, for estimates and budgets.
    :param gpus: GPUs of this machine; counted when it is None.
    """

    name = "local"

    def __init__(
        self,
        home: Path,
        jobs_dir: Path,
        *,
        grace_s: float = 10.0,
        usd_per_hour: float = 0.0,
        gpus: int | None = None,
    ) -> None:
        self.home = home
        self.jobs_dir = jobs_dir
        self.grace_s = grace_s
        self.usd_per_hour = usd_per_hour
        self.gpus = len(list(Path("/dev").glob("nvidia[0-9]*"))) if gpus is None else gpus

    def submit(self, spec: JobSpec, name: str) -> JobRef:
        """Start the job, or mean the one of that name: the folder is the lock."""
        folder = self._folder(name)
        if spec.machine.gpus > self.gpus and not folder.path.exists():
            raise CapacityUnavailable(
                f"job {name} asks for {spec.machine.gpus} GPUs, this machine has {self.gpus}",
                fix="add a candidate with fewer GPUs to the resources in the pipeline file",
            )
        folder.create(self._document(spec))
        if folder.status() is None and not folder.is_alive():
            self._start(folder, {i.channel: dict(i.options) for i in spec.inputs if i.options})
        return JobRef(self.name, name)

    def _document(self, spec: JobSpec) -> dict[str, Any]:
        return {
            **spec.to_dict(),
            "fingerprint": spec.fingerprint,
            "machine": asdict(spec.machine),
            "jobs_dir": str(self.jobs_dir),
            "grace_s": self.grace_s,
            "submitted_at": time.time(),
        }

    def _start(self, folder: JobFolder, options: dict[str, dict[str, str]]) -> None:
        if os.environ.get(WARM) == "1" and not self._needs_download(folder):
            detach_and_run(folder, options)
            return
        environment = {**os.environ, "PYTHONPATH": str(_PACKAGES), INPUT_OPTIONS: json.dumps(options)}
        with (folder.path / "runner.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "nightshift.platforms.local_runner", str(folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    @staticmethod
    def _needs_download(folder: JobFolder) -> bool:
        """Whether staging uses an object store client, whose threads do not survive a fork."""
        return any(not entry["uri"].startswith("file://") for entry in folder.spec()["inputs"])

    def status(self, ref: JobRef) -> JobStatus | None:
        """The runner's word; a job whose runner is gone without a last word is lost."""
        return self._status(self._folder(ref.name))

    def _status(self, folder: JobFolder) -> JobStatus | None:
        spec = folder.spec()
        if not spec:  # never submitted, or somebody removed the folder
            return None
        submitted = spec["submitted_at"]
        status, alive = self._last_word(folder)
        if status is None:
            return self._pending(folder, submitted, alive)
        state = JobState(status["state"])
        if not state.is_terminal and not alive:
            self._sweep(status)
            reason = "its runner died, or the host restarted"
            seconds = round(time.time() - status["started_at"], 3)
            lost = {"state": "failed", "failure": "lost", "reason": reason, "seconds": seconds}
            with suppress(FileNotFoundError):
                folder.write_status(**{**status, **lost})
            return JobStatus(JobState.FAILED, Failure.LOST, reason, seconds, submitted)
        seconds = status.get("seconds") or time.time() - status["started_at"]
        if state is JobState.RUNNING and folder.stop_request.exists():
            state = JobState.STOPPING
        failure = Failure(status["failure"]) if status.get("failure") else None
        reason = status.get("reason", "")
        if not state.is_terminal and folder.silence_s() > _SILENCE_S:
            reason = f"no heartbeat for {folder.silence_s():.0f} s"
        return JobStatus(state, failure, reason, seconds, submitted)

    @staticmethod
    def _last_word(folder: JobFolder) -> tuple[dict[str, Any] | None, bool]:
        """The runner's word and whether it lives, asked once: a runner says its last word, then it dies."""
        status = folder.status()
        alive = folder.is_alive()
        if status is not None and not alive:
            status = folder.status() or status
        return status, alive

    @staticmethod
    def _pending(folder: JobFolder, submitted: float, alive: bool) -> JobStatus:
        if time.time() - submitted > _START_PATIENCE_S and not alive:
            reason = "it was written down, but never started"
            return JobStatus(JobState.FAILED, Failure.LOST, reason, submitted_at=submitted)
        return JobStatus(JobState.PENDING, submitted_at=submitted)

    @staticmethod
    def _sweep(status: Mapping[str, Any]) -> None:
        """End what a lost job left running: members of its group that are of its session too."""
        if status["boot"] != boot_id():
            return
        group, session = status.get("group"), status["session"]
        for entry in Path("/proc").glob("[0-9]*"):
            pid = int(entry.name)
            try:
                if os.getpgid(pid) == group and os.getsid(pid) == session:
                    os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def stop(self, ref: JobRef, reason: str = "asked to stop") -> None:
        """Leave a request and wake the runner, which ends the whole group."""
        folder = self._folder(ref.name)
        status = self.status(ref)
        if status is None or status.state.is_terminal:
            return
        if status.state is not JobState.STOPPING:
            folder.stop_request.write_text(reason)
        runner = (folder.status() or {}).get("runner")
        if runner and folder.is_alive():
            os.kill(runner, signal.SIGTERM)

    def logs(self, ref: JobRef, position: int = 0) -> LogChunk:
        """Whole lines from byte ``position`` on, at most a megabyte; half a line waits until it is whole."""
        log = self._folder(ref.name).log
        if not log.exists():
            return LogChunk((), position)
        with log.open("rb") as file:
            file.seek(position)
            data = file.read(_LOG_CHUNK)
        end = data.rfind(b"\n") + 1
        whole = data[:end] if end or len(data) < _LOG_CHUNK else data
        return LogChunk(tuple(whole.decode(errors="replace").splitlines()), position + len(whole))

    def last_lines(self, ref: JobRef, count: int) -> tuple[str, ...]:
        """The last lines of the log, without reading all of it."""
        log = self._folder(ref.name).log
        return self.logs(ref, max(0, log.stat().st_size - _TAIL)).lines[-count:] if log.exists() else ()

    def result(self, ref: JobRef) -> JobResult:
        """The output folder, the seconds and what they are worth."""
        folder = self._folder(ref.name)
        seconds = float((folder.status() or {}).get("seconds", 0.0))
        cost = seconds / 3600 * self.usd_per_hour
        return JobResult(folder.output.as_uri(), seconds=seconds, billable_seconds=seconds, cost_usd=cost)

    def fetch(self, uri: str) -> Path:
        """The folder itself."""
        return Path(unquote(urlsplit(uri).path))

    def submitted(self, ref: JobRef) -> JobSpec | None:
        """What the folder says; None where there is none, or it is of a version that did not say it all."""
        document = self._folder(ref.name).spec()
        return JobSpec.from_dict(document) if "code_sha256" in document else None

    def find(self, tags: Mapping[str, str], *, live: bool = False) -> list[TaggedJob]:
        """Jobs whose tags contain all of ``tags``."""
        if not self.home.exists():
            return []
        folders = (JobFolder(p) for p in sorted(self.home.iterdir()) if not p.name.startswith("."))
        found = (self._tagged(folder) for folder in folders)
        return [
            job
            for job in found
            if job is not None
            and tags.items() <= job.tags.items()
            and not (live and job.status.state.is_terminal)
        ]

    def _tagged(self, folder: JobFolder) -> TaggedJob | None:
        spec, status = folder.spec(), self._status(folder)
        if not spec or status is None:
            return None
        ref = JobRef(self.name, folder.name)
        return TaggedJob(ref, spec["tags"], status, spec["max_runtime_s"], self.usd_per_hour)

    def console_url(self, ref: JobRef) -> str | None:
        """The job's log file."""
        return self._folder(ref.name).log.as_uri()

    def _folder(self, name: str) -> JobFolder:
        return JobFolder(self.home / name)
