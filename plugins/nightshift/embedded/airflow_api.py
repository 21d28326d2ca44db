"""The few calls of Airflow's REST API that a night is started and followed with."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from nightshift.errors import NightshiftError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AirflowApi", "ApiError", "Run", "Task"]

ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class ApiError(NightshiftError):
    """Airflow's API does not answer, or refuses."""


@dataclass(frozen=True, slots=True)
class Run:
    """One DAG run."""

    dag_id: str
    run_id: str
    state: str
    partition: str | None
    started: datetime | None
    ended: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen in it any more."""
        return self.state in ("success", "failed")


@dataclass(frozen=True, slots=True)
class Task:
    """One task instance at one moment."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    state: str
    try_number: int
    seconds: float | None
    url: str

    @property
    def name(self) -> str:
        """``ingest``, or ``ingest[3]`` for a mapped one; the group's prefix stays."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"

    @property
    def verb(self) -> str:
        """The last part of the task's id, without its groups."""
        return self.task_id.rpartition(".")[2]

    @property
    def is_over(self) -> bool:
        """Whether it reached a final state."""
        return self.state in ENDED


class AirflowApi:
    """A session with one api-server whose users are all admins.

    :param url: e.g. ``http://127.0.0.1:8080``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=90.0)  # SQLite's own patience is a minute
        self._token = ""

    def dag(self, dag_id: str) -> Mapping[str, Any] | None:
        """The DAG, or None while Airflow does not know it."""
        found: Mapping[str, Any] | None = self._get(f"dags/{dag_id}", missing_ok=True)
        return found

    def import_errors(self) -> list[str]:
        """Files that Airflow could not read, each with its reason."""
        found = self._get("importErrors") or {}
        return [f"{error['filename']}: {error['stack_trace']}" for error in found.get("import_errors", [])]

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run the DAG."""
        self.call("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, partition: str) -> Run:
        """Start a run for one partition."""
        body = {"logical_date": None, "partition_key": partition, "conf": {"partition": partition}}
        return _run(self.call("POST", f"dags/{dag_id}/dagRuns", json=body).json())

    def run(self, dag_id: str, run_id: str) -> Run:
        """The run as it is now."""
        return _run(self.call("GET", f"dags/{dag_id}/dagRuns/{quote(run_id, safe='')}").json())

    def runs(self, dag_id: str, partition: str, since: datetime) -> list[Run]:
        """Runs for ``partition`` that were queued at or after ``since``, oldest first."""
        query = {
            "partition_key_pattern": partition,
            "run_after_gte": since.isoformat(),
            "order_by": "run_after",
        }
        found = self.call("GET", f"dags/{dag_id}/dagRuns", params=query).json()
        return [run for one in found["dag_runs"] if (run := _run(one)).partition == partition]

    def tasks(self, run: Run) -> list[Task]:
        """All task instances of a run."""
        path = f"dags/{run.dag_id}/dagRuns/{quote(run.run_id, safe='')}/taskInstances"
        found = self.call("GET", path, params={"limit": 100}).json()
        return [self._task(one) for one in found["task_instances"]]

    def returned(self, task: Task) -> Any:
        """What the task returned, or None."""
        query = {"map_index": task.map_index, "stringify": False}
        found = self._get(f"{_task_path(task)}/xcomEntries/return_value", missing_ok=True, params=query)
        value = None if found is None else found["value"]
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            return value

    def log(self, task: Task, lines: int) -> Sequence[str]:
        """The last lines of the log of the task's last try."""
        query = {"map_index": task.map_index, "full_content": True}
        path = f"{_task_path(task)}/logs/{max(task.try_number, 1)}"
        found = self._get(path, missing_ok=True, params=query)
        return [] if found is None else _log_lines(found.get("content"))[-lines:]

    def _task(self, one: Mapping[str, Any]) -> Task:
        run_id = one["dag_run_id"]
        started, ended = _time(one["start_date"]), _time(one["end_date"])
        seconds = (ended - started).total_seconds() if started and ended else one["duration"]
        page = f"{self.url}/dags/{one['dag_id']}/runs/{quote(run_id, safe='')}/tasks/{one['task_id']}"
        state = one["state"] or "none"
        fields = (one["dag_id"], run_id, one["task_id"], one["map_index"], state, one["try_number"])
        return Task(*fields, None if seconds is None else round(seconds, 2), page)

    def _get(self, path: str, *, missing_ok: bool = False, params: Any = None) -> Any:
        response = self.call("GET", path, params=params, missing_ok=missing_ok)
        return None if response.status_code == httpx.codes.NOT_FOUND else response.json()

    def call(self, method: str, path: str, *, missing_ok: bool = False, **request: Any) -> httpx.Response:
        """One call of ``/api/v2/<path>``; repeated while the server is too busy, except for a POST."""
        tries = 1 if method == "POST" else 4
        for attempt in range(tries):
            try:
                response = self._client.request(method, f"/api/v2/{path}", headers=self._sign_in(), **request)
            except httpx.TransportError as error:
                if attempt == tries - 1:
                    raise ApiError(f"{self.url} does not answer: {error}", fix="see 'make status'") from error
                time.sleep(0.5 * 2**attempt)
                continue
            if response.is_success or (missing_ok and response.status_code == httpx.codes.NOT_FOUND):
                return response
            if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR or attempt == tries - 1:
                break
            time.sleep(0.5 * 2**attempt)
        raise ApiError(f"Airflow refuses {method} {path} with {response.status_code}: {response.text[:500]}")

    def _sign_in(self) -> dict[str, str]:
        if not self._token:
            response = self._client.get("/auth/token")
            if not response.is_success:
                raise ApiError(
                    f"{self.url} gives no token: {response.status_code}",
                    fix="the demo needs an Airflow whose users are all admins, as 'make up' starts it",
                )
            self._token = response.json()["access_token"]
        return {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}


def _task_path(task: Task) -> str:
    run_id = quote(task.run_id, safe="")
    return f"dags/{task.dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}"


def _run(one: Mapping[str, Any]) -> Run:
    times = _time(one["start_date"]), _time(one["end_date"])
    return Run(one["dag_id"], one["dag_run_id"], one["state"], one["partition_key"], *times)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _log_lines(content: Any) -> list[str]:
    """Log events as text: Airflow answers with one text, or with structured events; fold marks left out."""
    if isinstance(content, str):
        return content.splitlines()
    lines: list[str] = []
    for event in content or []:
        if isinstance(event, str):
            lines += event.splitlines()
            continue
        lines += str(event.get("event", "")).splitlines()
        for error in event.get("error_detail") or []:
            lines.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return [line for line in lines if not line.startswith(("::group::", "::endgroup::"))]
