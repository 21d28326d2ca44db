"""Alerts through Apprise to a real mail server and a real webhook receiver, and to channels that fail."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Connection

from nightshift.errors import ConfigError, PartitionIncomplete, ValidationFailed
from nightshift.notifiers import alerts
from nightshift.notifiers.alerts import FailureAlert, channel_urls, failed_task, tell
from nightshift.notifiers.messages import Message
from tests.fakes.process import free_port
from tests.unit.notifiers.test_messages import SUMMARY
from tests.unit.validation.flights import pipeline as shipped

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.config.pipeline import Pipeline
    from tests.fakes.alerts import SmtpServer, WebhookServer


def _pipeline(*connections: str) -> Pipeline:
    found = shipped()
    return found.model_copy(update={"alerts": found.alerts.model_copy(update={"connections": connections})})


def _context(error: BaseException, run_id: str, key: str | None = "2013-01-21", **changes: Any) -> Any:
    task = {"task_id": "validate", "try_number": 1, "map_index": -1, **changes}
    ti = SimpleNamespace(dag_id="flight_delays_ingest", run_id=run_id, **task)
    run = SimpleNamespace(partition_key=key, clear_number=0)
    return {"ti": ti, "dag_run": run, "exception": error, "params": {"partition": "2013-01-22"}}


def _blocked() -> ValidationFailed:
    return ValidationFailed("blocked", summary={**SUMMARY, "partition": "2013-01-21"})


@pytest.fixture(autouse=True)
def lake_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lake that remembers only this test's alerts; and no waiting for channels that are down."""
    monkeypatch.setattr(alerts, "_PAUSES_S", (0.0, 0.0))
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__LAKE_URI", tmp_path.as_uri())
    return tmp_path.as_uri()


@pytest.fixture
def connections(
    monkeypatch: pytest.MonkeyPatch, smtp_server: SmtpServer, webhook_server: WebhookServer
) -> None:
    """Channels as a deployment has them: in the environment, the URL in the password."""
    urls = {
        "ops_mail": smtp_server.apprise_url,
        "ops_webhook": webhook_server.apprise_url,
        "dead": f"json://127.0.0.1:{free_port()}/gone",
        "nonsense": "no-such-service://secret-token",
        "two": f"json://127.0.0.1:{free_port()}/gone {webhook_server.apprise_url}",
    }
    for name, url in urls.items():
        text = json.dumps({"conn_type": "apprise", "password": url})
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", text)


@pytest.mark.usefixtures("connections")
def test_mail_and_webhook_receive_the_alert(smtp_server: SmtpServer, webhook_server: WebhookServer) -> None:
    FailureAlert(pipeline=_pipeline("ops_mail", "ops_webhook"))(_context(_blocked(), "both"))
    text = webhook_server.wait_for(lambda text: "/runs/both/" in text)
    mail = smtp_server.wait_for(lambda mail: "/runs/both/" in _text(mail))
    assert mail["To"] == "ops@example.org"
    assert mail["Subject"] == "[nightshift] flight_delays 2013-01-21: blocked by validation"
    for body in (text, _text(mail)):
        assert "expect_column_values_to_be_in_set (origin): 15 rows" in body
        assert "row 4: origin=XXX" in body
        assert "/nightshift/reports/flight_delays/2013-01-21" in body


def _text(mail: Any) -> str:
    body = mail.get_body(("plain", "html"))
    return str(body.get_content())


@pytest.mark.usefixtures("connections")
def test_dead_channels_stop_neither_the_others_nor_the_task(webhook_server: WebhookServer) -> None:
    alert = FailureAlert(pipeline=_pipeline("dead", "nonsense", "no_such_connection", "two", "ops_webhook"))
    alert(_context(_blocked(), "dead"))
    arrived = [text for text in webhook_server.texts if "/runs/dead/" in text]
    assert len(arrived) == 2


@pytest.mark.usefixtures("connections")
def test_html_in_a_value_reaches_a_mail_as_text(smtp_server: SmtpServer) -> None:
    error = RuntimeError("<img src=x onerror=alert(1)>")
    FailureAlert(pipeline=_pipeline("ops_mail"))(_context(error, "html"))
    mail = smtp_server.wait_for(lambda mail: "/runs/html/" in _text(mail))
    assert not any("<img" in str(part.get_payload(decode=True)) for part in mail.walk())


def test_a_pipeline_without_connections_alerts_nobody() -> None:
    FailureAlert(pipeline=_pipeline())({})


def test_the_partition_is_the_runs_key_then_its_parameter_then_the_summarys() -> None:
    error, found = _blocked(), shipped()
    context = _context(error, "run")
    assert failed_task(context, found).partition == "2013-01-21"
    context["dag_run"].partition_key = None
    assert failed_task(context, found).partition == "2013-01-22"
    context["params"] = {}
    assert failed_task(context, found).partition == "2013-01-21"


def test_an_error_of_any_kind_is_told_by_class_and_text() -> None:
    assert failed_task(_context(KeyError("x"), "run"), shipped()).error == "KeyError: 'x'"


def test_urls_are_read_from_the_password_and_from_the_providers_extra() -> None:
    extra = json.dumps({"config": [{"path": "json://b", "tag": "x"}]})
    connection = Connection(conn_id="ops", conn_type="apprise", password="json://a mailto://c", extra=extra)
    assert channel_urls(connection) == ["json://a", "mailto://c", "json://b"]


def test_a_connection_without_a_url_says_where_to_put_it() -> None:
    with pytest.raises(ConfigError, match="set it as the password"):
        channel_urls(Connection(conn_id="ops", conn_type="apprise"))


def _arrived(webhook_server: WebhookServer, title: str) -> int:
    return sum(text.startswith(f"{title}\n") for text in webhook_server.texts)


@pytest.mark.usefixtures("connections")
def test_a_cause_is_told_once_whatever_the_message_says(webhook_server: WebhookServer) -> None:
    pipeline = _pipeline("ops_webhook")
    assert tell(pipeline, Message("first of one cause", "x"), cause="budget:2026-11")
    assert not tell(pipeline, Message("second of one cause", "y"), cause="budget:2026-11")
    assert tell(pipeline, Message("first of another cause", "z"), cause="budget:2026-12")
    titles = ("first of one cause", "second of one cause", "first of another cause")
    assert [_arrived(webhook_server, title) for title in titles] == [1, 0, 1]


@pytest.mark.usefixtures("connections")
def test_what_no_channel_took_is_told_by_the_next_one(webhook_server: WebhookServer) -> None:
    message = Message("told at last", "x")
    assert not tell(_pipeline("dead", "nonsense"), message, cause="missing:2013-01-21")
    assert tell(_pipeline("dead", "ops_webhook"), message, cause="missing:2013-01-21")
    assert _arrived(webhook_server, "told at last") == 1


def test_without_a_channel_nothing_counts_as_told(tmp_path: Path) -> None:
    assert not tell(_pipeline(), Message("x", "x"), cause="c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("connections")
def test_a_lake_that_cannot_be_used_silences_nobody(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__LAKE_URI", (tmp_path / "file").as_uri())
    assert tell(_pipeline("ops_webhook"), Message("lake is down", "x"), cause="c")
    assert _arrived(webhook_server, "lake is down") == 1


@pytest.mark.usefixtures("connections")
def test_a_channel_is_tried_again_when_none_took_the_message(
    webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []
    send = alerts._deliver
    monkeypatch.setattr(
        alerts, "_deliver", lambda *args: tries.append(args) or (send(*args) if len(tries) > 1 else 0)
    )
    assert tell(_pipeline("ops_webhook"), Message("second try", "x"), cause="c")
    assert _arrived(webhook_server, "second try") == 1


@pytest.mark.usefixtures("connections")
def test_a_failed_task_is_told_again_in_another_run_and_after_a_clear(webhook_server: WebhookServer) -> None:
    alert = FailureAlert(pipeline=_pipeline("ops_webhook"))
    cleared = _context(_blocked(), "again-1")
    cleared["dag_run"].clear_number = 1
    for context in (_context(_blocked(), "again-1"), cleared, _context(_blocked(), "again-2")):
        alert(context)
    assert sum("/runs/again-1/" in text for text in webhook_server.texts) == 2
    assert sum("/runs/again-2/" in text for text in webhook_server.texts) == 1


@pytest.mark.usefixtures("connections")
def test_the_instances_of_a_mapped_task_are_told_together(webhook_server: WebhookServer) -> None:
    alert = FailureAlert(pipeline=_pipeline("ops_webhook"))
    with ThreadPoolExecutor(4) as workers:
        list(
            workers.map(
                lambda i: alert(_context(_blocked(), "mapped", map_index=i, try_number=1 + i)), range(4)
            )
        )
    (text,) = [text for text in webhook_server.texts if "/runs/mapped/" in text]
    assert "the first of its mapped tasks to fail" in text


@pytest.mark.usefixtures("connections")
def test_a_missing_partition_is_told_once_by_the_deadline_and_the_task_that_waits(
    webhook_server: WebhookServer,
) -> None:
    pipeline = _pipeline("ops_webhook")
    assert tell(pipeline, Message("the deadline says so", "x"), cause="missing:2013-01-21")
    error = PartitionIncomplete("partition 2013-01-21 of flight_delays has not landed")
    FailureAlert(pipeline=pipeline)(_context(error, "waited", task_id="wait"))
    FailureAlert(pipeline=pipeline)(_context(error, "waited", key="2013-01-22", task_id="wait"))
    (text,) = [text for text in webhook_server.texts if "/runs/waited/" in text]
    assert "2013-01-22" in text
