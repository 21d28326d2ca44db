"""Runs on a real MLflow server."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow.artifacts
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from nightshift.errors import RegistryError
from nightshift.registry.tracking import Tracking
from tests.fakes.process import free_port
from tests.unit.registry.outputs import MANIFESTS, METRICS

pytestmark = pytest.mark.server
TAGS = {"nightshift.pipeline": "flight_delays", "nightshift.partition": "2013-01-05"}


@pytest.fixture
def tracking(mlflow_server: str) -> Tracking:
    return Tracking(mlflow_server)


@pytest.fixture
def client(mlflow_server: str) -> MlflowClient:
    return MlflowClient(mlflow_server)


def test_a_retry_finds_the_run_of_its_job(tracking: Tracking, client: MlflowClient, unique: str) -> None:
    first = tracking.find_or_create_run(unique, "job-a", "train 2013-01-05", TAGS)
    assert tracking.find_or_create_run(unique, "job-a", "another name", {}) == first
    assert tracking.find_or_create_run(unique, "job-b", "train 2013-01-06", TAGS) != first
    run = client.get_run(first)
    assert run.info.run_name == "train 2013-01-05"
    assert run.data.tags["nightshift.partition"] == "2013-01-05"


def test_writers_at_the_same_time_end_with_one_run(
    mlflow_server: str, client: MlflowClient, unique: str
) -> None:
    def find(_: int) -> str:
        return Tracking(mlflow_server).find_or_create_run(unique, "job-a", "train", TAGS)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(find, range(6)))
    winner = find(0)
    experiment = client.get_experiment_by_name(unique)
    assert experiment is not None
    live = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ACTIVE_ONLY)
    assert [run.info.run_id for run in live] == [winner]


def test_a_training_output_is_stored_whole(
    tracking: Tracking, client: MlflowClient, unique: str, training_output: Path
) -> None:
    run_id = tracking.find_or_create_run(unique, "job-a", "train", TAGS)
    tracking.log_training(run_id, training_output, MANIFESTS, {"airflow.url": "http://127.0.0.1/run"})
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == METRICS
    assert run.data.params == {"learning_rate": "0.06", "model": "logistic", "early_stopping": "true"}
    assert run.data.tags["airflow.url"] == "http://127.0.0.1/run"
    datasets = {one.dataset.name: one.dataset for one in run.inputs.dataset_inputs}
    assert set(datasets) == {"clean", "planes"}
    assert datasets["clean"].digest == "ab" * 18
    assert '"delta_table_version": 7' in datasets["clean"].source
    assert {file.path for file in client.list_artifacts(run_id)} >= {
        "pictures",
        "manifests.json",
        "holdout_predictions.parquet",
    }


def test_the_runs_model_loads_from_the_server_as_the_job_wrote_it(
    tracking: Tracking,
    unique: str,
    training_output: Path,
    mlflow_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    run_id = tracking.find_or_create_run(unique, "job-a", "train", TAGS)
    tracking.log_training(run_id, training_output, MANIFESTS)
    fetched = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"runs:/{run_id}/model"))
    assert _content(fetched) == _content(training_output / "model")


def _content(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "registered_model_meta"
    }


def test_a_second_call_changes_nothing(
    tracking: Tracking, client: MlflowClient, unique: str, training_output: Path
) -> None:
    run_id = tracking.find_or_create_run(unique, "job-a", "train", TAGS)
    tracking.log_training(run_id, training_output, MANIFESTS)
    before = client.get_run(run_id).to_dictionary()
    tracking.log_training(run_id, training_output, MANIFESTS, {"late": "tag"})
    tracking.fail(run_id, "a retry that came too late")
    assert client.get_run(run_id).to_dictionary() == before


def test_a_half_stored_output_is_completed_without_doubling(
    tracking: Tracking, client: MlflowClient, unique: str, training_output: Path
) -> None:
    run_id = tracking.find_or_create_run(unique, "job-a", "train", TAGS)
    tracking.log_training(run_id, training_output, MANIFESTS)
    client.delete_tag(run_id, "nightshift.logged")  # as if the worker died before its last step
    tracking.log_training(run_id, training_output, MANIFESTS)
    run = client.get_run(run_id)
    assert len(client.get_metric_history(run_id, "holdout_roc_auc")) == 1
    assert len(run.outputs.model_outputs) == 1
    assert len(run.inputs.dataset_inputs) == 2


def test_every_trial_becomes_a_nested_run(
    tracking: Tracking, client: MlflowClient, unique: str, tuning_output: Path
) -> None:
    run_id = tracking.find_or_create_run(unique, "job-t", "tune", TAGS)
    tracking.log_tuning(run_id, tuning_output)
    parent, trials = client.get_run(run_id), _trials(client, run_id)
    assert [run.info.status for run in trials] == ["FINISHED", "FINISHED", "FAILED", "KILLED"]
    assert trials[1].data.params == {"learning_rate": "0.02", "max_leaf_nodes": "9"}
    assert trials[1].data.metrics["value"] == 0.41
    history = client.get_metric_history(trials[1].info.run_id, "value")
    assert [(point.step, point.value) for point in history] == [(0, 0.3), (1, 0.35), (2, 0.41)]
    assert parent.data.metrics["best_value"] == 0.41
    assert parent.data.params["best_learning_rate"] == "0.02"
    assert [file.path for file in client.list_artifacts(run_id, "pictures")] == [
        "pictures/parameter_importance.png"
    ]


def test_trials_are_stored_once_also_after_a_crash_between_them(
    tracking: Tracking, client: MlflowClient, unique: str, tuning_output: Path
) -> None:
    run_id = tracking.find_or_create_run(unique, "job-t", "tune", TAGS)
    tracking.log_tuning(run_id, tuning_output)
    before = [run.info.run_id for run in _trials(client, run_id)]
    client.delete_tag(run_id, "nightshift.logged")
    client.delete_tag(before[2], "nightshift.logged")
    client.delete_run(before[3])
    tracking.log_tuning(run_id, tuning_output)
    after = _trials(client, run_id)
    assert [run.info.run_id for run in after][:3] == before[:3]
    assert len(after) == 4
    assert all(run.data.tags["nightshift.logged"] == "true" for run in after)


def _trials(client: MlflowClient, parent: str) -> list[mlflow.entities.Run]:
    experiment = client.get_run(parent).info.experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    return sorted(found, key=lambda run: int(run.data.tags["nightshift.trial"]))


def test_an_evaluation_joins_the_challengers_run(
    tracking: Tracking, client: MlflowClient, unique: str, training_output: Path, evaluation_output: Path
) -> None:
    run_id = tracking.find_or_create_run(unique, "job-a", "train", TAGS)
    tracking.log_training(run_id, training_output, MANIFESTS)
    for _ in range(2):
        tracking.log_evaluation(run_id, evaluation_output)
    metrics = client.get_run(run_id).data.metrics
    assert metrics["compared_challenger_average_precision"] == 0.44
    assert metrics["compared_champion_average_precision"] == 0.41
    assert len(client.get_metric_history(run_id, "compared_champion_roc_auc")) == 1


def test_a_failed_job_closes_its_run_with_the_reason(
    tracking: Tracking, client: MlflowClient, unique: str
) -> None:
    run_id = tracking.find_or_create_run(unique, "job-a", "train", TAGS)
    tracking.fail(run_id, "killed for memory")
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["nightshift.failure"]) == ("FAILED", "killed for memory")


def test_an_output_without_metrics_says_which_file_is_missing(
    tracking: Tracking, unique: str, tmp_path: Path
) -> None:
    run_id = tracking.find_or_create_run(unique, "job-a", "train", TAGS)
    with pytest.raises(RegistryError, match=r"params\.json cannot be read"):
        tracking.log_training(run_id, tmp_path, {})


def test_a_server_that_is_down_is_told_in_seconds_with_what_to_do() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    started = time.monotonic()
    with pytest.raises(RegistryError, match=f"does not answer at {uri}.*make up.*MLFLOW_TRACKING_URI"):
        Tracking(uri).find_or_create_run("flights", "job-a", "train", {})
    assert time.monotonic() - started < 5


def test_the_page_of_a_run_is_a_link_a_browser_can_open(
    tracking: Tracking, client: MlflowClient, unique: str, mlflow_server: str
) -> None:
    run_id = tracking.find_or_create_run(unique, "job-a", "train", TAGS)
    experiment = client.get_run(run_id).info.experiment_id
    assert tracking.page(run_id) == f"{mlflow_server}/#/experiments/{experiment}/runs/{run_id}"
