"""The embedded stack's environment, secrets and state; its servers run in the integration tests."""

from __future__ import annotations

import json
import stat
import threading

import pytest
from cryptography.fernet import Fernet

from nightshift.config.settings import Settings
from nightshift.embedded.ports import Ports, free_port
from nightshift.embedded.secrets import secret
from nightshift.embedded.stack import Stack, _fingerprint, _is_healthy
from nightshift.errors import ConfigError


@pytest.fixture
def stack(tmp_path):
    return Stack(Settings.from_lookup({"home": str(tmp_path / "var")}.get), Ports(18080, 15000))


def test_everything_listens_on_loopback_at_the_chosen_ports(stack):
    found = stack.variables()
    assert found["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert found["AIRFLOW__API__PORT"] == "18080"
    assert found["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18080/execution/"
    assert found["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:15000"
    assert found["AIRFLOW__NIGHTSHIFT__MLFLOW_TRACKING_URI"] == "http://127.0.0.1:15000"
    assert found["AIRFLOW__NIGHTSHIFT__UI_URL"] == "http://127.0.0.1:18080"


def test_all_state_lies_below_the_home_folder(stack, tmp_path):
    home = str(tmp_path / "var")
    found = stack.variables()
    for name in ("AIRFLOW_HOME", "AIRFLOW__LOGGING__BASE_LOG_FOLDER", "AIRFLOW__NIGHTSHIFT__STAGING"):
        assert found[name].startswith(home)
    assert home in found["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]


def test_a_process_of_the_stack_reads_the_stacks_settings(stack, monkeypatch):
    for name, value in stack.variables().items():
        monkeypatch.setenv(name, value)
    found = Settings.from_environment()
    assert found.home == stack.home
    assert found.lake_uri == stack.settings.lake_uri
    assert found.mlflow_tracking_uri == stack.mlflow_url
    assert found.ui_url == stack.airflow_url


@pytest.mark.parametrize(
    ("switch", "executor", "warm"),
    [("1", "nightshift.executors.warm.WarmLocalExecutor", True), ("0", "LocalExecutor", False)],
    ids=["warm", "plain"],
)
def test_the_executor_is_warm_unless_switched_off(stack, monkeypatch, switch, executor, warm):
    monkeypatch.setenv("NIGHTSHIFT_WARM", switch)
    found = stack.variables()
    assert found["AIRFLOW__CORE__EXECUTOR"] == executor
    assert ("NIGHTSHIFT_WARM_FILE" in found) is warm


def test_the_callers_own_variables_are_kept(stack, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_LANDING", "aws://")
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    found = stack.environment()
    assert found["AIRFLOW_CONN_LANDING"] == "aws://"
    assert found["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    made = secret(tmp_path / "secrets", "fernet_key")
    assert secret(tmp_path / "secrets", "fernet_key") == made
    assert stat.S_IMODE((tmp_path / "secrets" / "fernet_key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert [file.name for file in (tmp_path / "secrets").iterdir()] == ["fernet_key"]
    Fernet(made.encode())


def test_first_callers_at_the_same_time_get_the_same_secret(tmp_path):
    found: list[str] = []
    callers = [threading.Thread(target=lambda: found.append(secret(tmp_path, "jwt"))) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_stack_that_never_ran_is_not_running_and_stops_without_a_word(tmp_path):
    stack = Stack(Settings.from_lookup({"home": str(tmp_path / "var")}.get), Ports(free_port(), free_port()))
    assert Stack.running(stack.settings) is None
    assert stack.stop() == 0
    assert stack.health() == {}


@pytest.mark.parametrize(
    ("health", "healthy"),
    [
        ({}, False),
        ({"scheduler": {"latest_scheduler_heartbeat": None}}, False),
        ({"scheduler": {"latest_scheduler_heartbeat": "2026-01-01T00:00:00+00:00"}}, False),
        ({"scheduler": {"latest_scheduler_heartbeat": "2026-01-02T00:00:01+00:00"}}, True),
    ],
    ids=["silent", "never", "of the run before", "fresh"],
)
def test_a_component_is_ready_when_it_has_reported_since_the_start(health, healthy):
    second_of_january = 1767312000.0
    assert _is_healthy(health, "scheduler", second_of_january) is healthy


def test_changed_code_is_noticed(tmp_path):
    (tmp_path / "a.py").write_text("one = 1")
    first = _fingerprint(tmp_path)
    assert _fingerprint(tmp_path) == first
    (tmp_path / "a.py").write_text("one = 11")
    assert _fingerprint(tmp_path) != first


def test_a_stack_on_other_ports_than_asked_for_is_said_and_not_ignored(tmp_path, monkeypatch):
    settings = Settings.from_lookup({"home": str(tmp_path)}.get)
    runs = Stack(settings, Ports(18080, 15000))
    monkeypatch.setattr(Stack, "running", classmethod(lambda cls, settings: runs))
    assert Stack.asked_for(settings, Ports()) is runs
    assert Stack.asked_for(settings, Ports(18080, 15000)) is runs
    with pytest.raises(ConfigError, match="runs on ports 18080 and 15000, not on 18081 and 15000"):
        Stack.asked_for(settings, Ports(18081, 15000))


def test_lineage_goes_to_a_file_of_the_stack_unless_the_caller_says_where(stack, monkeypatch):
    monkeypatch.delenv("AIRFLOW__OPENLINEAGE__TRANSPORT", raising=False)
    found = stack.variables()
    transport = json.loads(found["AIRFLOW__OPENLINEAGE__TRANSPORT"])
    file = stack.home / "lineage" / "events.jsonl"
    assert transport == {"type": "file", "log_file_path": str(file), "append": True}
    assert file.parent.is_dir()
    assert found["AIRFLOW__OPENLINEAGE__NAMESPACE"] == "nightshift"
    theirs = '{"type": "http", "url": "http://marquez:5000"}'
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", theirs)
    assert stack.environment()["AIRFLOW__OPENLINEAGE__TRANSPORT"] == theirs
