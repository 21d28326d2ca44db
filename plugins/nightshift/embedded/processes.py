"""Start, find and end services on this machine as whole process groups, by pid *and* time of birth."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nightshift.errors import NightshiftError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["MARK", "Record", "Service", "ServiceFailed", "Services", "tail"]

MARK = "NIGHTSHIFT_STACK"
"""Environment variable that every process of a stack inherits; its value is the stack's home folder.

With it a process is found that left its group and its session on purpose: a job that outlives its worker.
"""

SAME_BIRTH_S = 2.0
"""Two reads of one process's time of birth differ by less than this, even when the clock is adjusted."""


class ServiceFailed(NightshiftError):
    """A service did not come up, or did not go down."""


@dataclass(frozen=True, slots=True)
class Service:
    """What to run: a command that stays in the foreground, and how to tell that it is ready."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    ready: Callable[[], bool]
    timeout_s: float = 180.0


@dataclass(frozen=True, slots=True)
class Record:
    """What a pidfile says: enough to know the process again, and never to take another for it."""

    name: str
    pid: int
    born: float
    boot: str
    command: tuple[str, ...]


class Services:
    """The services of one stack: pidfiles in ``home/run``, logs in ``home/logs``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run = home / "run"
        self.logs = home / "logs"

    def start(self, service: Service) -> Record:
        """Start ``service`` in a session of its own, unless it runs already; does not wait for it."""
        if (alive := self.find(service.name)) is not None:
            return alive
        self.run.mkdir(parents=True, exist_ok=True)
        with self._fresh_log(service.name).open("wb") as log:
            process = subprocess.Popen(
                service.command,
                env={**service.environment, MARK: str(self.home)},
                cwd=service.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        born = psutil.Process(process.pid).create_time()
        record = Record(service.name, process.pid, born, _boot_id(), service.command)
        self._pidfile(service.name).write_text(json.dumps(asdict(record)))
        return record

    def wait(
        self, *services: Service, each: Callable[[str], None] = lambda name: None, poll_s: float = 0.2
    ) -> None:
        """Return when all of ``services`` are ready.

        :param each: called with a service's name when it is.
        :raises ServiceFailed: when one ends or is not ready in time; carries the end of its log.
        """
        begun, waiting = time.monotonic(), list(services)
        while waiting:
            for service in tuple(waiting):
                if service.ready():
                    waiting.remove(service)
                    each(service.name)
                elif self.find(service.name) is None:
                    raise self._failure(service.name, "ended before it was ready")
                elif time.monotonic() - begun > service.timeout_s:
                    raise self._failure(service.name, f"was not ready within {service.timeout_s:.0f} s")
            if waiting:
                time.sleep(poll_s)

    def names(self) -> list[str]:
        """Services with a pidfile, running or not."""
        return sorted(file.stem for file in self.run.glob("*.pid"))

    def find(self, name: str) -> Record | None:
        """The record of ``name`` while its first process runs."""
        record = self._read(name)
        return record if record is not None and _leader(record) is not None else None

    def log(self, name: str) -> Path:
        """Where ``name`` writes what it says."""
        return self.logs / f"{name}.log"

    def stop(self, names: Iterable[str] | None = None, *, grace_s: float = 10.0) -> int:
        """End the named services (all: also every process that carries this stack's mark).

        SIGTERM to every process of every group, then SIGKILL to what is left after ``grace_s``.

        :returns: how many processes were ended.
        :raises ServiceFailed: when one survives even that.
        """
        chosen = self.names() if names is None else list(names)
        records = [record for name in chosen if (record := self._read(name)) is not None]

        def living() -> set[psutil.Process]:
            found = {process for record in records for process in _session(record)}
            return found | (self._marked() if names is None else set())

        ended = _end(living, grace_s)
        if survivors := living():
            pids = ", ".join(str(process.pid) for process in survivors)
            raise ServiceFailed(
                f"processes {pids} survive SIGKILL", fix="look at them with 'ps -o stat,wchan'"
            )
        for name in chosen:
            self._pidfile(name).unlink(missing_ok=True)
        return ended

    def _marked(self) -> set[psutil.Process]:
        own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        mine = str(self.home)
        return {p for p in psutil.process_iter() if p.pid not in own and _mark(p) == mine and _is_alive(p)}

    def _pidfile(self, name: str) -> Path:
        return self.run / f"{name}.pid"

    def _read(self, name: str) -> Record | None:
        try:
            fields = json.loads(self._pidfile(name).read_text())
            return Record(**{**fields, "command": tuple(fields["command"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def _fresh_log(self, name: str) -> Path:
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.log(name)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        return log

    def _failure(self, name: str, what: str) -> ServiceFailed:
        lines = "\n".join(f"    {line}" for line in tail(self.log(name), 15))
        return ServiceFailed(f"{name} {what}; the end of {self.log(name)}:\n{lines}")


def tail(file: Path, lines: int) -> Sequence[str]:
    """The last ``lines`` lines of a text file that may not exist."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 64 * 1024))
            return stream.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def _end(living: Callable[[], set[psutil.Process]], grace_s: float) -> int:
    """Terminate, then kill, until ``living`` finds nobody or nothing helps; the number of processes met."""
    met: set[psutil.Process] = set()
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0), (signal.SIGKILL, 5.0)):
        group = living()
        met |= group
        for process in group:
            _signal(process, number)
        deadline = time.monotonic() + patience_s
        while living() and time.monotonic() < deadline:
            psutil.wait_procs(group, timeout=0.1)  # reaps what is ours; an orphan may stay a zombie for good
        if not living():
            break
    return len(met)


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)  # psutil compares the time of birth first
    except psutil.NoSuchProcess:
        return


def _leader(record: Record) -> psutil.Process | None:
    """The recorded process, if it is still the same one and not a zombie."""
    if record.boot != _boot_id():
        return None
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.born) < SAME_BIRTH_S
    except psutil.NoSuchProcess:
        return None
    return process if same and _is_alive(process) else None


def _session(record: Record) -> set[psutil.Process]:
    """Everybody in the session that ``record`` leads, also after its leader is gone.

    The kernel gives a pid to nobody while a session bears it. So when another process has the recorded
    pid, our session is gone; when nobody has it, whoever is left in the session is ours.
    """
    if record.boot != _boot_id():
        return set()
    stranger = psutil.pid_exists(record.pid) and not _same_birth(record)
    if stranger:
        return set()
    return {p for p in psutil.process_iter() if _session_id(p.pid) == record.pid and _is_alive(p)}


def _same_birth(record: Record) -> bool:
    try:
        return abs(psutil.Process(record.pid).create_time() - record.born) < SAME_BIRTH_S
    except psutil.NoSuchProcess:
        return True  # gone in between: nobody else has the pid


def _session_id(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
    except psutil.NoSuchProcess:
        return False


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None  # gone, another user's, or a kernel thread


def _boot_id() -> str:
    """Names this boot of the machine: pids of an earlier one mean nothing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
