"""The record of a training, as the register task leaves it in MLflow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nightshift.errors import RegistryError
from nightshift.platforms.base import JobSpec
from nightshift.platforms.code import code_sha256
from nightshift.provenance.record import FORMAT, JOB, RECORD, days_seen_by, read_record, seen_days
from nightshift.registry.artifacts import Artifacts
from nightshift.registry.models import Models
from nightshift.registry.tracking import Tracking
from tests.fakes.job_inputs import PARTITIONS
from tests.unit.provenance.deployment import DAG_RUN

if TYPE_CHECKING:
    from tests.unit.provenance.conftest import Nights

pytestmark = pytest.mark.server


def test_a_record_holds_all_that_is_known_of_a_training(nights: Nights) -> None:
    settings, trees = nights.deployment.settings, nights.trees
    record = read_record(settings.mlflow_tracking_uri, trees.run_id)
    assert record is not None
    assert record["fingerprint"] == trees.fingerprint
    assert record["code_sha256"] == code_sha256(settings.jobs_dir)
    assert record["splits"] == nights.plan["splits"]
    clean = record["manifests"]["clean"]
    assert (clean["version"], clean["partitions"]) == (12, list(PARTITIONS[3:12]))
    assert record["manifests"]["planes"]["rows"] == 3322
    assert record["parameters"]["max_iter"] == 40
    assert record["metrics"]["holdout_roc_auc"] > 0.5
    assert record["environment"]["packages"]["scikit-learn"]
    assert record["environment"]["gpu"] == ""
    assert any(line.startswith("skops==") for line in record["environment"]["requirements"])
    assert [job["verb"] for job in record["jobs"]] == ["tune", "train", "evaluate"]
    assert record["jobs"][1]["cost_usd"] == pytest.approx(record["jobs"][1]["seconds"] / 1000)
    assert record["tuning"]["best"] == {"number": 1, "value": 0.41, "params": {"learning_rate": 0.02}}
    assert Tracking(settings.mlflow_tracking_uri).page(record["tuning"]["run_id"])
    assert record["compared_with"] == ""
    assert record["dag_run"]["url"] == (
        "http://127.0.0.1:8080/dags/flights_retrain/runs/manual__2013-01-12T02%3A00%3A00%2B00%3A00"
    )
    assert {key: record["dag_run"][key] for key in DAG_RUN} == DAG_RUN


def test_a_record_says_how_every_day_was_validated_and_how_many_rows_were_read(nights: Nights) -> None:
    deployment = nights.deployment
    record = read_record(deployment.settings.mlflow_tracking_uri, nights.trees.run_id)
    assert record is not None
    days = record["validation"]
    assert list(days) == list(PARTITIONS[3:12])
    rows = deployment.lake.table("clean").partitions()
    assert {day: said["used"] for day, said in days.items()} == {day: rows[day].rows for day in days}
    assert days[PARTITIONS[3]]["status"] == "passed"
    assert days[PARTITIONS[11]] == {"used": rows[PARTITIONS[11]].rows}  # it has no report
    name = deployment.pipeline.pipeline
    assert record["reports"][PARTITIONS[3]].endswith(f"/nightshift/reports/{name}/{PARTITIONS[3]}")


def test_the_job_is_kept_as_it_ran_without_anything_to_sign_in_with(nights: Nights) -> None:
    uri = nights.deployment.settings.mlflow_tracking_uri
    told = Artifacts(uri).read_json(nights.trees.run_id, JOB)
    spec = JobSpec.from_dict(told)
    assert spec.fingerprint == nights.trees.fingerprint
    assert {entry.channel for entry in spec.inputs} == {"clean", "weather", "planes"}
    assert "options" not in json.dumps(told)


def test_a_register_task_that_runs_again_keeps_what_was_known_of_the_data(nights: Nights) -> None:
    deployment, day = nights.deployment, PARTITIONS[3]
    uri, run_id = deployment.settings.mlflow_tracking_uri, nights.network.run_id
    before = read_record(uri, run_id)
    deployment.report(day, quarantined=7)  # validated again, with another verdict
    try:
        found = deployment.register(nights.plan, nights.trained["torch_mlp"], compared="9")
    finally:
        deployment.report(day)
    assert found["version"] == nights.network.version
    after = read_record(uri, run_id)
    assert before is not None
    assert after == {**before, "compared_with": "9"}
    deployment.register(nights.plan, nights.trained["torch_mlp"], compared=nights.trees.version)


def test_the_days_that_a_version_has_seen_are_those_it_was_fitted_and_stopped_on(nights: Nights) -> None:
    models = Models(nights.deployment.settings.mlflow_tracking_uri)
    assert days_seen_by(models, nights.trees) == list(PARTITIONS[5:10])
    assert seen_days(
        {"splits": {"validation": ["2013-01-02"], "train": ["2013-01-01"], "holdout": ["x"]}}
    ) == [
        "2013-01-01",
        "2013-01-02",
    ]


def test_of_a_version_without_a_record_nothing_is_made_up(mlflow_server: str) -> None:
    run_id = Tracking(mlflow_server).find_or_create_run("old", "before-records", "train", {})
    assert read_record(mlflow_server, run_id) is None
    assert read_record(mlflow_server, "") is None


def test_a_record_of_a_newer_version_is_refused(mlflow_server: str) -> None:
    run_id = Tracking(mlflow_server).find_or_create_run("new", "from-tomorrow", "train", {})
    Artifacts(mlflow_server).write(run_id, {RECORD: json.dumps({"format": FORMAT + 1}).encode()})
    with pytest.raises(RegistryError, match="use the version of Nightshift that wrote it"):
        read_record(mlflow_server, run_id)
