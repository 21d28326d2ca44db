"""Following a night: scripted answers in place of an api-server (the integration tests have a real one)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nightshift.embedded import night as nights
from nightshift.embedded.airflow_api import Run, Task, _log_lines
from nightshift.embedded.night import NightFailed, follow, prepare, result

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class ScriptedApi:
    """Answers ``ticks``: per look, the state of each DAG's run and of its tasks; the last one stays."""

    def __init__(self, *ticks: dict[str, tuple[str, dict[str, str]]]) -> None:
        self.ticks = ticks
        self.look = 0
        self.tasks_of: dict[str, dict[str, str]] = {}
        self.unpaused: list[str] = []
        self.known = {"p_ingest", "p_retrain", "p_score"}
        self.values: dict[str, object] = {}

    def _state(self, dag_id: str) -> str | None:
        state, self.tasks_of[dag_id] = self.ticks[min(self.look, len(self.ticks) - 1)].get(dag_id, (None, {}))
        self.look += dag_id == "p_score"  # every look ends with asking for this one
        return state

    def dag(self, dag_id):
        return {} if dag_id in self.known else None

    def import_errors(self):
        return ["score.py: no module named x"]

    def unpause(self, dag_id):
        self.unpaused.append(dag_id)

    def trigger(self, dag_id, partition):
        return _run(dag_id, "queued")

    def run(self, dag_id, run_id):
        return _run(dag_id, self._state(dag_id))

    def runs(self, dag_id, partition, since):
        state = self._state(dag_id)
        return [_run(dag_id, state)] if state else []

    def tasks(self, run):
        return [
            Task(run.dag_id, run.run_id, name, -1, state, 1, 1.5 if state != "running" else None, "url")
            for name, state in self.tasks_of[run.dag_id].items()
        ]

    def returned(self, task):
        return self.values.get(task.task_id)

    def log(self, task, lines):
        return ["ValueError: the reason"]


def test_a_night_ends_when_the_last_run_has_and_knows_its_seconds_by_task():
    done = ("success", {"ingest": "success"})
    api = ScriptedApi(
        {"p_ingest": ("running", {"ingest": "running"})},
        {"p_ingest": done, "p_retrain": ("running", {"learn.tune": "running"})},
        {
            "p_ingest": done,
            "p_retrain": ("success", {"learn.tune": "success", "learn.skip": "skipped"}),
            "p_score": ("success", {"publish": "success"}),
        },
    )
    said: list[str] = []
    night = follow(api, "p", "2013-01-05", said.append, poll_s=0)
    assert night.seconds_by_task == {"ingest.ingest": 1.5, "retrain.learn.tune": 1.5, "score.publish": 1.5}
    assert "p_ingest.ingest: running" in said
    assert "p_score: success" in said
    assert len(said) == len(set(said)), "each change is told once"


def test_a_failed_task_fails_the_night_with_the_end_of_its_log():
    api = ScriptedApi({"p_ingest": ("failed", {"ingest": "success", "gate.validate": "failed"})})
    with pytest.raises(NightFailed, match=r"p_ingest\.gate\.validate failed") as error:
        follow(api, "p", "2013-01-05", lambda text: None, poll_s=0)
    assert list(error.value.log) == ["ValueError: the reason"]


def test_a_run_that_no_asset_starts_is_named(monkeypatch):
    monkeypatch.setattr(nights, "HANDOVER_S", 0.0)
    api = ScriptedApi({"p_ingest": ("success", {"ingest": "success"})})
    with pytest.raises(NightFailed, match="p_retrain was not started within 0 s of its asset"):
        follow(api, "p", "2013-01-05", lambda text: None, poll_s=0)


def test_a_night_that_takes_too_long_is_given_up():
    api = ScriptedApi({"p_ingest": ("running", {"ingest": "running"})})
    with pytest.raises(NightFailed, match="is not over after"):
        follow(api, "p", "2013-01-05", lambda text: None, poll_s=0, timeout_s=-1)


def test_a_dag_that_airflow_does_not_know_is_told_with_the_import_errors():
    api = ScriptedApi({})
    api.known.discard("p_score")
    with pytest.raises(NightFailed, match=r"does not know p_score:\nscore\.py: no module named x"):
        prepare(api, "p", patience_s=0)
    assert api.unpaused == []


def test_consumers_are_woken_before_producers():
    api = ScriptedApi({})
    prepare(api, "p")
    assert api.unpaused == ["p_score", "p_retrain", "p_ingest"]


def test_what_a_task_returned_is_found_by_its_verb_whatever_its_group():
    api = ScriptedApi({"p_ingest": ("failed", {"rows.validate": "failed"})})
    api.values["rows.validate"] = {"rows": {"clean": 1}}
    night = nights.Night("p", "2013-01-05")
    night.tasks["x"] = Task("p_ingest", "r", "rows.validate", -1, "failed", 1, 1.0, "url")
    assert result(api, night, "validate", dag="ingest") == {"rows": {"clean": 1}}
    assert result(api, night, "tune", dag="retrain") == {}


def test_log_lines_come_from_text_and_from_events():
    assert _log_lines("a\nb") == ["a", "b"]
    events = [{"event": "a\nb"}, "c", {"event": "", "error_detail": [{"exc_type": "E", "exc_value": "bad"}]}]
    assert _log_lines(events) == ["a", "b", "c", "E: bad"]
    assert _log_lines(None) == []


def _run(dag_id: str, state: str) -> Run:
    return Run(dag_id, "r", state, "2013-01-05", NOW, None)
