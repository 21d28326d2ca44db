"""The local platform keeps the contract of platforms, and survives what only a machine can do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nightshift.errors import JobLost
from nightshift.platforms.base import JobRef, JobSpec, JobState, error_of
from nightshift.platforms.job_folder import JobFolder
from nightshift.platforms.local import WARM, LocalPlatform
from tests.contract.platform_contract import PlatformContract, is_alive, wait_for
from tests.fakes.toy_jobs import make_toy_jobs, starts

if TYPE_CHECKING:
    from pathlib import Path
from types import ModuleType


class TestLocalPlatform(PlatformContract):
    @pytest.fixture
    def platform(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalPlatform:
        monkeypatch.delenv(WARM, raising=False)
        return LocalPlatform(tmp_path / "jobs-home", make_toy_jobs(tmp_path / "toy"), grace_s=0.5)

    def test_a_job_whose_runner_was_killed_is_lost_and_leaves_no_process(
        self, platform: LocalPlatform, spec: JobSpec, counter: Path
    ) -> None:
        ref = platform.submit(self.but(spec, seconds=60, child=True), "toy-lost")
        folder = JobFolder(platform.home / ref.name)
        child = int(wait_for(lambda: _text(folder.output / "child.pid")))
        os.kill((folder.status() or {})["runner"], signal.SIGKILL)
        wait_for(lambda: not is_alive(starts(counter)[0]))
        status = platform.status(ref)
        assert status is not None
        assert isinstance(error_of(ref, status), JobLost)
        wait_for(lambda: not is_alive(child))

    def test_a_stubborn_job_and_its_children_are_ended(
        self, platform: LocalPlatform, spec: JobSpec, counter: Path
    ) -> None:
        stubborn = self.but(spec, seconds=60, child=True, ignore_term=True)
        ref = platform.submit(stubborn, "toy-stubborn")
        folder = JobFolder(platform.home / ref.name)
        child = int(wait_for(lambda: _text(folder.output / "child.pid")))
        platform.stop(ref)
        assert self.end(platform, ref).state is JobState.STOPPED
        assert not is_alive(starts(counter)[0])
        wait_for(lambda: not is_alive(child))

    def test_a_job_that_ends_while_it_is_looked_at_is_not_lost(
        self, platform: LocalPlatform, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ref = platform.submit(self.but(spec, seconds=60), "toy-just-now")
        folder = JobFolder(platform.home / ref.name)
        running = wait_for(folder.status)
        platform.stop(ref)
        self.end(platform, ref)
        folder.write_status(**{**running, "state": "running"})
        answers = [True, False]

        def looks(self: JobFolder) -> bool:
            alive = answers.pop(0)
            if alive:  # the runner says its last word right after this look, and dies
                folder.write_status(**{**running, "state": "succeeded", "seconds": 1.0})
            return alive

        monkeypatch.setattr(JobFolder, "is_alive", looks)
        status = platform.status(ref)
        assert status is not None
        assert status.failure is None
        assert (folder.status() or {})["state"] == "succeeded"

    def test_a_job_outlives_the_process_that_submitted_it(
        self, platform: LocalPlatform, spec: JobSpec, counter: Path
    ) -> None:
        program = (
            "import sys, json, pathlib\n"
            "from nightshift.platforms.local import LocalPlatform\n"
            "from nightshift.platforms.base import JobSpec\n"
            "home, jobs, job = sys.argv[1:]\n"
            "spec = JobSpec('train', json.loads(job), (), code_sha256='0')\n"
            "LocalPlatform(pathlib.Path(home), pathlib.Path(jobs)).submit(spec, 'toy-orphan')\n"
            "import os, signal; os.killpg(os.getpgid(0), signal.SIGKILL)\n"
        )
        job = f'{{"counter": "{counter}", "seconds": 0.5}}'
        arguments = [sys.executable, "-c", program, str(platform.home), str(platform.jobs_dir), job]
        died = subprocess.run(arguments, start_new_session=True, check=False)
        assert died.returncode == -signal.SIGKILL
        ref = JobRef(platform.name, "toy-orphan")
        assert self.end(platform, ref).state is JobState.SUCCEEDED
        assert len(starts(counter)) == 1

    def test_a_job_written_down_but_never_started_is_started_by_the_next_submit(
        self, platform: LocalPlatform, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(LocalPlatform, "_start", lambda *_: None)  # the submitter dies in between
        ref = platform.submit(spec, "toy-half")
        assert (status := platform.status(ref))
        assert status.state is JobState.PENDING
        monkeypatch.undo()
        platform.submit(spec, "toy-half")
        assert self.end(platform, ref).state is JobState.SUCCEEDED


@pytest.mark.forks
class TestLocalPlatformInWarmWorkers(PlatformContract):
    """The same contract where jobs are forks of a worker that has the heavy libraries in memory."""

    @pytest.fixture
    def platform(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalPlatform:
        monkeypatch.setenv(WARM, "1")
        return LocalPlatform(tmp_path / "jobs-home", make_toy_jobs(tmp_path / "toy"), grace_s=0.5)

    def test_the_job_runs_the_code_on_disk_not_what_the_worker_had_imported(
        self, platform: LocalPlatform, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("jobs", "jobs.__main__"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        ref = platform.submit(spec, "toy-fresh")
        assert self.end(platform, ref).state is JobState.SUCCEEDED

    def test_a_worker_that_owns_its_standard_streams_loses_no_word_of_the_job(
        self, platform: LocalPlatform, spec: JobSpec, counter: Path
    ) -> None:
        program = (
            "import sys, os, json, pathlib\n"
            "sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w')\n"  # as Airflow's task runner does
            "from nightshift.platforms.local import LocalPlatform\n"
            "from nightshift.platforms.base import JobSpec\n"
            "home, jobs, job = sys.argv[1:]\n"
            "spec = JobSpec('train', json.loads(job), (), code_sha256='0')\n"
            "LocalPlatform(pathlib.Path(home), pathlib.Path(jobs)).submit(spec, 'toy-owner')\n"
        )
        arguments = [str(platform.home), str(platform.jobs_dir), json.dumps(dict(spec.job))]
        subprocess.run([sys.executable, "-c", program, *arguments], check=True)
        ref = JobRef(platform.name, "toy-owner")
        assert self.end(platform, ref).state is JobState.SUCCEEDED
        assert platform.logs(ref).lines == ("started train", "done")


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
