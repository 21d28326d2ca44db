"""MLflow goes away while a night is registered, and comes back: one run a job, one version, nothing twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from nightshift.errors import RegistryError
from nightshift.registry.models import Models
from nightshift.registry.tracking import Tracking
from tests.fakes.cut_line import cut_line
from tests.fakes.mlflow import mlflow_at
from tests.fakes.process import free_port
from tests.unit.registry.outputs import MANIFESTS, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nightshift.registry.models import ModelVersion
    from tests.fakes.cut_line import CutLine

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Night:
    """What a night hands to the registry, as ``RegisterOperator`` does, call for call."""

    name: str
    tuning: Path
    training: Path
    evaluation: Path

    def register(self, uri: str) -> ModelVersion:
        """All of it; may be called again."""
        tracking = Tracking(uri)
        run = tracking.find_or_create_run(self.name, "job-tune", "tune", {})
        tracking.log_tuning(run, self.tuning)
        run = tracking.find_or_create_run(self.name, "job-train", "train", {})
        tracking.log_training(run, self.training, MANIFESTS)
        tracking.log_evaluation(run, self.evaluation)
        return Models(uri).register(self.name, run, "2013-01-05", "f" * 64, METRICS)

    def check(self, uri: str, version: ModelVersion) -> None:
        """One run for each job and trial, one version, every number once."""
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(self.name)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        jobs = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        assert sorted(run.data.tags["nightshift.job"] for run in jobs) == ["job-train", "job-tune"]
        assert len(runs) - len(jobs) == 4
        assert {run.data.tags["nightshift.logged"] for run in runs} == {"true"}
        train = next(run for run in jobs if run.data.tags["nightshift.job"] == "job-train")
        assert len(client.get_metric_history(train.info.run_id, "holdout_roc_auc")) == 1
        assert len(train.outputs.model_outputs) == 1
        (only,) = client.search_model_versions(f"name = '{self.name}'")
        assert (only.version, only.run_id) == (version.version, train.info.run_id)


@pytest.fixture
def night(unique: str, tuning_output: Path, training_output: Path, evaluation_output: Path) -> Night:
    return Night(unique, tuning_output, training_output, evaluation_output)


@pytest.fixture
def line(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CutLine]:
    """The way to the server, and a client that does not try again by itself."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with cut_line(mlflow_server) as made:
        yield made


@pytest.mark.parametrize("lose_reply", [False, True], ids=["refused", "reply lost"])
@pytest.mark.parametrize("tenths", [1, 4, 7, 9])
def test_a_line_that_is_cut_anywhere_in_a_registration_is_made_good_by_a_retry(
    line: CutLine, mlflow_server: str, night: Night, tenths: int, lose_reply: bool
) -> None:
    whole = Night(f"{night.name}_whole", night.tuning, night.training, night.evaluation)
    whole.register(line.url)
    line.cut(line.passed * tenths // 10, lose_reply=lose_reply)
    with pytest.raises(RegistryError, match=f"MLflow (at|does not answer at) {line.url}"):
        night.register(line.url)
    line.mend()
    night.check(mlflow_server, night.register(line.url))


def test_a_server_that_dies_between_two_steps_loses_and_doubles_nothing(night: Night, tmp_path: Path) -> None:
    port = free_port()
    with mlflow_at(tmp_path, port) as uri:
        tracking = Tracking(uri)
        run = tracking.find_or_create_run(night.name, "job-train", "train", {})
        tracking.log_training(run, night.training, MANIFESTS)
    with pytest.raises(RegistryError, match=f"MLflow does not answer at {uri}"):
        night.register(uri)
    with mlflow_at(tmp_path, port) as uri:
        night.check(uri, night.register(uri))
