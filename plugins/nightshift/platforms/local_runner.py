"""Runs one local job and keeps its status; a process of its own that outlives whoever started it.

Started as ``python -m nightshift.platforms.local_runner FOLDER``, or forked from a warm worker that has
the job's heavy libraries in memory already. The job is a process group below it: stopped as a whole,
ended by the kernel when the runner dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import runpy
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from nightshift.platforms.job_folder import JobFolder, boot_id
from nightshift.platforms.staging import stage

__all__ = ["INPUT_OPTIONS", "detach_and_run", "main", "run"]

INPUT_OPTIONS = "NIGHTSHIFT_INPUT_OPTIONS"
"""Environment variable of the runner, never of the job, with sign-in options for its inputs."""

_WAKE = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "MPLCONFIGDIR",
    "NIGHTSHIFT_STACK",
)
_KEPT_PREFIXES = ("CUDA_", "NVIDIA_", "OMP_", "MKL_", "OPENBLAS_", "NCCL_")
_PR_SET_PDEATHSIG = 1
_BEAT_S = 1.0
_inherited: list[Any] = []
"""Streams of the process that was forked: kept, because their end would close descriptors 0, 1 and 2."""


def run(folder: JobFolder, options: dict[str, dict[str, str]], *, warm: bool = False) -> int:
    """Run the job of ``folder`` to its end, unless another runner has or had it.

    :param options: sign-in options by input channel.
    :param warm: run the job in a fork of this process instead of a new interpreter.
    :returns: the job's exit code; 0 when there was nothing to do.
    """
    with folder.locked() as lock:
        if lock is None or folder.status() is not None:
            return 0
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAKE)
        started = {
            "runner": os.getpid(),
            "session": os.getsid(0),
            "boot": boot_id(),
            "started_at": time.time(),
        }
        _name_process(f"nightshift runner of {folder.name}")
        _beat_every_second(folder)
        folder.write_status(state="running", **started)
        try:
            return _run_job(folder, options, started, warm=warm)
        except Exception as error:
            _end(folder, started, "failed", failure="user_code", reason=f"{type(error).__name__}: {error}")
            raise


def _name_process(title: str) -> None:
    """What ``ps`` shows: a fork would go on under its worker's name."""
    with contextlib.suppress(ImportError):
        from setproctitle import setproctitle

        setproctitle(title)


def _beat_every_second(folder: JobFolder) -> None:
    """By a timer signal, which a fork and a new program do not inherit, and no thread that they would."""
    signal.signal(signal.SIGALRM, lambda *_: folder.beat())
    signal.setitimer(signal.ITIMER_REAL, _BEAT_S, _BEAT_S)
    folder.beat()


def _run_job(
    folder: JobFolder, options: dict[str, dict[str, str]], started: dict[str, Any], *, warm: bool
) -> int:
    spec = folder.spec()
    if folder.stop_request.exists():
        _end(folder, started, "stopped", reason=folder.stop_request.read_text())
        return 0
    for made in (folder.input, folder.output, folder.checkpoints):
        made.mkdir(parents=True, exist_ok=True)
    stage(spec["inputs"], folder.input, options)
    (folder.path / "job.json").write_text(json.dumps(spec["job"], indent=1), encoding="utf-8")
    child = os.fork()
    if child == 0:
        _become_job(folder, spec, warm=warm)
    folder.write_status(state="running", group=child, **started)
    code, why = _wait(folder, child, spec["max_runtime_s"], spec["grace_s"])
    _kill_group(child, signal.SIGKILL)  # what the job started and left behind
    _judge(folder, started, code, why)
    shutil.rmtree(folder.input, ignore_errors=True)
    return code


def _wait(folder: JobFolder, child: int, max_runtime_s: float, grace_s: float) -> tuple[int, str]:
    """Wait for the job; ask it to end at its deadline or on request, then end it."""
    deadline, grace_ends, why = time.monotonic() + max_runtime_s, float("inf"), ""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), why
        now = time.monotonic()
        if not why and (folder.stop_request.exists() or now >= deadline):
            why = "stop" if folder.stop_request.exists() else "timeout"
            grace_ends = now + grace_s
            _kill_group(child, signal.SIGTERM)
        if now >= grace_ends:
            _kill_group(child, signal.SIGKILL)
        signal.sigtimedwait(_WAKE, max(0.01, min(1.0, deadline - now, grace_ends - now)))


def _judge(folder: JobFolder, started: dict[str, Any], code: int, why: str) -> None:
    if code == 0:
        _end(folder, started, "succeeded")
    elif why == "stop":
        _end(folder, started, "stopped", reason=folder.stop_request.read_text())
    elif why == "timeout":
        _end(folder, started, "failed", failure="timed_out", reason="it passed its max_runtime_s")
    elif code == -signal.SIGKILL:
        reason = "the job was killed (signal 9), perhaps for memory"
        _end(folder, started, "failed", failure="lost", reason=reason)
    else:
        _end(folder, started, "failed", failure="user_code", reason=_reason(folder, code))


def _end(folder: JobFolder, started: dict[str, Any], state: str, **more: Any) -> None:
    seconds = round(time.time() - started["started_at"], 3)
    folder.write_status(state=state, seconds=seconds, ended_at=time.time(), **started, **more)


def _reason(folder: JobFolder, code: int) -> str:
    """The job's own words for its failure: its error file, else the last line of its log."""
    try:
        error = json.loads((folder.output / "error.json").read_text())
        return f"{error['type']}: {error['message']} (exit code {code})"
    except (OSError, ValueError, KeyError):
        text = folder.log.read_text(errors="replace") if folder.log.exists() else ""
        lines = text.strip().splitlines()
        return f"exit code {code}: {lines[-1] if lines else 'the log is empty'}"


def _kill_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _become_job(folder: JobFolder, spec: dict[str, Any], *, warm: bool) -> NoReturn:
    """In the child: take the job's place, as a new interpreter or as it is."""
    code = 1
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _redirect(folder.log)
        _name_process(f"nightshift job {folder.name}")
        environment = _environment(folder, spec)
        os.chdir(spec["jobs_dir"])
        command = _command(folder, spec)
        if warm and spec["machine"]["gpus"] <= 1:
            code = _run_module(command[2:], environment, spec["jobs_dir"])
        else:
            os.execve(sys.executable, [sys.executable, *command], environment)
    except BaseException:  # noqa: BLE001 - a fork must never return into its parent's code
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _command(folder: JobFolder, spec: dict[str, Any]) -> list[str]:
    arguments = [
        spec["kind"], "--spec", str(folder.path / "job.json"), "--input", str(folder.input),
        "--output", str(folder.output), "--checkpoints", str(folder.checkpoints),
    ]  # fmt: skip
    gpus = spec["machine"]["gpus"]
    if gpus > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
        return [*launcher, "-m", "jobs", *arguments]
    return ["-m", "jobs", *arguments]


def _environment(folder: JobFolder, spec: dict[str, Any]) -> dict[str, str]:
    """The job's environment: what a program needs, none of Airflow's settings and secrets."""
    kept = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_KEPT_PREFIXES)}
    if spec["machine"]["cpus"]:
        kept.setdefault("OMP_NUM_THREADS", str(spec["machine"]["cpus"]))
    return {**kept, "PYTHONPATH": spec["jobs_dir"], "PYTHONUNBUFFERED": "1", "NIGHTSHIFT_JOB": folder.name}


def _run_module(arguments: list[str], environment: dict[str, str], jobs_dir: str) -> int:
    """Run ``python -m jobs ARGUMENTS`` in this process."""
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.split(".")[0] == "jobs"]:
        del sys.modules[name]  # the job runs the code that its fingerprint names, not what was imported once
    sys.path.insert(0, jobs_dir)
    sys.argv = ["jobs", *arguments]
    try:
        runpy.run_module("jobs", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _redirect(log: Path) -> None:
    """Standard output and error into ``log``, with nothing of the parent's streams left."""
    _inherited.extend((sys.stdin, sys.stdout, sys.stderr))
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(target, number)
    if target > 2:
        os.close(target)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


def detach_and_run(folder: JobFolder, options: dict[str, dict[str, str]]) -> None:
    """Fork a runner off this warm process: its own session, nothing of ours open, no child of ours."""
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            _forget_parent(folder)
            os._exit(run(folder, options, warm=True))
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a fork must never return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(1)


def _forget_parent(folder: JobFolder) -> None:
    """Drop what a fork inherits and a new program would not: files, signals, log handlers."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.closerange(3, 4096)
    _redirect(folder.path / "runner.log")
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(0)
    logging.root.handlers[:] = [logging.StreamHandler(sys.stderr)]


def main(arguments: list[str]) -> int:
    """Entry point: ``FOLDER``."""
    options = json.loads(os.environ.pop(INPUT_OPTIONS, "{}"))
    return run(JobFolder(Path(arguments[0])), options)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
