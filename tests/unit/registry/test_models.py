"""Model versions on a real MLflow server."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from mlflow import MlflowClient

from nightshift.errors import ModelVersionAbsent, RegistryError
from nightshift.registry.models import Models, ModelVersion
from nightshift.registry.tracking import Tracking
from tests.unit.registry.outputs import MANIFESTS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.server
METRICS = {"average_precision": 0.1 + 0.2, "log_loss": 1e-9}


@pytest.fixture
def models(mlflow_server: str) -> Models:
    return Models(mlflow_server)


@pytest.fixture(scope="session")
def run_id(mlflow_server: str, training_output: Path) -> str:
    """A run that holds a trained model."""
    tracking = Tracking(mlflow_server)
    run = tracking.find_or_create_run("registry", "job-with-a-model", "train", {})
    tracking.log_training(run, training_output, MANIFESTS)
    return run


def test_a_version_carries_what_it_was_made_of(models: Models, unique: str, run_id: str) -> None:
    version = models.register(unique, run_id, "2013-01-05", "f" * 64, {**METRICS, "roc_auc": None})
    assert version == ModelVersion(unique, "1", run_id, "2013-01-05", "f" * 64, METRICS)
    assert version.uri == f"models:/{unique}/1"
    assert models.get(unique, "1") == version
    assert json.loads(json.dumps(version.to_dict()))["metrics"] == METRICS


def test_the_same_fingerprint_and_partition_register_once(models: Models, unique: str, run_id: str) -> None:
    first = models.register(unique, run_id, "2013-01-05", "f1", METRICS)
    assert models.register(unique, run_id, "2013-01-05", "f1", {}) == first
    assert models.register(unique, run_id, "2013-01-05", "f2", METRICS).version == "2"
    assert models.register(unique, run_id, "2013-01-06", "f1", METRICS).version == "3"


def test_writers_at_the_same_time_end_with_one_version(
    mlflow_server: str, models: Models, unique: str, run_id: str
) -> None:
    def register(_: int) -> str:
        return Models(mlflow_server).register(unique, run_id, "2013-01-05", "f1", METRICS).version

    with ThreadPoolExecutor(6) as pool:
        versions = set(pool.map(register, range(6)))
    assert versions == {"1"}
    live = MlflowClient(mlflow_server).search_model_versions(f"name = '{unique}'")
    assert [str(one.version) for one in live] == ["1"]


def test_a_run_without_a_model_cannot_be_registered(models: Models, mlflow_server: str, unique: str) -> None:
    empty = Tracking(mlflow_server).find_or_create_run(unique, "job-a", "train", {})
    with pytest.raises(RegistryError, match="has no model to register"):
        models.register(unique, empty, "2013-01-05", "f1", {})


def test_there_is_no_champion_before_the_first_promotion(models: Models, unique: str, run_id: str) -> None:
    assert models.champion(unique) is None
    models.register(unique, run_id, "2013-01-05", "f1", METRICS)
    assert models.champion(unique) is None


def test_an_alias_reads_back_as_set(models: Models, unique: str, run_id: str) -> None:
    version = models.register(unique, run_id, "2013-01-05", "f1", METRICS)
    for _ in range(2):
        assert models.set_alias(unique, "champion", version.version) == version
    assert models.champion(unique) == version


def test_a_version_that_is_not_there_is_our_error(models: Models, unique: str) -> None:
    with pytest.raises(ModelVersionAbsent, match="has no version 9"):
        models.get(unique, "9")


def test_a_downloaded_model_predicts_and_is_fetched_once(
    models: Models, unique: str, run_id: str, tmp_path: Path
) -> None:
    import mlflow.pyfunc

    version = models.register(unique, run_id, "2013-01-05", "f1", METRICS)
    folder = models.download(version, tmp_path)
    assert folder == tmp_path / unique / "1"
    stamp = (folder / "MLmodel").stat().st_mtime_ns
    assert models.download(version, tmp_path) == folder
    assert (folder / "MLmodel").stat().st_mtime_ns == stamp
    assert [path.name for path in folder.parent.iterdir()] == ["1"]
    predicted = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame({"distance": [0.0, 1.0]}))
    assert predicted.tolist() == [False, True]


def test_the_registered_model_loads_by_its_uri(
    models: Models, unique: str, run_id: str, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    version = models.register(unique, run_id, "2013-01-05", "f1", METRICS)
    predicted = mlflow.pyfunc.load_model(version.uri).predict(pd.DataFrame({"distance": [0.9]}))
    assert predicted.tolist() == [True]
