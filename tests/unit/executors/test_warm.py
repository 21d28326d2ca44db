"""Imports before the fork: what is shared, what may be missing, and that the libraries work in a child."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing import SimpleQueue

import pytest
from airflow.executors.local_executor import LocalExecutor

from nightshift.executors.locks import KernelLock
from nightshift.executors.warm import MODULES, WarmLocalExecutor, warm_up
from tests.contract.platform_contract import is_alive, wait_for

IN_A_CHILD = """
import json, os, sys, tempfile, time
from nightshift.executors.warm import warm_up

warmth = warm_up()
pid = os.fork()
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
begun = time.monotonic()
import deltalake, duckdb, numpy, obstore, pyarrow, torch
import great_expectations, mlflow.sklearn, nightshift.validation.gx
imports = time.monotonic() - begun
from sklearn.ensemble import HistGradientBoostingClassifier
folder = tempfile.mkdtemp()
numbers = pyarrow.table({"a": list(range(1000))})
deltalake.write_deltalake(folder, numbers)
values = numpy.random.default_rng(1).random((600, 600))
model = HistGradientBoostingClassifier(max_iter=5).fit(values, values[:, 0] > 0.5)
print(json.dumps({
    "imports": imports,
    "missing": warmth.missing,
    "rows": deltalake.DeltaTable(folder).to_pyarrow_table().num_rows,
    "objects": sum(len(chunk) for chunk in obstore.list(obstore.store.LocalStore(folder))),
    "sum": duckdb.sql("select sum(a) from numbers").fetchone()[0],
    "blas": bool(numpy.isfinite(values @ values).all()),
    "torch": list((torch.ones(400, 400) @ torch.ones(400, 400)).shape),
    "trees": len(model.predict(values)),
}), flush=True)
os._exit(0)
"""


def test_everything_is_imported_before_the_fork_and_works_in_the_child():
    command = [sys.executable, "-c", IN_A_CHILD]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen.pop("imports") < 1.0
    assert seen.pop("objects") >= 2
    expected = {"missing": {}, "rows": 1000, "sum": 499500, "blas": True, "torch": [400, 400], "trees": 600}
    assert seen == expected


def test_a_module_that_is_missing_is_told_and_does_not_stop_the_others():
    warmth = warm_up(["json", "no_such_module_of_ours", "csv"])
    assert warmth.imported == ("json", "csv")
    assert list(warmth.missing) == ["no_such_module_of_ours"]
    assert "No module named" in warmth.missing["no_such_module_of_ours"]


@pytest.mark.parametrize("configured", ["", "json, csv"], ids=["default", "configured"])
def test_the_list_of_modules_comes_from_the_configuration(configured, monkeypatch):
    from nightshift.executors.warm import _configured_modules

    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__WARM_MODULES", configured)
    assert list(_configured_modules()) == (["json", "csv"] if configured else list(MODULES))


def test_the_executor_is_a_local_one_that_airflow_finds_by_its_path():
    from airflow.executors.executor_loader import ExecutorLoader
    from airflow.executors.executor_utils import ExecutorName

    name = ExecutorName(module_path="nightshift.executors.warm.WarmLocalExecutor", alias=None, team_name=None)
    found, _ = ExecutorLoader.import_executor_cls(name)
    assert found is WarmLocalExecutor
    assert found.is_local


LIFELINE = """
import os, sys, time
from nightshift.executors.warm import _DieTogether
os.register_at_fork(after_in_child=_DieTogether(os.getpid()))
def born():
    print(os.getpid(), flush=True)
if os.fork() == 0:  # a worker
    born()
    if os.fork() == 0:  # a task
        born()
        if os.fork() == 0:  # its job
            os.setsid()
            born()
        time.sleep(60)
    time.sleep(60)
time.sleep(60)
"""


def test_a_worker_and_its_task_die_with_their_scheduler_and_the_job_lives_on() -> None:
    with subprocess.Popen([sys.executable, "-c", LIFELINE], stdout=subprocess.PIPE, text=True) as scheduler:
        assert scheduler.stdout is not None
        worker, task, job = (int(scheduler.stdout.readline()) for _ in range(3))
        assert all(is_alive(pid) for pid in (worker, task, job))
        scheduler.kill()
        wait_for(lambda: not is_alive(worker) and not is_alive(task))
        assert is_alive(job)
        os.kill(job, signal.SIGKILL)


def test_what_a_killed_worker_held_is_free_again() -> None:
    lock, taken, done = KernelLock(), SimpleQueue(), SimpleQueue()
    fork = multiprocessing.get_context("fork")

    def hold() -> None:
        with lock:
            taken.put(os.getpid())
            time.sleep(60)

    def follow() -> None:
        with lock:
            done.put("its turn")

    holder = fork.Process(target=hold)
    holder.start()
    assert taken.get() == holder.pid
    assert not lock.acquire(block=False)
    follower = fork.Process(target=follow)
    follower.start()
    holder.kill()
    wait_for(lambda: not done.empty())
    follower.join()
    holder.join()


def test_workers_share_only_locks_that_die_with_their_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WarmLocalExecutor, "_spawn_worker", lambda self: None)
    executor = WarmLocalExecutor(parallelism=2)
    LocalExecutor.start(executor)
    assert isinstance(executor.activity_queue._rlock, KernelLock)
    assert isinstance(executor.result_queue._wlock, KernelLock)
