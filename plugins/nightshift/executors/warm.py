"""A LocalExecutor that imports the heavy libraries once, before its workers fork, not once per task.

Airflow's LocalExecutor forks its workers in ``start()``; every task is forked from a worker. What is
imported before that is shared copy-on-write by all of them: a task that would spend 10-20 s importing
Great Expectations, MLflow, scikit-learn and torch starts at once.

Only imports happen here. Some of these libraries start a helper thread when they are imported (OpenBLAS'
pool, jemalloc's background thread, polars' cleaner); each re-arms itself after a fork, and a test runs all
of them in a forked child. Nothing is *used* before the fork: a pool started by use (Arrow, OpenMP, rayon,
gRPC, an event loop) would be dead in the child, and waiting for it would never end.

Switch: ``NIGHTSHIFT_WARM=0`` starts the embedded stack with the plain LocalExecutor. Which modules:
``[nightshift] warm_modules``, comma-separated.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import logging
import os
import signal
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.executors.local_executor import LocalExecutor

from nightshift.executors import WARM_FILE
from nightshift.executors.locks import KernelLock
from nightshift.platforms.local import WARM

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MODULES", "WarmLocalExecutor", "Warmth", "warm_up"]

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1

MODULES = (
    "pandas",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "deltalake",
    "duckdb",
    "obstore",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.metrics",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "skops.io",
    "mlflow",
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "torch",
    "optuna",
    "ibis",
    "nightshift.validation.gx",  # great_expectations, with its log flood stopped
)


@dataclass(frozen=True, slots=True)
class Warmth:
    """What was imported, in how long, and what could not be (name and reason)."""

    seconds: float
    imported: tuple[str, ...]
    missing: dict[str, str]
    threads: int


def warm_up(modules: Sequence[str] = MODULES) -> Warmth:
    """Import ``modules``; one that cannot be imported is logged and left for the task that needs it."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    start = time.monotonic()
    missing: dict[str, str] = {}
    for name in modules:
        try:
            _import_quietly(name)
        except Exception as error:  # noqa: BLE001 - a broken library must not keep the scheduler from starting
            missing[name] = f"{type(error).__name__}: {error}"
            log.warning("%s is not warm, a task that needs it imports it itself: %s", name, missing[name])
    done = tuple(name for name in modules if name not in missing)
    return Warmth(round(time.monotonic() - start, 2), done, missing, _threads())


class WarmLocalExecutor(LocalExecutor):
    """Airflow's LocalExecutor whose workers, and so tasks, are born with the heavy imports done.

    A worker that is killed while it waits for work keeps no other from it. They die with their scheduler,
    at once. Otherwise the next scheduler would start their tasks anew, the
    old ones would be told to end, and they would stop the jobs that the new ones have just found.
    """

    def start(self) -> None:
        """Import, then fork the workers (Airflow freezes the garbage collector around the fork)."""
        os.register_at_fork(after_in_child=_DieTogether(os.getpid()))
        warmth = warm_up(_configured_modules())
        os.environ[WARM] = "1"  # the local platform may fork its jobs from a worker
        gc.collect()
        super().start()
        gc.freeze()  # the scheduler's own collections need not walk the libraries either
        log.info("Workers forked warm: %d modules in %.1f s", len(warmth.imported), warmth.seconds)
        if file := os.environ.get(WARM_FILE):
            Path(file).write_text(json.dumps(asdict(warmth)))

    def _spawn_workers_with_gc_freeze(self, spawn_number: int) -> None:
        """Before the first of them: locks that a killed worker does not keep."""
        for queue, name in ((self.activity_queue, "_rlock"), (self.result_queue, "_wlock")):
            if not isinstance(getattr(queue, name), KernelLock):
                setattr(queue, name, KernelLock())
        super()._spawn_workers_with_gc_freeze(spawn_number)  # type: ignore[no-untyped-call]


class _DieTogether:
    """Binds a worker's life to its scheduler's, and a task's to its worker's; not a job's to its task's.

    :param scheduler: process id.
    """

    def __init__(self, scheduler: int) -> None:
        self._parent: int | None = scheduler
        self._depth = 0

    def __call__(self) -> None:
        """In the child of every fork."""
        parent = os.getppid()
        if parent != self._parent:
            return
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os._exit(1)
        self._depth += 1
        self._parent = os.getpid() if self._depth == 1 else None  # a worker's children die with it too


def _import_quietly(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skops asks every module for every name: 1,160 lines from Airflow's
        importlib.import_module(name)


def _configured_modules() -> Sequence[str]:
    from airflow.configuration import conf

    listed = conf.get("nightshift", "warm_modules", fallback="")
    return [name.strip() for name in listed.split(",") if name.strip()] or MODULES


def _threads() -> int:
    """Threads of this process as the kernel counts them; 0 where it does not say."""
    tasks = Path("/proc/self/task")
    return sum(1 for _ in tasks.iterdir()) if tasks.is_dir() else 0
