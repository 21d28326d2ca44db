"""What every platform must do, as tests; a platform's own test class only supplies the fixtures."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.errors import JobFailed, JobStopped, JobTimedOut
from nightshift.platforms.base import Failure, JobInput, JobRef, JobSpec, JobState, Machine, error_of
from tests.fakes.toy_jobs import starts

if TYPE_CHECKING:
    from collections.abc import Callable

    from nightshift.platforms.base import JobStatus, Platform

__all__ = ["PlatformContract", "is_alive", "wait_for"]


def wait_for(question: Callable[[], Any], patience_s: float = 20.0) -> Any:
    """The first true answer; fails the test when none comes in time."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        answer = question()
        if answer:
            return answer
        time.sleep(0.02)
    pytest.fail(f"no true answer within {patience_s} s")


class PlatformContract:
    """Subclass it and supply ``platform``, a fixture that runs the toy jobs."""

    @pytest.fixture
    def counter(self, tmp_path: Path) -> Path:
        """The file in which every job that really starts leaves a line."""
        return tmp_path / "starts"

    @pytest.fixture
    def spec(self, counter: Path) -> JobSpec:
        """A job that succeeds at once."""
        return JobSpec("train", {"counter": str(counter)}, (), code_sha256="0", tags={"pipeline": "toy"})

    @staticmethod
    def but(spec: JobSpec, **changes: Any) -> JobSpec:
        """The same job with another document."""
        return replace(spec, job={**spec.job, **changes})

    @staticmethod
    def end(platform: Platform, ref: JobRef) -> JobStatus:
        """The status of a job that has ended."""

        def ended() -> JobStatus | None:
            status = platform.status(ref)
            return status if status and status.state.is_terminal else None

        found: JobStatus = wait_for(ended)
        return found

    def test_a_job_runs_and_leaves_its_outputs(self, platform: Platform, spec: JobSpec) -> None:
        ref = platform.submit(spec, "toy-1")
        assert self.end(platform, ref).state is JobState.SUCCEEDED
        result = platform.result(ref)
        assert (platform.fetch(result.output_uri) / "metrics.json").exists()
        assert result.seconds > 0
        assert platform.logs(ref).lines[0] == "started train"

    def test_the_same_name_is_one_job(self, platform: Platform, spec: JobSpec, counter: Path) -> None:
        slow = self.but(spec, seconds=0.5)
        refs = {platform.submit(slow, "toy-same") for _ in range(3)}
        self.end(platform, refs.copy().pop())
        assert len(refs) == 1
        platform.submit(slow, "toy-same")
        assert len(starts(counter)) == 1

    def test_eight_submitters_at_once_start_one_job(
        self, platform: Platform, spec: JobSpec, counter: Path
    ) -> None:
        slow = self.but(spec, seconds=0.5)
        gate = threading.Barrier(8)

        def submit() -> None:
            gate.wait()
            platform.submit(slow, "toy-race")

        threads = [threading.Thread(target=submit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.end(platform, JobRef(platform.name, "toy-race")).state is JobState.SUCCEEDED
        assert len(starts(counter)) == 1

    def test_a_job_nobody_submitted_has_no_status(self, platform: Platform) -> None:
        assert platform.status(JobRef(platform.name, "toy-none")) is None

    def test_a_failure_is_told_in_the_jobs_own_words(self, platform: Platform, spec: JobSpec) -> None:
        ref = platform.submit(self.but(spec, error="no such column"), "toy-bad")
        status = self.end(platform, ref)
        assert status.failure is Failure.USER_CODE
        error = error_of(ref, status)
        assert isinstance(error, JobFailed)
        assert "ValueError: no such column" in str(error)

    def test_a_stopped_job_ends_within_seconds_and_is_no_success(
        self, platform: Platform, spec: JobSpec, counter: Path
    ) -> None:
        ref = platform.submit(self.but(spec, seconds=60), "toy-stop")
        wait_for(lambda: starts(counter))
        platform.stop(ref)
        status = self.end(platform, ref)
        assert isinstance(error_of(ref, status), JobStopped)

    def test_stopping_a_finished_job_changes_nothing(self, platform: Platform, spec: JobSpec) -> None:
        ref = platform.submit(spec, "toy-late-stop")
        self.end(platform, ref)
        platform.stop(ref)
        assert self.end(platform, ref).state is JobState.SUCCEEDED

    def test_a_job_past_its_longest_runtime_is_ended(self, platform: Platform, spec: JobSpec) -> None:
        ref = platform.submit(replace(self.but(spec, seconds=60), max_runtime_s=1), "toy-long")
        status = self.end(platform, ref)
        assert isinstance(error_of(ref, status), JobTimedOut)

    def test_the_log_is_read_on_from_where_it_was_left(self, platform: Platform, spec: JobSpec) -> None:
        ref = platform.submit(spec, "toy-log")
        self.end(platform, ref)
        first = platform.logs(ref)
        assert first.lines == ("started train", "done")
        assert platform.logs(ref, first.position).lines == ()

    def test_inputs_are_in_their_channels(self, platform: Platform, spec: JobSpec, tmp_path: Path) -> None:
        source = tmp_path / "source" / "partition=1"
        source.mkdir(parents=True)
        (source / "a.txt").write_text("a")
        (source / "b.txt").write_text("b")
        uri = (tmp_path / "source").as_uri()
        inputs = (
            JobInput("clean", uri, "1", files=("partition=1/a.txt",)),
            JobInput("models/champion", uri, "2"),
        )
        ref = platform.submit(replace(self.but(spec, echo_inputs=True), inputs=inputs), "toy-in")
        self.end(platform, ref)
        seen = (platform.fetch(platform.result(ref).output_uri) / "inputs.json").read_text()
        assert '"clean/partition=1/a.txt": "a"' in seen
        assert '"clean/partition=1/b.txt"' not in seen
        assert '"models/champion/partition=1/b.txt": "b"' in seen

    def test_jobs_are_found_by_their_tags(self, platform: Platform, spec: JobSpec) -> None:
        ref = platform.submit(spec, "toy-tagged")
        self.end(platform, ref)
        (found,) = platform.find({"pipeline": "toy"})
        assert (found.ref, found.tags, found.status.state) == (ref, spec.tags, JobState.SUCCEEDED)
        assert platform.find({"pipeline": "toy"}, live=True) == []
        assert platform.find({"pipeline": "other"}) == []

    def test_a_job_that_runs_is_found_among_the_live_ones(
        self, platform: Platform, spec: JobSpec, counter: Path
    ) -> None:
        platform.submit(spec, "toy-ended")
        ref = platform.submit(self.but(spec, seconds=60), "toy-live")
        wait_for(lambda: len(starts(counter)) == 2)
        self.end(platform, JobRef(platform.name, "toy-ended"))
        (found,) = platform.find({"pipeline": "toy"}, live=True)
        assert (found.ref, found.tags, found.status.state) == (ref, spec.tags, JobState.RUNNING)
        assert platform.find({"pipeline": "other"}, live=True) == []
        platform.stop(ref)
        self.end(platform, ref)

    def test_what_a_job_was_told_is_remembered_without_its_secrets(
        self, platform: Platform, spec: JobSpec, tmp_path: Path
    ) -> None:
        (tmp_path / "a.parquet").write_text("rows")
        channel = JobInput("clean", tmp_path.as_uri(), "ab" * 32, ("a.parquet",), {"secret": "hunter2"})
        told = replace(spec, inputs=(channel,), candidates=(Machine(cpus=1),))
        ref = platform.submit(told, "toy-told")
        self.end(platform, ref)
        assert platform.submitted(ref) == replace(told, inputs=(replace(channel, options={}),))
        assert platform.submitted(JobRef(platform.name, "toy-none")) is None

    def test_a_job_remembers_when_it_was_submitted(self, platform: Platform, spec: JobSpec) -> None:
        before = time.time()
        ref = platform.submit(self.but(spec, seconds=0.3), "toy-when")
        first = platform.status(ref)
        last = self.end(platform, ref)
        assert first is not None
        assert before - 1 <= first.submitted_at == last.submitted_at <= time.time()

    def test_who_stopped_a_job_is_told(self, platform: Platform, spec: JobSpec) -> None:
        ref = platform.submit(self.but(spec, seconds=60), "toy-why")
        platform.stop(ref, "the reaper found no task for it")
        assert "the reaper found no task for it" in self.end(platform, ref).reason

    def test_the_last_lines_are_the_end_of_the_log(self, platform: Platform, spec: JobSpec) -> None:
        ref = platform.submit(spec, "toy-tail")
        self.end(platform, ref)
        assert platform.last_lines(ref, 1) == ("done",)

    def test_no_setting_or_secret_of_ours_reaches_the_job(
        self, platform: Platform, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SECRET", "hunter2")
        ref = platform.submit(spec, "toy-env")
        self.end(platform, ref)
        folder = platform.fetch(platform.result(ref).output_uri)
        assert "hunter2" not in (folder / "environment.json").read_text()


def is_alive(pid: int) -> bool:
    """Whether a process of that id runs and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
