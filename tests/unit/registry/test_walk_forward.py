"""The walk-forward report on a real MLflow server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from nightshift.registry.models import Models
from nightshift.registry.tracking import Tracking
from nightshift.registry.walk_forward import log_walk_forward, points_of
from tests.unit.registry.outputs import MANIFESTS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.server
DAYS = [f"2013-01-{day:02d}" for day in range(5, 12)]


def test_a_backfill_leaves_a_picture_and_every_metric_by_partition(
    mlflow_server: str, unique: str, training_output: Path, tmp_path: Path
) -> None:
    tracking, models = Tracking(mlflow_server), Models(mlflow_server)
    trained = tracking.find_or_create_run(unique, "job", "train", {})
    tracking.log_training(trained, training_output, MANIFESTS)
    for number, day in enumerate(DAYS):
        models.register(unique, trained, day, f"f{day}", {"roc_auc": 0.6 + 0.01 * number, "brier": 0.2})
    newest = models.register(unique, trained, DAYS[0], "again", {"roc_auc": 0.9})

    versions = models.by_partition(unique)
    assert sorted(versions) == DAYS
    assert versions[DAYS[0]] == newest
    points = points_of(versions, [*DAYS, "2013-01-30"])
    assert [point.partition for point in points] == DAYS

    run = log_walk_forward(tracking, unique, "b1", points[:-1], "roc_auc")
    assert log_walk_forward(tracking, unique, "b1", points, "roc_auc") == run  # cleared and run again
    client = MlflowClient(mlflow_server)
    history = client.get_metric_history(run, "roc_auc")
    assert [round(each.value, 2) for each in sorted(history, key=lambda each: each.step)] == [
        0.9, 0.61, 0.62, 0.63, 0.64, 0.65, 0.66,
    ]  # fmt: skip
    assert len(client.get_metric_history(run, "brier")) == len(DAYS) - 1
    folder = download_artifacts(run_id=run, tracking_uri=mlflow_server, dst_path=str(tmp_path))
    assert (tmp_path / "walk_forward.png").read_bytes().startswith(b"\x89PNG"), folder
    told = json.loads((tmp_path / "walk_forward.json").read_text())
    assert [each["partition"] for each in told] == DAYS
    assert client.get_run(run).info.run_name == f"walk-forward {DAYS[0]}..{DAYS[-2]}"
