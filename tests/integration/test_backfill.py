"""A backfill on a real scheduler: chunks as mapped tasks, a bad day and a missing one, one event, a rerun."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from nightshift.config.partitions import days
from nightshift.embedded.sample_data import seed_landing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nightshift.embedded.airflow_api import Run, Task
    from tests.fakes.alerts import WebhookServer
    from tests.integration.conftest import Deployment

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

DAG, RETRAIN = "flight_delays_backfill", "flight_delays_retrain"
RANGE = days("2013-01-22", "2013-01-29")
BAD, MISSING = "2013-01-24", "2013-01-26"
GOOD = [day for day in RANGE if day not in (BAD, MISSING)]


def begin(deployment: Deployment, **form: Any) -> Run:
    """A run of the form, as it begins."""
    conf = {"from": RANGE[0], "to": RANGE[-1], "chunk_size": 3, **form}
    body = {"logical_date": None, "conf": conf}
    made = deployment.api.call("POST", f"dags/{DAG}/dagRuns", json=body).json()
    return deployment.api.run(DAG, made["dag_run_id"])


def start(deployment: Deployment, **form: Any) -> Run:
    """A run of the form, when it is over."""
    run = begin(deployment, **form)
    deadline = time.monotonic() + 180
    while not (run := deployment.api.run(DAG, run.run_id)).is_over:
        states = [(task.name, task.state) for task in deployment.api.tasks(run)]
        assert time.monotonic() < deadline, states
        time.sleep(0.3)
    return run


def tasks_of(deployment: Deployment, run: Run, task_id: str) -> list[Task]:
    found = [task for task in deployment.api.tasks(run) if task.task_id == task_id]
    return sorted(found, key=lambda task: task.map_index)


def story(deployment: Deployment, run: Run) -> str:
    """What became of the run's tasks, and what the report says."""
    states = [f"{task.name}: {task.state}" for task in deployment.api.tasks(run)]
    (report,) = tasks_of(deployment, run, "report")
    return "\n".join([*states, *deployment.api.log(report, 40)])


def events(deployment: Deployment) -> list[tuple[str, str]]:
    """Asset and partition of every event that a backfill gave."""
    found = deployment.api.call("GET", "assets/events", params={"source_dag_id": DAG, "limit": 100}).json()
    return [(event["name"], event["partition_key"]) for event in found["asset_events"]]


def started_retrains(deployment: Deployment) -> list[Any]:
    found = deployment.api.call("GET", f"dags/{RETRAIN}/dagRuns").json()["dag_runs"]
    return [run for run in found if run["partition_key"] in RANGE]


@pytest.fixture(scope="module")
def broken(deployment: Deployment) -> Iterator[Run]:
    """A backfill of eight days, one of them bad and one not landed; the retrain it starts is ended."""
    bad = deployment.landing / f"dt={BAD}" / "flights.csv"
    header, *lines = bad.read_text().splitlines(keepends=True)
    bad.write_text(header + "".join(line.replace(",EWR,", ",XXX,") for line in lines))
    shutil.rmtree(deployment.landing / f"dt={MISSING}")
    deployment.api.unpause(DAG)
    run = start(deployment)
    yield run
    for each in started_retrains(deployment):
        path = f"dags/{RETRAIN}/dagRuns/{each['dag_run_id']}"
        deployment.api.call("PATCH", path, json={"state": "failed"})


@pytest.fixture(scope="module")
def retrains(deployment: Deployment, broken: Run) -> list[Any]:
    """What the announcement started, ended before it can make a model.

    Not before it runs: Airflow 3.3.2 answers with an error about events whose run never had a start.
    """
    deadline = time.monotonic() + 60
    while not (found := [run for run in started_retrains(deployment) if run["start_date"]]):
        assert time.monotonic() < deadline, "no retrain was started"
        time.sleep(0.2)
    for each in found:
        path = f"dags/{RETRAIN}/dagRuns/{each['dag_run_id']}"
        deployment.api.call("PATCH", path, json={"state": "failed"})
    return found


def test_one_partition_is_announced_and_nothing_is_started_for_the_others(
    deployment: Deployment, broken: Run, retrains: list[Any]
) -> None:
    assert events(deployment) == [("flight_delays_clean", RANGE[-1])]
    assert [run["partition_key"] for run in retrains] == [RANGE[-1]]


def test_each_step_ran_in_chunks_and_a_bad_day_sank_none(deployment: Deployment, broken: Run) -> None:
    for step in ("ingest", "validate"):
        chunks = tasks_of(deployment, broken, f"{step}.days")
        assert [task.state for task in chunks] == ["success"] * 3
        assert [deployment.api.returned(task)["chunk"] for task in chunks] == [
            "2013-01-22..2013-01-24",
            "2013-01-25..2013-01-27",
            "2013-01-28..2013-01-29",
        ]
    clean = deployment.lake.table("clean").partitions()
    assert [day for day in RANGE if day in clean] == GOOD


def test_a_chunk_shows_its_days_and_tells_of_each(deployment: Deployment, broken: Run) -> None:
    path = f"dags/{DAG}/dagRuns/{broken.run_id}/taskInstances/validate.days/listMapped"
    found = deployment.api.call("GET", path).json()["task_instances"]
    assert {one["rendered_map_index"] for one in found} >= {"2013-01-22..2013-01-24"}
    assert {one["pool"] for one in found} == {"nightshift_backfill"}
    log = deployment.api.log(tasks_of(deployment, broken, "validate.days")[0], 200)
    assert any(f"[3/3] {BAD} blocked" in line for line in log)


def test_the_run_is_red_and_somebody_is_told_once_what_is_not_good(
    deployment: Deployment, broken: Run, webhook_server: WebhookServer
) -> None:
    assert broken.state == "failed"
    (report,) = tasks_of(deployment, broken, "report")
    assert (report.state, report.try_number) == ("failed", 1)
    assert deployment.api.returned(report)["not_good"] == 2
    webhook_server.wait_for(lambda text: "backfill ended" in text)
    told = [text for text in webhook_server.texts if broken.dag_id in text]
    assert len(told) == 1
    assert BAD in told[0]
    assert MISSING in told[0]
    assert "blocked" in told[0]


def test_the_page_is_served_and_linked(deployment: Deployment, broken: Run) -> None:
    url = deployment.api.returned(tasks_of(deployment, broken, "plan")[0])["page"]
    for task in ("plan", "report"):
        links = f"dags/{DAG}/dagRuns/{broken.run_id}/taskInstances/{task}/links"
        found = deployment.api.call("GET", links).json()["extra_links"]
        assert found["Backfill"] == url
    page = httpx.get(url)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert f"<title>{BAD} failed</title>" in page.text
    assert "Not good at the end" in page.text


def test_after_the_fix_only_what_failed_is_done_again(
    deployment: Deployment, broken: Run, retrains: list[Any]
) -> None:
    (deployment.landing / f"dt={BAD}" / "_SUCCESS").unlink()
    seed_landing(deployment.landing.parent, RANGE[0], RANGE[-1])
    before = deployment.lake.table("clean").partitions()
    again = start(deployment, announce=False)
    assert again.state == "success", story(deployment, again)
    work = deployment.api.returned(tasks_of(deployment, again, "plan")[0])["work"]
    assert work == {"ingest": 2, "validate": 2}
    after = deployment.lake.table("clean").partitions()
    assert {day for day in RANGE if after[day] != before.get(day)} == {BAD, MISSING}
    assert len(events(deployment)) == 1


def test_cancelled_in_the_middle_every_partition_is_whole(
    deployment: Deployment, broken: Run, retrains: list[Any]
) -> None:
    lake, every = deployment.lake, {"from": "2013-01-01", "to": "2013-01-12", "steps": ["validate"]}
    run = begin(deployment, **every, reprocess="all", chunk_size=30)
    wait_for_state(deployment, run, "running")
    path = f"dags/{DAG}/dagRuns/{run.run_id}"
    deployment.api.call("PATCH", path, json={"state": "failed"})
    assert wait_for_state(deployment, run, "failed", "skipped").state == "failed"
    raw, clean, aside = (lake.table(name).partitions() for name in ("raw", "clean", "quarantine"))
    for day in days(every["from"], every["to"]):
        assert clean[day].rows + (aside[day].rows if day in aside else 0) == raw[day].rows
    again = start(deployment, **every)
    assert again.state == "success", story(deployment, again)
    assert deployment.api.returned(tasks_of(deployment, again, "plan")[0])["work"] == {"validate": 0}


def wait_for_state(deployment: Deployment, run: Run, *states: str) -> Task:
    """The only chunk of a run, when it is in one of these states."""
    deadline = time.monotonic() + 60
    while True:
        for task in tasks_of(deployment, run, "validate.days"):
            if task.map_index == 0 and task.state in states:
                return task
        assert time.monotonic() < deadline, story(deployment, run)
        time.sleep(0.1)


def test_a_dry_run_of_what_is_all_there_has_nothing_to_do(deployment: Deployment, broken: Run) -> None:
    run = start(deployment, dry_run=True, reprocess="failed")
    assert run.state == "success"
    assert deployment.api.returned(tasks_of(deployment, run, "plan")[0])["work"] == {
        "ingest": 0,
        "validate": 0,
    }
    assert {task.state for task in tasks_of(deployment, run, "ingest.days")} == {"skipped"}


def test_a_form_that_cannot_be_done_is_refused_before_anything_runs(
    deployment: Deployment, broken: Run
) -> None:
    run = start(deployment, **{"from": "2012-12-31"})
    assert run.state == "failed"
    states = {task.task_id: task.state for task in deployment.api.tasks(run)}
    assert states["plan"] == "failed"
    assert states["validate.days"] == "upstream_failed"
    assert states["announce"] == "skipped"
    log = deployment.api.log(tasks_of(deployment, run, "report")[0], 60)
    assert any("2012-12-31 is not a partition of flight_delays" in line for line in log)
