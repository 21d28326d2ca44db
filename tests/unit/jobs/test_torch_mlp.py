"""The PyTorch model: determinism, checkpoints and resume, several processes, safe saving."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.pyfunc
import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import models
from jobs.contract import BadInput
from jobs.metrics import compute
from jobs.models import torch_mlp
from tests.fakes.job_inputs import job_json, write_job

if TYPE_CHECKING:
    from jobs.models import Report
    from jobs.models.torch_mlp import TorchMlp
    from tests.fakes.job_inputs import JobInputs
    from tests.unit.jobs.conftest import Splits

INCLUDE = Path(__file__).parents[3] / "include"
OPTIONS: dict[str, Any] = {"max_epochs": 6, "patience": 6, "checkpoint_every_s": 0.0}


def fit(
    splits: Splits, checkpoints: Path | None = None, report: Report | None = None, **options: Any
) -> TorchMlp:
    return torch_mlp.fit(
        splits.train,
        splits.validation,
        target="late",
        hyperparameters=OPTIONS | options,
        seed=1,
        checkpoints=checkpoints,
        report=report,
    )


@pytest.fixture(scope="module")
def fitted(splits: Splits) -> TorchMlp:
    return fit(splits)


def test_it_finds_late_flights(fitted: TorchMlp, splits: Splits) -> None:
    found = compute(splits.holdout["late"].to_numpy(), fitted.predict_proba(splits.holdout))
    assert found["roc_auc"] > 0.6
    assert found["average_precision"] > 1.3 * splits.holdout["late"].mean()


def test_it_stops_when_the_validation_days_say_so(splits: Splits) -> None:
    told: list[int] = []
    fit(
        splits,
        None,
        lambda step, value: bool(told.append(step)),
        max_epochs=60,
        patience=2,
        learning_rate=0.02,
    )
    assert 3 <= len(told) < 60


def test_a_trial_that_is_given_up_is_pruned(splits: Splits) -> None:
    with pytest.raises(models.Pruned, match="after 2 epochs"):
        fit(splits, None, lambda step, value: step == 2)


def test_a_resumed_fit_ends_like_one_that_was_never_interrupted(
    fitted: TorchMlp, splits: Splits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(splits, tmp_path, max_epochs=3)
    resumed = fit(splits, tmp_path)
    assert "resumed after epoch 3" in capsys.readouterr().out
    np.testing.assert_array_equal(resumed.predict_proba(splits.holdout), fitted.predict_proba(splits.holdout))


@pytest.mark.parametrize(
    ("damaged", "resumed"), [(1, True), (2, False)], ids=["newest of two", "both, so it starts over"]
)
def test_half_written_checkpoints_are_ignored_and_the_fit_ends_the_same(
    fitted: TorchMlp,
    splits: Splits,
    tmp_path: Path,
    damaged: int,
    resumed: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit(splits, tmp_path, max_epochs=3)
    for path in sorted(tmp_path.glob("epoch-*.pt"), reverse=True)[:damaged]:
        os.truncate(path, path.stat().st_size // 2)
    capsys.readouterr()
    again = fit(splits, tmp_path)
    said = capsys.readouterr().out
    assert said.count("is ignored: it is damaged or half-written") == damaged
    assert "checkpoint epoch-000003.pt is ignored" in said
    assert ("resumed after epoch 2" in said) is resumed
    np.testing.assert_array_equal(again.predict_proba(splits.holdout), fitted.predict_proba(splits.holdout))


def test_a_checkpoint_of_another_fit_is_ignored(
    splits: Splits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(splits, tmp_path, max_epochs=1)
    fit(splits, tmp_path, max_epochs=1, learning_rate=0.01)
    assert (
        "epoch-000001.pt is ignored: it belongs to other data, parameters or seed" in capsys.readouterr().out
    )


def test_a_saved_model_scores_the_same_by_our_loader_and_by_mlflow(
    fitted: TorchMlp, splits: Splits, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    fitted.save(folder, splits.train.head())
    expected = fitted.predict_proba(splits.holdout)
    np.testing.assert_array_equal(models.load(folder).predict_proba(splits.holdout), expected)
    pyfunc = mlflow.pyfunc.load_model(str(folder))
    np.testing.assert_array_equal(pyfunc.predict(splits.holdout[fitted.encoder.features]), expected)
    files = {path.name for path in folder.rglob("*")}
    assert {"weights.npz", "encoder.json", "input_example.json"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pth", ".pt"))]


def test_an_object_among_the_weights_is_refused(fitted: TorchMlp, splits: Splits, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model", splits.train.head())
    weights = tmp_path / "model" / "artifacts" / "weights.npz"
    np.savez(weights, mean=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        models.load(tmp_path / "model")


def test_values_never_seen_missing_or_absurd_are_scored(fitted: TorchMlp, splits: Splits) -> None:
    rows = splits.holdout.head(3).copy()
    rows["carrier"] = ["ZZ", None, rows["carrier"].iloc[2]]
    rows["temp"], rows["humid"] = np.nan, 1e30
    assert np.isfinite(fitted.predict_proba(rows)).all()


def test_an_unknown_hyperparameter_is_refused(splits: Splits) -> None:
    with pytest.raises(BadInput, match="no hyperparameter depth"):
        fit(splits, None, None, depth=3)


class TestAsAJob:
    """Real processes: one that is killed, and two that train together."""

    @pytest.fixture
    def command(self, job_inputs: JobInputs, tmp_path: Path) -> list[str]:
        options = OPTIONS | {"max_epochs": 20, "patience": 20}
        spec = write_job(tmp_path, job_json(model="torch_mlp", hyperparameters=options))
        places = {
            "spec": spec,
            "input": job_inputs.folder,
            "output": tmp_path / "out",
            "checkpoints": tmp_path / "c",
        }
        return [
            "jobs",
            "train",
            *(word for name, path in places.items() for word in (f"--{name}", str(path))),
        ]

    def test_a_job_killed_halfway_goes_on_and_ends_the_same(
        self, command: list[str], splits: Splits, tmp_path: Path
    ) -> None:
        env = os.environ | {"PYTHONPATH": str(INCLUDE)}
        with subprocess.Popen(
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, env=env
        ) as job:
            assert job.stdout is not None
            assert any(line.startswith("[checkpoint] epoch=4") for line in job.stdout)
            job.send_signal(signal.SIGKILL)
        assert job.returncode == -signal.SIGKILL
        again = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, env=env, check=True
        )
        assert "resumed after epoch " in again.stdout
        never_killed = fit(splits, None, max_epochs=20, patience=20)
        written = pq.ParquetFile(tmp_path / "out" / "holdout_predictions.parquet").read().to_pandas()
        expected = never_killed.predict_proba(splits.holdout)
        np.testing.assert_array_equal(written["prediction"].to_numpy(), expected)

    def test_two_processes_learn_what_one_learns(
        self, command: list[str], splits: Splits, tmp_path: Path
    ) -> None:
        one = {"max_epochs": 2, "dropout": 0.0}  # each process would drop other units
        write_job(tmp_path, job_json(model="torch_mlp", hyperparameters=OPTIONS | one))
        launcher = ["torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", "--nproc-per-node=2"]
        env = os.environ | {"PYTHONPATH": str(INCLUDE), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        done = subprocess.run(
            [sys.executable, "-m", *launcher, "-m", *command],
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("[metric] holdout_roc_auc") == 1
        found = json.loads((tmp_path / "out" / "metrics.json").read_text())
        alone = compute(
            splits.holdout["late"].to_numpy(), fit(splits, None, None, **one).predict_proba(splits.holdout)
        )
        assert found["holdout_log_loss"] == pytest.approx(alone["log_loss"], rel=1e-3)
