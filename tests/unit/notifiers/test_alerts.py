"""Alerts through Apprise to a real mail server and a real webhook receiver, and to channels that fail."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Connection

from nightshift.errors import ConfigError, ValidationFailed
from nightshift.notifiers.alerts import FailureAlert, channel_urls, failed_task
from tests.fakes.process import free_port
from tests.unit.notifiers.test_messages import SUMMARY
from tests.unit.validation.flights import pipeline as shipped

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline
    from tests.fakes.alerts import SmtpServer, WebhookServer


def _pipeline(*connections: str) -> Pipeline:
    found = shipped()
    return found.model_copy(update={"alerts": found.alerts.model_copy(update={"connections": connections})})


def _context(error: BaseException, run_id: str, key: str | None = "2013-01-21") -> Any:
    ti = SimpleNamespace(
        dag_id="flight_delays_ingest", run_id=run_id, task_id="validate", try_number=1, map_index=-1
    )
    run = SimpleNamespace(partition_key=key)
    return {"ti": ti, "dag_run": run, "exception": error, "params": {"partition": "2013-01-22"}}


def _blocked() -> ValidationFailed:
    return ValidationFailed("blocked", summary={**SUMMARY, "partition": "2013-01-21"})


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
