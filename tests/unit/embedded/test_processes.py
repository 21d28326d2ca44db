"""Real processes: groups that end, a child that will not, pids that belong to somebody else."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from nightshift.embedded.processes import MARK, Service, ServiceFailed, Services, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUIET = "import signal, pathlib; pathlib.Path('ready').touch(); signal.pause()"
WITH_A_CHILD = """
import pathlib, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session={apart})
pathlib.Path("child").write_text(str(child.pid))
pathlib.Path("ready").touch()
signal.pause()
"""
STUBBORN = """
import pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("ready").touch()
while True:
    signal.pause()
"""


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    found = Services(tmp_path / "home")
    yield found
    found.stop(grace_s=0.2)


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str], Service]:
    def make(code: str, name: str = "worker", timeout_s: float = 20.0) -> Service:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        command = (sys.executable, "-c", code)
        return Service(name, command, dict(os.environ), folder, (folder / "ready").exists, timeout_s)

    return make


def test_a_started_service_is_found_and_a_second_start_leaves_it_alone(services, python):
    first = services.start(python(QUIET))
    services.wait(python(QUIET), poll_s=0.02)
    assert services.find("worker") == first
    assert services.start(python(QUIET)) == first


def test_stop_ends_the_whole_group_and_forgets_it(services, python, tmp_path):
    service = python(WITH_A_CHILD.format(apart=False))
    leader = services.start(service).pid
    services.wait(service, poll_s=0.02)
    child = int((tmp_path / "worker" / "child").read_text())
    assert services.stop(["worker"], grace_s=5.0) == 2
    assert not _runs(leader)
    assert not _runs(child)
    assert services.names() == []


def test_stop_of_everything_ends_a_job_that_left_for_a_session_of_its_own(services, python, tmp_path):
    service = python(WITH_A_CHILD.format(apart=True))
    services.start(service)
    services.wait(service, poll_s=0.02)
    child = int((tmp_path / "worker" / "child").read_text())
    services.stop(["worker"], grace_s=5.0)
    assert _runs(child), "ending one service leaves the stack's jobs alone"
    services.stop(grace_s=5.0)
    assert not _runs(child)


def test_a_group_is_ended_although_its_leader_is_gone(services, python, tmp_path):
    service = python(WITH_A_CHILD.format(apart=False))
    record = services.start(service)
    services.wait(service, poll_s=0.02)
    leader = psutil.Process(record.pid)
    leader.kill()
    leader.wait(5)
    child = int((tmp_path / "worker" / "child").read_text())
    assert services.find("worker") is None
    assert services.stop(["worker"]) == 1
    assert not _runs(child)


def test_what_ignores_sigterm_is_killed_after_the_grace(services, python):
    service = python(STUBBORN)
    pid = services.start(service).pid
    services.wait(service, poll_s=0.02)
    begun = time.monotonic()
    services.stop(grace_s=0.3)
    assert not _runs(pid)
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize("changed", [{"born": 1.0}, {"boot": "another"}], ids=["recycled", "rebooted"])
def test_a_pid_that_somebody_else_has_now_is_neither_found_nor_ended(services, python, changed):
    pid = services.start(python(QUIET)).pid
    file = services.run / "worker.pid"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    assert services.find("worker") is None
    assert services.stop(["worker"]) == 0
    assert _runs(pid)


def test_another_stack_on_this_machine_is_left_alone(services, python, tmp_path):
    other = Services(tmp_path / "other")
    pid = other.start(python(QUIET, "other")).pid
    assert services.stop() == 0
    assert _runs(pid)
    assert other.stop() == 1


def test_a_service_that_ends_before_it_is_ready_says_why(services, python):
    service = python("import sys; print('port 1 is taken'); sys.exit(3)")
    services.start(service)
    with pytest.raises(ServiceFailed, match=r"worker ended before it was ready(.|\n)*port 1 is taken"):
        services.wait(service, poll_s=0.02)


def test_a_service_that_never_gets_ready_fails_after_its_time(services, python):
    service = dataclasses.replace(python("import signal; signal.pause()"), timeout_s=0.3)
    services.start(service)
    with pytest.raises(ServiceFailed, match="was not ready within"):
        services.wait(service, poll_s=0.02)


def test_every_process_of_a_stack_carries_its_mark(services, python):
    service = python(QUIET)
    pid = services.start(service).pid
    services.wait(service, poll_s=0.02)
    assert psutil.Process(pid).environ()[MARK] == str(services.home)


def test_a_broken_pidfile_counts_as_none(services):
    services.run.mkdir(parents=True)
    (services.run / "worker.pid").write_text("{")
    assert services.find("worker") is None
    assert services.stop() == 0
    assert services.names() == []


def test_the_log_of_the_start_before_is_kept_once(services, python):
    for said in ("first", "second"):
        service = python(f"print({said!r}, flush=True); {QUIET}", said)
        service = dataclasses.replace(service, name="worker")
        services.start(service)
        services.wait(service, poll_s=0.02)
        services.stop()
    assert tail(services.log("worker"), 5) == ["second"]
    assert (services.logs / "worker.log.1").read_text() == "first\n"


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
