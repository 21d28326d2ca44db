"""Nights on a real scheduler, triggerer and api-server: good ones, bad data, reruns, a backfill."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from nightshift.embedded.night import Night, follow, result
from nightshift.registry.models import Models
from nightshift.scheduling.pools import POOLS

if TYPE_CHECKING:
    from nightshift.embedded.airflow_api import Run
    from tests.fakes.alerts import WebhookServer
    from tests.integration.conftest import Deployment

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

NIGHT = "2013-01-13"


def wait_for_run(deployment: Deployment, run: Run, patience_s: float = 180.0) -> Run:
    """The run when it is over."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        run = deployment.api.run(run.dag_id, run.run_id)
        if run.is_over:
            return run
        time.sleep(0.3)
    pytest.fail(f"{run.dag_id} {run.run_id} is still {run.state}")


def returned(deployment: Deployment, run: Run, verb: str) -> Any:
    """What a task of the run returned."""
    task = next(task for task in deployment.api.tasks(run) if task.verb == verb)
    return deployment.api.returned(task)


@pytest.fixture(scope="module")
def night(deployment: Deployment) -> Night:
    """The first night: no champion before it."""
    return follow(deployment.api, deployment.pipeline.pipeline, NIGHT, print, timeout_s=400)


def test_a_night_ends_with_a_champion_and_one_prediction_for_every_row(
    deployment: Deployment, night: Night
) -> None:
    rows = deployment.lake.table("clean").partitions()[NIGHT].rows
    predictions = deployment.lake.table("predictions").read([NIGHT])
    champion = Models(deployment.settings.mlflow_tracking_uri).champion("flight_delays")
    assert champion is not None
    assert champion.partition == NIGHT
    assert len(predictions) == rows
    assert set(predictions["model_version"].to_pylist()) == {champion.version}
    assert result(deployment.api, night, "tune", dag="retrain")["trials"] == 4


def test_the_model_saw_no_day_of_its_holdout_and_none_after_its_partition(
    deployment: Deployment, night: Night
) -> None:
    plan = result(deployment.api, night, "plan", dag="retrain")
    seen = plan["splits"]["train"] + plan["splits"]["validation"]
    assert max(seen) < min(plan["splits"]["holdout"])
    assert plan["splits"]["holdout"][-1] == NIGHT


def test_the_report_is_shown_in_the_ui_and_linked_from_the_task(deployment: Deployment, night: Night) -> None:
    url = result(deployment.api, night, "validate", dag="ingest")["report_url"]
    page = httpx.get(url)
    assert page.status_code == 200
    assert NIGHT in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_a_run_as_the_uis_form_starts_it_runs_though_the_data_ended_long_ago(
    deployment: Deployment, night: Night
) -> None:
    now = datetime.now(UTC).isoformat()
    body = {"logical_date": now, "conf": {"partition": NIGHT}}
    made = deployment.api.call("POST", "dags/flight_delays_ingest/dagRuns", json=body).json()
    run = wait_for_run(deployment, deployment.api.run(made["dag_id"], made["dag_run_id"]))
    assert run.state == "success"


def test_the_pools_are_there_and_nights_go_before_backfills(deployment: Deployment, night: Night) -> None:
    pools = {pool["name"]: pool for pool in deployment.api.call("GET", "pools").json()["pools"]}
    assert {name: (pools[name]["slots"], pools[name]["include_deferred"]) for name in POOLS} == {
        name: (pool.slots, True) for name, pool in POOLS.items()
    }
    assert {task["priority_weight"] for task in instances(deployment, night.runs["retrain"])} == {100}


def instances(deployment: Deployment, run: Run) -> list[Any]:
    """The task instances of a run, as Airflow's API tells them."""
    path = f"dags/{run.dag_id}/dagRuns/{quote(run.run_id, safe='')}/taskInstances"
    found: list[Any] = deployment.api.call("GET", path).json()["task_instances"]
    return found


def test_a_rerun_of_the_night_changes_nothing_in_the_lake(deployment: Deployment, night: Night) -> None:
    lake, api = deployment.lake, deployment.api
    before = {name: lake.table(name).version() for name in ("raw", "weather", "planes")}
    predictions = lake.table("predictions").read([NIGHT]).num_rows
    again = wait_for_run(deployment, api.trigger("flight_delays_score", NIGHT))
    assert again.state == "success"
    lake = deployment.lake
    (run,) = backfill(deployment, NIGHT, NIGHT)
    assert run.state == "success"
    assert returned(deployment, run, "ingest")["changed"] is False
    assert {name: lake.table(name).version() for name in before} == before
    assert lake.table("predictions").read([NIGHT]).num_rows == predictions


def backfill(deployment: Deployment, first: str, last: str) -> list[Run]:
    """``airflow backfill create`` over the ingest DAG; its runs, when it is over."""
    api = deployment.api
    body = {
        "dag_id": "flight_delays_ingest",
        "from_date": f"{first}T00:00:00Z",
        "to_date": f"{last}T23:59:59Z",
        "reprocess_behavior": "completed",
        "max_active_runs": 3,
        "dag_run_conf": {},
    }
    made = api.call("POST", "backfills", json=body).json()["id"]
    deadline = time.monotonic() + 240
    while api.call("GET", f"backfills/{made}").json()["completed_at"] is None:
        assert time.monotonic() < deadline, "the backfill is not over"
        time.sleep(0.5)
    runs = all_runs(deployment, "flight_delays_ingest")
    mine = [r for r in runs if r["run_type"] == "backfill" and first <= r["partition_key"] <= last]
    return [api.run(r["dag_id"], r["dag_run_id"]) for r in mine]


def test_a_backfill_of_five_days_ends_well_and_starts_no_retrain(
    deployment: Deployment, night: Night
) -> None:
    first, last = "2013-01-14", "2013-01-18"
    before = len(all_runs(deployment, "flight_delays_retrain"))
    runs = backfill(deployment, first, last)
    assert [run.state for run in runs] == ["success"] * 5
    assert {task["priority_weight"] for run in runs for task in instances(deployment, run)} == {1}
    clean = deployment.lake.table("clean").partitions()
    assert {f"2013-01-{day}" for day in range(14, 19)} <= set(clean)
    assert len(all_runs(deployment, "flight_delays_retrain")) == before


def all_runs(deployment: Deployment, dag_id: str) -> list[Any]:
    """Every run of a DAG."""
    found: list[Any] = deployment.api.call("GET", f"dags/{dag_id}/dagRuns").json()["dag_runs"]
    return found


def test_a_few_bad_rows_are_set_apart_and_the_night_goes_on(deployment: Deployment, night: Night) -> None:
    day = "2013-01-20"
    file = deployment.landing / f"dt={day}" / "flights.csv"
    lines = file.read_text().splitlines(keepends=True)
    lines[5] = lines[5].replace(",EWR,", ",XXX,").replace(",JFK,", ",XXX,").replace(",LGA,", ",XXX,")
    file.write_text("".join(lines))
    (run,) = backfill(deployment, day, day)
    assert run.state == "success"
    rows = returned(deployment, run, "validate")["rows"]
    assert rows["quarantined"] >= 1
    assert rows["clean"] + rows["quarantined"] == rows["ingested"] == len(lines) - 1
    bad = deployment.lake.table("quarantine").read([day])
    planted = [row for row in bad.to_pylist() if row["origin"] == "XXX"]
    assert [row["row_id"] for row in planted] == [4]
    assert any("origin" in reason for reason in planted[0]["reasons"])


def test_a_bad_partition_is_blocked_without_a_retry_and_somebody_is_told(
    deployment: Deployment, night: Night, webhook_server: WebhookServer
) -> None:
    day = "2013-01-21"
    file = deployment.landing / f"dt={day}" / "flights.csv"
    header, *lines = file.read_text().splitlines(keepends=True)
    file.write_text(header + "".join(line.replace(",EWR,", ",XXX,") for line in lines))
    run = wait_for_run(deployment, deployment.api.trigger("flight_delays_ingest", day))
    assert run.state == "failed"
    tasks = {task.verb: task for task in deployment.api.tasks(run)}
    assert (tasks["validate"].state, tasks["validate"].try_number) == ("failed", 1)
    assert tasks["announce"].state == "upstream_failed"
    assert returned(deployment, run, "validate")["status"] == "blocked"
    assert day not in deployment.lake.table("clean").partitions()
    message = webhook_server.wait_for(lambda text: day in text)
    assert "flight_delays" in message
    assert "origin" in message


def test_a_partition_that_is_not_there_waits_in_the_triggerer(deployment: Deployment, night: Night) -> None:
    run = deployment.api.trigger("flight_delays_ingest", "2013-02-10")
    deadline = time.monotonic() + 60
    while (state := {t.verb: t.state for t in deployment.api.tasks(run)}.get("wait")) != "deferred":
        assert time.monotonic() < deadline, state
        time.sleep(0.3)
    deployment.api.call("PATCH", f"dags/{run.dag_id}/dagRuns/{run.run_id}", json={"state": "failed"})


def test_a_broken_pipeline_file_is_shown_and_harms_no_other(deployment: Deployment, night: Night) -> None:
    (error,) = deployment.api.import_errors()
    assert "broken.yaml: platfrom: no such field; did you mean 'platform'?" in error


def test_nothing_of_the_stack_listens_beyond_loopback(deployment: Deployment, night: Night) -> None:
    import psutil

    ports = {deployment.stack.ports.airflow, deployment.stack.ports.mlflow}
    listening = [c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening if c.laddr.port in ports} == {"127.0.0.1"}
    ours = {process.pid for name in deployment.stack.status() for process in _family(deployment, name)}
    assert {c.laddr.ip for c in listening if c.pid in ours} == {"127.0.0.1"}


def _family(deployment: Deployment, name: str) -> list[Any]:
    import psutil

    record = deployment.stack.services.find(name)
    assert record is not None
    leader = psutil.Process(record.pid)
    return [leader, *leader.children(recursive=True)]
