"""``python -m jobs.sagemaker``: run a job inside a SageMaker training container, ours or a framework's.

Reads what SageMaker left below ``/opt/ml`` (or ``$SAGEMAKER_BASE_DIR``), runs ``python -m jobs KIND`` as
a child and ends with its exit code; on failure the job's own reason is in ``output/failure``. It says
nothing itself: the log is the job's. Standard library only, and nothing of ``jobs`` is imported.

What it reads: channel ``spec`` (job.json); every other channel is the input, where a dot in a channel's name
stands for a slash (``models.champion``); ``hyperparameters.json`` of a tuning job, whose values become those
of a job of kind ``trial``; ``resourceconfig.json``, for torchrun on several GPUs or hosts. The environment
may name another kind (``NIGHTSHIFT_KIND``) and where torchrun meets (``MASTER_ADDR``, ``MASTER_PORT``).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["main"]

_NO_INPUT = ("spec", "code")
"""Channels that are no part of a job's input."""
_FITS = ("train", "trial")
"""Kinds that several processes do together; of any other, the first host does all."""
_TUNED = "_tuning_objective_metric"
"""Hyperparameter that SageMaker adds to the training jobs of a tuning job."""
_PORT = "29500"
_NAMED_WITHIN_S = 300
_FAILURE_CHARACTERS = 1024
_CODES = {"BadInput": 2, "Terminated": 143}
_PR_SET_PDEATHSIG = 1


class _BadInput(Exception):
    """What SageMaker handed over cannot be run: the same job would fail again."""


@dataclass(frozen=True, slots=True)
class _Hosts:
    """This host among those of the job."""

    place: int
    count: int
    first: str
    interface: str

    @classmethod
    def of(cls, resources: Mapping[str, Any]) -> _Hosts:
        hosts = sorted(resources.get("hosts", ["algo-1"]), key=lambda name: (len(name), name))
        place = hosts.index(resources.get("current_host", hosts[0]))
        return cls(place, len(hosts), hosts[0], resources.get("network_interface_name", ""))


def main() -> int:
    """Run the job of this container to its end and return its exit code."""
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR") or "/opt/ml").absolute()
    with tempfile.TemporaryDirectory(prefix="nightshift-") as scratch:
        try:
            hosts = _Hosts.of(_config(base, "resourceconfig"))
            kind, spec = _job(base, Path(scratch))
            if hosts.place and kind not in _FITS:
                return 0
            _collect(base / "input" / "data", Path(scratch) / "input")
            output = base / "model" if hosts.place == 0 else Path(scratch) / "model"
            output.mkdir(parents=True, exist_ok=True)
            command, environment = _command(kind, hosts)
        except _BadInput as error:
            print(f"bad input: {error}", flush=True)
            _leave_failure(base, f"BadInput: {error}")
            return 2
        places = {"spec": spec, "input": Path(scratch) / "input", "output": output}
        places["checkpoints"] = base / "checkpoints"
        flags = [word for name, path in places.items() for word in (f"--{name}", str(path))]
        code = _run([*command, kind, *flags], environment)
        return _judge(base, output, code, several="torch.distributed.run" in command)


# -- what SageMaker left ------------------------------------------------------------------------


def _config(base: Path, name: str) -> dict[str, Any]:
    path = base / "input" / "config" / f"{name}.json"
    return dict(_read(path)) if path.exists() else {}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _BadInput(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _BadInput(f"{path} is no JSON: {error}") from error


def _job(base: Path, scratch: Path) -> tuple[str, Path]:
    """The kind of job and its job.json: the one handed over, or one made from it."""
    path = base / "input" / "data" / "spec" / "job.json"
    document, hyperparameters = _read(path), _config(base, "hyperparameters")
    changes: dict[str, Any] = {"kind": os.environ.get("NIGHTSHIFT_KIND") or document.get("kind", "train")}
    if _TUNED in hyperparameters:
        values = _tuned(document, hyperparameters)
        changes = {"kind": "trial", "hyperparameters": {**document.get("hyperparameters", {}), **values}}
    if changes["kind"] == document.get("kind", changes["kind"]):
        return changes["kind"], path
    made = scratch / "job.json"
    made.write_text(json.dumps({**document, **changes}), encoding="utf-8")
    return changes["kind"], made


def _tuned(document: Mapping[str, Any], hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """The tuner's values, which come as text, with the types that the search space gives them."""
    space = (document.get("tuning") or {}).get("search_space") or {}
    absent = [name for name in space if name not in hyperparameters]
    if absent or not space:
        raise _BadInput(f"a tuning job started this, but gave no value for {', '.join(absent) or 'anything'}")
    return {name: _typed(name, words, hyperparameters[name]) for name, words in space.items()}


def _typed(name: str, words: Mapping[str, Any], text: str) -> Any:
    try:
        if words["type"] == "categorical":
            return next(choice for choice in words["choices"] if text in (str(choice), json.dumps(choice)))
        value = float(text)
        if words["type"] == "int" and value != int(value):
            raise ValueError
        return int(value) if words["type"] == "int" else value
    except (KeyError, ValueError, StopIteration):
        raise _BadInput(f"the tuner gave {name} the value {text!r}, which is not of {dict(words)}") from None


def _collect(data: Path, target: Path) -> None:
    """Make the input folder: real folders and links to files, so that whoever walks it finds them all."""
    target.mkdir()
    for channel in sorted(data.iterdir()):
        if channel.name in _NO_INPUT or not channel.is_dir():
            continue
        root = target / channel.name.replace(".", "/")
        for folder, _, files in os.walk(channel):
            here = root / Path(folder).relative_to(channel)
            here.mkdir(parents=True, exist_ok=True)
            for name in files:
                (here / name).symlink_to(Path(folder) / name)


# -- the child ----------------------------------------------------------------------------------


def _command(kind: str, hosts: _Hosts) -> tuple[list[str], dict[str, str]]:
    """How the job is started, and its environment; under torchrun where several processes train."""
    package = Path(__file__).absolute().parent
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(package.parent), os.getenv("PYTHONPATH")]))
    environment.setdefault("NIGHTSHIFT_JOB", os.environ.get("TRAINING_JOB_NAME", ""))
    processes = max(1, _gpus())
    if kind not in _FITS or processes * hosts.count == 1:
        return [sys.executable, "-m", package.name], environment
    # torchrun would choose one thread, and say so in the log.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // processes)))
    if Path("/sys/class/net", hosts.interface or "none").exists():
        for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
            environment.setdefault(name, hosts.interface)
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    return [*launcher, *_meeting(hosts), "-m", package.name], environment


def _gpus() -> int:
    """GPUs of this host; the training toolkit says how many, and so may the container."""
    told = os.environ.get("SM_NUM_GPUS", "")
    return int(told) if told.isdigit() else len(list(Path("/dev").glob("nvidia[0-9]*")))


def _meeting(hosts: _Hosts) -> list[str]:
    """Where the hosts find each other."""
    if hosts.count == 1:
        return ["--standalone", "--local-addr=127.0.0.1"]
    address = os.environ.get("MASTER_ADDR") or hosts.first
    _await_name(address)
    port = os.environ.get("MASTER_PORT") or _PORT
    return [
        f"--nnodes={hosts.count}", f"--node-rank={hosts.place}",
        f"--master-addr={address}", f"--master-port={port}",
    ]  # fmt: skip


def _await_name(host: str) -> None:
    """Wait until the first host has an address: assumed to take up to minutes, as the toolkit allows for."""
    deadline = time.monotonic() + _NAMED_WITHIN_S
    while True:
        try:
            socket.getaddrinfo(host, None)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise _BadInput(f"the first host, {host}, has no address: {error}") from error
        time.sleep(1)


def _run(words: list[str], environment: Mapping[str, str]) -> int:
    """Run the child in a process group of its own; SIGTERM goes on to all of the group, once."""
    child: subprocess.Popen[bytes] | None = None
    asked, sent = False, False

    def forward(*_: object) -> None:
        nonlocal asked, sent
        asked = True
        if child is not None and not sent:
            sent = True
            _signal_group(child.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, forward)
    package_folder = environment["PYTHONPATH"].split(os.pathsep)[0]
    child = subprocess.Popen(
        words, env=environment, cwd=package_folder, process_group=0, preexec_fn=_end_with_parent
    )
    if asked:  # before there was a child to tell
        forward()
    code = child.wait()
    _signal_group(child.pid, signal.SIGKILL)  # what the job started and left behind
    return code if code >= 0 else 128 - code


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


# -- how it ended -------------------------------------------------------------------------------


def _judge(base: Path, output: Path, code: int, *, several: bool) -> int:
    """Leave the reason of a failure; the exit code, also where torchrun gives 1 for any."""
    if code == 0:
        return 0
    try:
        error = json.loads((output / "error.json").read_text(encoding="utf-8"))
        kind, reason = error["type"], f"{error['type']}: {error['message']}"
    except (OSError, ValueError, KeyError, TypeError):
        kind, reason = "", _how(code)
    _leave_failure(base, reason)
    return _CODES.get(kind, code) if several else code


def _how(code: int) -> str:
    if code > 128:
        name = signal.Signals(code - 128).name
        return f"the job was killed by {name}" + (", perhaps for memory" if name == "SIGKILL" else "")
    return f"the job ended with exit code {code}; the end of its log says why"


def _leave_failure(base: Path, reason: str) -> None:
    """What DescribeTrainingJob gives as FailureReason. The training toolkit leaves a file that is there."""
    path = base / "output" / "failure"
    with contextlib.suppress(OSError):  # a full disk must not hide the exit code
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(reason[:_FAILURE_CHARACTERS], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
