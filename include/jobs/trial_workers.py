"""Worker processes that fit trials for a parent that decides: forked, so the data is shared, not copied."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing as mp
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from jobs.contract import BadInput
from jobs.models import Pruned

__all__ = ["Crew", "Died", "Done", "Event", "Failed", "Fit", "GivenUp", "Point", "Worker"]

Report = Callable[[int, float], bool]
Fit = Callable[[Mapping[str, Any], Report], float]
"""Fits one trial: (values, report) -> the metric. Raises :class:`Pruned` when ``report`` said True."""

_PR_SET_PDEATHSIG = 1
_END_S = 5


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the learning curve; the worker waits for :meth:`Worker.answer`."""

    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Done:
    """The trial ended with a value."""

    value: float
    seconds: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The trial was pruned."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The fit raised. ``bad_input``: no other values would help."""

    reason: str
    trace: str
    bad_input: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Died:
    """The worker process is gone, with how it went."""

    how: str


Event = Point | Done | GivenUp | Failed | Died


class Worker:
    """The parent's end of one worker."""

    def __init__(self, fit: Fit, threads: int) -> None:
        context = mp.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, fit, threads, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe

    @property
    def pipe(self) -> Connection:
        """What to wait on."""
        return self._pipe

    def assign(self, values: Mapping[str, Any]) -> None:
        """Start a trial."""
        with contextlib.suppress(OSError):  # a worker that is gone is told as Died
            self._pipe.send(dict(values))

    def answer(self, give_up: bool) -> None:
        """Reply to a :class:`Point`."""
        with contextlib.suppress(OSError):
            self._pipe.send(give_up)

    def event(self) -> Event:
        """What the worker says; blocks until it says something."""
        try:
            return self._pipe.recv()  # type: ignore[no-any-return] # only _work writes to this pipe
        except (EOFError, OSError):
            self._process.join(_END_S)
            return Died(_how(self._process.exitcode))

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join(_END_S)
        self._pipe.close()


class Crew:
    """As many workers as run at a time; ended, all of them, when the ``with`` ends."""

    def __init__(self, fit: Fit, count: int) -> None:
        self._fit = fit
        self._threads = max(1, len(os.sched_getaffinity(0)) // count)
        self.workers = [Worker(fit, self._threads) for _ in range(count)]

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.end()

    def events(self, busy: Mapping[Worker, object]) -> Iterator[tuple[Worker, Event]]:
        """What the busy workers say, as it comes; waits until at least one says something."""
        by_pipe = {worker.pipe: worker for worker in busy}
        for pipe in wait(list(by_pipe)):
            worker = by_pipe[pipe]  # type: ignore[index] # only connections were waited for
            yield worker, worker.event()

    def replace(self, worker: Worker) -> Worker:
        """A fresh worker in the place of one that died."""
        worker.end()
        fresh = Worker(self._fit, self._threads)
        self.workers[self.workers.index(worker)] = fresh
        return fresh


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"its process ended with exit code {code}"


# -- in the worker process ------------------------------------------------------------------------


def _work(pipe: Connection, fit: Fit, threads: int, parent: int) -> None:
    _settle(threads, parent)
    while True:
        try:
            values = pipe.recv()
        except EOFError:
            return
        pipe.send(_one(pipe, fit, values))


def _one(pipe: Connection, fit: Fit, values: Mapping[str, Any]) -> Event:
    started = time.perf_counter()

    def report(step: int, value: float) -> bool:
        pipe.send(Point(int(step), float(value)))
        return bool(pipe.recv())

    try:
        return Done(float(fit(values, report)), time.perf_counter() - started)
    except Pruned:
        return GivenUp(time.perf_counter() - started)
    except Exception as error:  # noqa: BLE001 - one trial's failure is the search's to judge
        reason = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - started
        return Failed(reason, traceback.format_exc(), isinstance(error, BadInput), seconds)


def _settle(threads: int, parent: int) -> None:
    """Forget the parent's signal handlers, die with it, be silent, and keep to our share of processors."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    # Standard output is the job's log; fits that talk at the same time would spoil its metric lines.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
