"""The trial job: one fit whose value a cloud's tuner reads from the log."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from jobs.__main__ import main
from tests.fakes.job_inputs import JobInputs, job_json, write_job

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SPACE = {"learning_rate": {"type": "float", "low": 0.02, "high": 0.3, "log": True}}
METRIC = re.compile(r"\[metric\] validation_roc_auc=([0-9eE.+-]+)(?: step=(\d+))?$", re.MULTILINE)


def run(folder: Path, inputs: JobInputs, **changes: Any) -> int:
    tuning = {"search_space": SPACE, "metric": "roc_auc"}
    values = {"learning_rate": 0.1, "max_iter": 60}
    spec = write_job(folder, job_json("trial", **{"tuning": tuning, "hyperparameters": values, **changes}))
    places = {"spec": spec, "input": inputs.folder, "output": folder / "out", "checkpoints": folder / "kept"}
    return main(["trial", *[word for name, path in places.items() for word in (f"--{name}", str(path))]])


def test_the_last_value_in_the_log_is_the_objective(
    tmp_path: Path, job_inputs: JobInputs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, job_inputs) == 0
    *curve, last = METRIC.findall(capsys.readouterr().out)
    trial = json.loads((tmp_path / "out" / "trial.json").read_text())
    assert [int(step) for _, step in curve] == [step for step, _ in trial["intermediate"]]
    assert [int(step) for _, step in curve] == sorted(int(step) for _, step in curve)
    assert last == (f"{trial['value']:.6g}", "")
    assert trial["params"] == {"learning_rate": 0.1}
    assert trial["metric"] == "roc_auc"
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["validation_roc_auc"] == trial["value"]


def test_a_trial_without_a_search_is_bad_input(
    tmp_path: Path, job_inputs: JobInputs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, job_inputs, tuning=None) == 2
    assert "a trial needs the field tuning" in capsys.readouterr().out.splitlines()[-1]


def test_trials_that_share_a_checkpoint_folder_keep_apart(tmp_path: Path, job_inputs: JobInputs) -> None:
    changes = {"model": "torch_mlp", "hyperparameters": {"max_epochs": 1, "checkpoint_every_s": 0.0}}
    for rate in (0.001, 0.01):
        changes["hyperparameters"]["learning_rate"] = rate  # type: ignore[index]
        assert run(tmp_path, job_inputs, **changes) == 0
    folders = list((tmp_path / "kept").iterdir())
    assert [len(list(folder.glob("epoch-*.pt"))) for folder in folders] == [1, 1]
