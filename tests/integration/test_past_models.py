"""Models of the past beside tonight's: a backfill holds up no night, and takes no champion's place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from nightshift.embedded.night import NightFailed, follow
from nightshift.registry.models import Models

if TYPE_CHECKING:
    from nightshift.embedded.airflow_api import Run
    from nightshift.embedded.night import Night
    from tests.integration.conftest import Deployment

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

DAG = "flight_delays_backfill"
NIGHT = "2013-01-19"
PAST = ["2013-01-14", "2013-01-15"]


def begin(deployment: Deployment, first: str, last: str, **form: Any) -> Run:
    """Start a backfill as its form does."""
    conf = {"from": first, "to": last, "announce": False, **form}
    made = deployment.api.call(
        "POST", f"dags/{DAG}/dagRuns", json={"logical_date": None, "conf": conf}
    ).json()
    return deployment.api.run(DAG, made["dag_run_id"])


def end(deployment: Deployment, run: Run, patience_s: float = 300.0) -> Run:
    """The backfill when it is over."""
    deadline = time.monotonic() + patience_s
    while not run.is_over:
        assert time.monotonic() < deadline, [(t.name, t.state) for t in deployment.api.tasks(run)]
        time.sleep(0.3)
        run = deployment.api.run(run.dag_id, run.run_id)
    return run


@pytest.fixture(scope="module")
def beside(deployment: Deployment) -> tuple[Night, Run]:
    """A night that ran beside a long backfill, and the backfill."""
    before = end(deployment, begin(deployment, "2013-01-13", "2013-01-18"))
    assert before.state == "success"
    long = begin(deployment, "2013-01-01", "2013-01-18", reprocess="all", chunk_size=1)
    try:
        night = follow(deployment.api, "flight_delays", NIGHT, print, timeout_s=400)
    except NightFailed as error:
        pytest.fail(f"{error}\n" + "\n".join(error.log))
    return night, end(deployment, long)


def test_a_night_beside_a_backfill_ends_before_it(deployment: Deployment, beside: tuple[Night, Run]) -> None:
    night, backfill = beside
    assert backfill.state == "success"
    last = night.runs["score"]
    assert last.ended is not None
    assert backfill.ended is not None
    tasks = deployment.api.call(
        "GET", f"dags/{DAG}/dagRuns/{backfill.run_id}/taskInstances", params={"limit": 100}
    ).json()["task_instances"]
    chunks = [task for task in tasks if task["map_index"] >= 0]
    assert len(chunks) == 36
    assert {(task["pool"], task["priority_weight"]) for task in chunks} == {("nightshift_backfill", 1)}
    assert last.ended < backfill.ended


def test_models_of_the_past_are_registered_and_the_champion_stays(
    deployment: Deployment, beside: tuple[Night, Run]
) -> None:
    models = Models(deployment.settings.mlflow_tracking_uri)
    champion = models.champion("flight_delays")
    assert champion is not None
    run = end(deployment, begin(deployment, PAST[0], PAST[-1], steps=["retrain", "score"], reprocess="all"))
    assert run.state == "success", [(task.name, task.state) for task in deployment.api.tasks(run)]
    versions = models.by_partition("flight_delays")
    assert set(PAST) <= set(versions)
    assert models.champion("flight_delays") == champion
    lake = deployment.lake
    for day in PAST:
        predictions = lake.table("predictions").read([day])
        assert len(predictions) == lake.table("clean").partitions()[day].rows
        assert set(predictions["model_version"].to_pylist()) == {champion.version}


def test_a_retrain_backfill_leaves_a_walk_forward_report(
    deployment: Deployment, beside: tuple[Night, Run]
) -> None:
    client = MlflowClient(deployment.settings.mlflow_tracking_uri)
    experiment = client.get_experiment_by_name("flight_delays")
    reports = client.search_runs(
        [experiment.experiment_id], f"tags.`nightshift.walk_forward` = '{PAST[0]}..{PAST[-1]}'"
    )
    assert reports
    files = {file.path for file in client.list_artifacts(reports[0].info.run_id)}
    assert {"walk_forward.png", "walk_forward.json"} <= files
    assert len(client.get_metric_history(reports[0].info.run_id, "average_precision")) == len(PAST)
