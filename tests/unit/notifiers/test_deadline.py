"""What is told when a night's deadline has passed: nothing there, not through, or nothing at all."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from nightshift.config.settings import PROJECT
from nightshift.notifiers import deadline
from nightshift.notifiers.deadline import NightBegan, partition_deadline, tell_if_late
from tests.unit.validation.flights import pipeline as shipped

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.config.pipeline import Pipeline
    from nightshift.notifiers.messages import Message

DAY = "2013-01-21"
CONTEXT: dict[str, Any] = {
    "dag_run": {"dag_id": "flights_ingest", "dag_run_id": "scheduled__1", "partition_key": DAY},
    "deadline": {"id": "1", "deadline_time": "2013-01-22T06:00:00Z"},
}


def with_deadline(minutes: float | None) -> Pipeline:
    found = shipped()
    alerts = found.alerts.model_copy(update={"partition_deadline_minutes": minutes})
    return found.model_copy(update={"alerts": alerts})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment with one pipeline, ``flights``, that waits for two markers."""
    document = yaml.safe_load((PROJECT / "include" / "pipelines" / "flight_delays.yaml").read_text())
    document["pipeline"] = "flights"
    document["references"] = {"weather": document["references"]["weather"]}
    (tmp_path / "flights.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__PIPELINES_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Message]]:
    found: list[tuple[str, Message]] = []

    def tell(pipeline: Pipeline, message: Message, *, cause: str) -> bool:
        found.append((cause, message))
        return True

    monkeypatch.setattr(deadline, "tell", tell)
    return found


def land(home: Path, *sources: str) -> None:
    for source in sources:
        folder = home / "landing" / source / f"dt={DAY}"
        folder.mkdir(parents=True)
        (folder / "_SUCCESS").touch()


def run_is(monkeypatch: pytest.MonkeyPatch, state: str, tasks: dict[str, str | None]) -> None:
    monkeypatch.setattr(RuntimeTaskInstance, "get_dagrun_state", lambda dag_id, run_id: state)
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", lambda dag_id, run_ids: {run_ids[0]: tasks})


def test_what_is_missing_is_told_under_the_cause_that_the_waiting_task_has(
    home: Path, told: list[tuple[str, Message]]
) -> None:
    land(home, "weather")
    assert asyncio.run(tell_if_late("flights", CONTEXT)) == "1 missing: told"
    ((cause, message),) = told
    assert cause == f"missing:{DAY}"
    assert message.title == f"[nightshift] flights {DAY}: has not landed"
    assert f"/landing/flights/dt={DAY}/_SUCCESS" in message.body
    assert f"/landing/weather/dt={DAY}/_SUCCESS" not in message.body


def test_a_landed_partition_is_told_with_the_tasks_that_have_begun_and_not_ended(
    home: Path, told: list[tuple[str, Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    land(home, "flights", "weather")
    run_is(monkeypatch, "running", {"wait": "success", "ingest": "running", "validate": None})
    assert asyncio.run(tell_if_late("flights", CONTEXT)) == "landed, not through: told"
    ((cause, message),) = told
    assert cause == f"late:{DAY}"
    assert "- ingest: running" in message.body
    assert "wait:" not in message.body
    assert "validate" not in message.body


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_run_that_is_over_has_told_its_own_end(
    home: Path, told: list[tuple[str, Message]], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    land(home, "flights", "weather")
    run_is(monkeypatch, state, {})
    assert asyncio.run(tell_if_late("flights", CONTEXT)) == "landed, and its run is over"
    assert told == []


def test_a_landing_zone_that_cannot_be_looked_into_is_told_too(
    home: Path, told: list[tuple[str, Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__LANDING_URI", "gs://no-such-kind")
    asyncio.run(tell_if_late("flights", CONTEXT))
    ((cause, message),) = told
    assert cause == f"missing:{DAY}"
    assert "- not known, because" in message.body


def test_a_pipeline_may_have_no_deadline() -> None:
    assert partition_deadline(with_deadline(None)) is None


def test_the_deadline_counts_from_the_night_and_names_its_pipeline() -> None:
    found = partition_deadline(with_deadline(90))
    assert found is not None
    assert found.interval == timedelta(minutes=90)
    assert isinstance(found.reference, NightBegan)
    assert found.callback.path == "nightshift.notifiers.deadline.tell_if_late"
    assert found.callback.kwargs == {"pipeline": "flight_delays"}
