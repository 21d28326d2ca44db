"""Alerts on a real scheduler and triggerer: the deadline of a night whose partition lands late, or never."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.config.loader import load_pipeline
from nightshift.errors import PartitionIncomplete
from nightshift.lake.storage import list_objects
from nightshift.notifiers.alerts import FailureAlert

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nightshift.embedded.airflow_api import Run
    from tests.fakes.alerts import WebhookServer
    from tests.integration.conftest import Deployment

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

LATE, SLOW = "late_flights_ingest", "slow_flights_ingest"
BY_HAND, BY_BACKFILL = "2014-02-11", "2014-02-12"


def runs_of(deployment: Deployment, dag_id: str, run_type: str) -> list[Run]:
    found = deployment.api.call("GET", f"dags/{dag_id}/dagRuns").json()["dag_runs"]
    ours = [one["dag_run_id"] for one in found if one["run_type"] == run_type]
    return [deployment.api.run(dag_id, run_id) for run_id in ours]


def last_night(deployment: Deployment, dag_id: str) -> Run:
    """The run that the scheduler makes when the DAG is let go."""
    deployment.api.unpause(dag_id)
    deadline = time.monotonic() + 60
    while not (runs := runs_of(deployment, dag_id, "scheduled")):
        assert time.monotonic() < deadline, "the scheduler makes no run"
        time.sleep(0.3)
    return runs[0]


def end(deployment: Deployment, run: Run) -> None:
    deployment.api.call("PATCH", f"dags/{run.dag_id}/dagRuns/{run.run_id}", json={"state": "failed"})


def told(webhook_server: WebhookServer, pipeline: str) -> list[str]:
    return [text for text in webhook_server.texts if pipeline in text]


def backfill(deployment: Deployment, day: str) -> int:
    body = {"dag_id": LATE, "from_date": f"{day}T00:00:00Z", "to_date": f"{day}T23:59:59Z"}
    made: int = deployment.api.call("POST", "backfills", json={**body, "dag_run_conf": {}}).json()["id"]
    return made


@pytest.fixture(scope="module")
def night(deployment: Deployment) -> Iterator[Run]:
    """A night without its partition; before it, runs that were asked for, as empty-handed."""
    api = deployment.api
    asked_for = api.trigger(LATE, BY_HAND)
    made = backfill(deployment, BY_BACKFILL)
    yield last_night(deployment, LATE)
    api.call("PATCH", f"dags/{LATE}", json={"is_paused": True})
    api.call("PUT", f"backfills/{made}/cancel")
    for run in (asked_for, *runs_of(deployment, LATE, "backfill")):
        end(deployment, run)


@pytest.fixture(scope="module")
def slow_night(deployment: Deployment) -> Iterator[Run]:
    """A night whose partition lands, a marker without files: ``ingest`` tries again past the deadline."""
    run = last_night(deployment, SLOW)
    folder = deployment.settings.home / "landing" / "slow_flights" / f"dt={run.partition}"
    folder.mkdir(parents=True)
    (folder / "_SUCCESS").touch()
    yield run
    deployment.api.call("PATCH", f"dags/{SLOW}", json={"is_paused": True})
    end(deployment, run)


def test_a_night_can_be_cleared_while_its_deadline_lies_ahead(
    deployment: Deployment, night: Run, webhook_server: WebhookServer
) -> None:
    body = {"dry_run": False, "dag_run_id": night.run_id, "task_ids": ["wait"], "only_failed": False}
    assert deployment.api.call("POST", f"dags/{LATE}/clearTaskInstances", json=body).is_success
    assert told(webhook_server, "late_flights") == []


def test_a_partition_that_has_landed_by_its_deadline_is_told_as_late_with_the_task_that_is_not_through(
    deployment: Deployment, night: Run, slow_night: Run, webhook_server: WebhookServer
) -> None:
    text = webhook_server.wait_for(lambda text: "slow_flights" in text, timeout_s=90)
    assert text.splitlines()[0] == f"[nightshift] slow_flights {slow_night.partition}: is late"
    assert re.search(r"\n- (wait|ingest): (deferred|up_for_retry|running|queued|scheduled)\n", text), text


def test_a_partition_that_is_not_there_by_its_deadline_is_told_once_whoever_finds_out(
    deployment: Deployment, night: Run, webhook_server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = webhook_server.wait_for(lambda text: "late_flights" in text, timeout_s=90)
    assert text.splitlines()[0] == f"[nightshift] late_flights {night.partition}: has not landed"
    assert f"/late_flights/dt={night.partition}/_SUCCESS" in text
    assert f"{deployment.stack.airflow_url}/dags/{LATE}/runs/scheduled__" in text
    end(deployment, night)
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(deployment.settings.home))
    alert_of_the_waiting_task(deployment, night)
    assert told(webhook_server, "late_flights") == [text]
    markers = list_objects(deployment.lake.root.child("late_flights", "alerts"))
    assert len([each for each in markers if each.path.endswith(".json")]) == 1


def alert_of_the_waiting_task(deployment: Deployment, run: Run) -> None:
    """As its worker calls it when ``wait`` has run out of patience, which takes hours."""
    pipeline = load_pipeline(deployment.settings.pipelines_dir / "late_flights.yaml")
    ti = SimpleNamespace(dag_id=LATE, run_id=run.run_id, task_id="wait", try_number=4, map_index=-1)
    dag_run = SimpleNamespace(partition_key=run.partition, clear_number=1)
    error = PartitionIncomplete(f"partition {run.partition} of late_flights has not landed")
    context: Any = {"ti": ti, "dag_run": dag_run, "exception": error, "params": {}}
    FailureAlert(pipeline=pipeline)(context)


def test_runs_that_were_asked_for_have_no_deadline(
    deployment: Deployment, night: Run, webhook_server: WebhookServer
) -> None:
    """They were queued before the night, so theirs would have come first."""
    webhook_server.wait_for(lambda text: "late_flights" in text, timeout_s=90)
    assert len(runs_of(deployment, LATE, "backfill")) == 1
    messages = told(webhook_server, "late_flights")
    assert not any(BY_HAND in text or BY_BACKFILL in text for text in messages)
