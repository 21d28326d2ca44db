"""The embedded stack: MLflow and Airflow's four components on loopback, all state in one folder."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

from nightshift.embedded.cloud import cloud_service
from nightshift.embedded.environment import stack_environment
from nightshift.embedded.ports import HOST, Ports
from nightshift.embedded.processes import Service, ServiceFailed, Services, tail
from nightshift.errors import ConfigError
from nightshift.executors import WARM_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.config.settings import Settings

__all__ = ["COMPONENTS", "Stack", "Started"]

COMPONENTS = ("scheduler", "dag-processor", "triggerer", "api-server")
"""Airflow's components, as its command line names them."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Started:
    """What ``start`` did: in how long, and whether everything ran already."""

    seconds: float
    reused: bool


class Stack:
    """One embedded deployment: ``settings.home`` holds all of its state.

    :param ports: for a stack that is to be started; one that runs is found with :meth:`running`.
    """

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self.settings = settings
        self.ports = ports
        self.home = settings.home
        self.services = Services(settings.home)

    @classmethod
    def running(cls, settings: Settings) -> Stack | None:
        """The stack that runs on ``settings.home``, with the ports it was started with."""
        try:
            ports = Ports(**json.loads(_state_file(settings.home).read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        stack = cls(settings, ports)
        return stack if any(stack.status().values()) else None

    @classmethod
    def asked_for(cls, settings: Settings, ports: Ports) -> Stack:
        """The stack that runs, or one that may be started on ``ports``.

        :raises ConfigError: when it runs on other ports than were asked for, or a port is taken.
        """
        running = cls.running(settings)
        if running is None:
            ports.check_free()
            return cls(settings, ports)
        if ports not in (running.ports, Ports()):
            raise ConfigError(
                f"the stack runs on ports {running.ports.airflow} and {running.ports.mlflow}, "
                f"not on {ports.airflow} and {ports.mlflow}",
                fix="'make down' first, or leave AIRFLOW_PORT and MLFLOW_PORT out",
            )
        return running

    @property
    def airflow_url(self) -> str:
        """Airflow's UI and REST API."""
        return f"http://{HOST}:{self.ports.airflow}"

    @property
    def mlflow_url(self) -> str:
        """MLflow's UI and tracking server."""
        return f"http://{HOST}:{self.ports.mlflow}"

    def environment(self) -> dict[str, str]:
        """Everything a process of this stack has in its environment, the caller's own included."""
        return {**os.environ, **self.variables()}

    def variables(self) -> dict[str, str]:
        """What the stack adds to the environment: Airflow, MLflow and ``[nightshift]`` settings."""
        return stack_environment(self.settings, self.airflow_url, self.mlflow_url, self.ports)

    def status(self) -> dict[str, bool]:
        """Whether each service's process runs."""
        loopback = [self.settings.loopback] if self.settings.loopback else []
        return {name: self.services.find(name) is not None for name in (*loopback, "mlflow", *COMPONENTS)}

    def start(self, say: Say = print) -> Started:
        """Start what does not run and wait until all of it is ready.

        :raises ConfigError: when a port is taken.
        :raises ServiceFailed: when a service does not come up; what was started is ended again.
        """
        with self._exclusive():
            begun = time.monotonic()
            state = self.status()
            if all(state.values()) and self._runs_this_code():
                return Started(0.0, reused=True)
            down = [name for name, runs in state.items() if not runs]
            if set(down) < set(COMPONENTS) and self._runs_this_code():
                say(f"starting again what is down: {', '.join(down)}")
                self._revive(down)
                return Started(round(time.monotonic() - begun, 1), reused=False)
            state.pop(self.settings.loopback, None)  # it may have been started before, alone
            if any(state.values()):
                whole = all(state.values())
                reason = "the code has changed since it was started" if whole else "a part of it is down"
                say(f"starting the stack again: {reason}")
            outdated = [name for name in self.services.names() if name != self.settings.loopback]
            self.services.stop(outdated)  # its jobs go on, their tasks find them again
            self.ports.check_free()
            try:
                self._start_all(say)
            except BaseException:
                self.services.stop(grace_s=2.0)
                raise
            return Started(round(time.monotonic() - begun, 1), reused=False)

    def revive(self, *names: str) -> None:
        """Start those of the named components that do not run and wait until they are ready.

        :raises ServiceFailed: when one does not come up; whatever else runs goes on.
        """
        with self._exclusive():
            self._revive([name for name in names if self.services.find(name) is None])

    def stop(self) -> int:
        """End every process of this stack, its jobs too; how many there were."""
        with self._exclusive():
            ended = self.services.stop()
            _state_file(self.home).unlink(missing_ok=True)
            return ended

    def health(self) -> Mapping[str, Any]:
        """What Airflow's api-server says of the components; empty while it does not answer."""
        return _get_json(f"{self.airflow_url}/api/v2/monitor/health")

    def _revive(self, dead: Sequence[str]) -> None:
        begun = time.time()
        if "scheduler" in dead:
            self._warm_file.unlink(missing_ok=True)
        services = [self._component(name, begun) for name in dead]
        for service in services:
            self.services.start(service)
        self.services.wait(*services)

    def _start_all(self, say: Say) -> None:
        begun = time.time()
        _state_file(self.home).write_text(json.dumps(asdict(self.ports)))
        self._code_file.write_text(_fingerprint(self.settings.project / "plugins"))
        mlflow = self._mlflow()
        before = [cloud_service(self.settings), mlflow] if self.settings.loopback else [mlflow]
        for service in before:
            self.services.start(service)
        self._migrate(say)
        self._warm_file.unlink(missing_ok=True)
        airflow = [self._component(name, begun) for name in COMPONENTS]
        for service in airflow:
            self.services.start(service)

        def each(name: str) -> None:
            say(f"{name} is ready after {time.time() - begun:.0f} s")

        self.services.wait(*before, *airflow, each=each)

    def _mlflow(self) -> Service:
        folder = self.home / "mlflow"
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        command = (
            *(sys.executable, "-m", "mlflow", "server"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts")),
            *("--host", HOST, "--port", str(self.ports.mlflow), "--workers", "1"),
        )
        environment = self.environment()
        environment.pop("MLFLOW_TRACKING_URI", None)  # a server that asked itself would wait for itself

        def ready() -> bool:
            return _answers(f"{self.mlflow_url}/health")

        return Service("mlflow", command, environment, folder, ready)

    def _component(self, name: str, begun: float) -> Service:
        command = [sys.executable, "-m", "airflow", name]
        if name in ("scheduler", "triggerer"):
            command.append("--skip-serve-logs")  # their log servers would listen on all interfaces
        if name == "api-server":
            command += ["--host", HOST, "--port", str(self.ports.airflow)]

        def ready() -> bool:
            if name == "scheduler" and WARM_FILE in environment and not self._warm_file.exists():
                return False
            if name == "api-server":  # its first answer to a worker takes seconds: not at a task's cost
                return bool(self.health()) and _answers(f"{self.airflow_url}/execution/health", timeout_s=60)
            return _is_healthy(self.health(), name.replace("-", "_"), begun)

        environment = self.environment()
        return Service(name, tuple(command), environment, self.settings.project, ready)

    def _migrate(self, say: Say) -> None:
        """Create or upgrade Airflow's database, unless this version of Airflow has done so already."""
        database, mark = self.home / "airflow" / "airflow.db", self.home / "airflow" / "migrated"
        wanted = version("apache-airflow-core")
        if database.exists() and mark.exists() and mark.read_text() == wanted:
            return
        say("creating Airflow's database")
        database.parent.mkdir(parents=True, exist_ok=True)
        log = self.services.log("migrate")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            code = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=self.environment(),
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if code:
            end = "\n".join(f"    {line}" for line in tail(log, 15))
            raise ServiceFailed(f"'airflow db migrate' failed; the end of {log}:\n{end}")
        mark.write_text(wanted)

    @property
    def _warm_file(self) -> Path:
        return self.home / "run" / "warm.json"

    @property
    def _code_file(self) -> Path:
        return self.home / "run" / "code"

    def _runs_this_code(self) -> bool:
        """Whether our package is as it was when the workers imported it."""
        file = self._code_file
        return file.exists() and file.read_text() == _fingerprint(self.settings.project / "plugins")

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One start or stop at a time, across processes."""
        folder = self.home / "run"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _state_file(home: Path) -> Path:
    return home / "run" / "ports.json"


def _fingerprint(folder: Path) -> str:
    """Names the state of all Python files below ``folder``: their paths, sizes and times."""
    files = sorted(folder.rglob("*.py"))
    seen = [(str(file), stat.st_size, stat.st_mtime_ns) for file in files if (stat := file.stat())]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def _is_healthy(health: Mapping[str, Any], component: str, since: float) -> bool:
    """Whether a component has reported itself alive after ``since`` (seconds of the epoch)."""
    heartbeat = health.get(component, {}).get(f"latest_{component}_heartbeat")
    return heartbeat is not None and datetime.fromisoformat(heartbeat).timestamp() >= since


def _answers(url: str, timeout_s: float = 2) -> bool:
    try:
        with urlopen(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


def _get_json(url: str) -> Mapping[str, Any]:
    try:
        with urlopen(url, timeout=5) as response:
            answer: Mapping[str, Any] = json.load(response)
            return answer
    except (URLError, OSError, ValueError):
        return {}
