"""Whole training and evaluation jobs through the command line's main."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from jobs.metrics import METRICS
from tests.fakes.job_inputs import PARTITIONS, job_json, write_job

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from tests.fakes.job_inputs import JobInputs

PICTURES = ("roc", "precision_recall", "calibration", "confusion", "feature_importance")


def run(folder: Path, inputs: Path, document: dict[str, Any]) -> int:
    spec = write_job(folder, document)
    places = {
        "spec": spec,
        "input": inputs,
        "output": folder / "output",
        "checkpoints": folder / "checkpoints",
    }
    return main(
        [document["kind"], *(word for name, path in places.items() for word in (f"--{name}", str(path)))]
    )


def table(path: Path) -> pd.DataFrame:
    return pq.ParquetFile(path).read().to_pandas()


@pytest.fixture(scope="module")
def trained(job_inputs: JobInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    assert run(folder, job_inputs.folder, job_json()) == 0
    return folder / "output"


@pytest.fixture
def inputs(job_inputs: JobInputs, trained: Path, tmp_path: Path) -> Path:
    """The input of an evaluation: the data by links, and the challenger."""
    folder = tmp_path / "input"
    (folder / "models").mkdir(parents=True)
    for channel in ("clean", "weather", "planes"):
        (folder / channel).symlink_to(job_inputs.folder / channel)
    shutil.copytree(trained / "model", folder / "models" / "challenger")
    return folder


def test_training_writes_all_that_the_contract_promises(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "model",
        "environment.json",
        "metrics.json",
        "params.json",
        "pictures",
        "holdout_predictions.parquet",
    }
    for name in PICTURES:
        picture = (trained / "pictures" / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 8_000
    metrics = json.loads((trained / "metrics.json").read_text())
    for split in ("train", "validation", "holdout"):
        assert metrics[f"{split}_rows"] > 0
        assert all(np.isfinite(metrics[f"{split}_{name}"]) for name in METRICS)
    params = json.loads((trained / "params.json").read_text())
    assert (params["max_iter"], params["model"]) == (60, "hist_gradient_boosting")
    assert params["holdout_days"] == "2013-01-18 .. 2013-01-20 (3)"


def test_the_holdout_predictions_are_of_labelled_rows_once_each(trained: Path, job_inputs: JobInputs) -> None:
    rows = table(trained / "holdout_predictions.parquet")
    assert list(rows.columns) == ["partition", "row_id", "label", "prediction"]
    known = 0
    for day in PARTITIONS[17:20]:
        clean = table(job_inputs.folder / "clean" / f"partition={day}" / "part-0.parquet")
        known += clean["arr_delay"].notna().sum()
    assert len(rows) == known == len(rows.drop_duplicates(["partition", "row_id"]))
    assert rows["prediction"].between(0, 1).all()


def test_the_same_job_gives_the_same_bytes(trained: Path, job_inputs: JobInputs, tmp_path: Path) -> None:
    assert run(tmp_path, job_inputs.folder, job_json()) == 0
    for name in ("holdout_predictions.parquet", "metrics.json", "params.json"):
        assert (tmp_path / "output" / name).read_bytes() == (trained / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": {"train": []}}, "splits.train is empty"),
        (
            {"splits": {"train": ["2013-01-10"], "holdout": ["2013-01-09"]}},
            "train ends on 2013-01-10, but holdout begins on 2013-01-09",
        ),
        (
            {"splits": {"train": ["2013-01-10"], "holdout": ["2013-02-09"]}},
            "holdout 2013-02-09 .. 2013-02-09 has no",
        ),
        ({"model": "torch_mpl"}, "did you mean 'torch_mlp'?"),
        ({"hyperparameters": {"leaves": 1}}, "no hyperparameter 'leaves'"),
    ],
    ids=["no-train", "future", "no-rows", "model", "hyperparameter"],
)
def test_a_training_that_cannot_be_is_refused(
    changes: dict[str, Any], message: str, job_inputs: JobInputs, tmp_path: Path
) -> None:
    assert run(tmp_path, job_inputs.folder, job_json(**changes)) == 2
    assert message in json.loads((tmp_path / "output" / "error.json").read_text())["message"]


def test_a_challenger_without_a_champion_is_judged_as_in_its_training(
    inputs: Path, trained: Path, tmp_path: Path
) -> None:
    assert run(tmp_path, inputs, job_json("evaluate")) == 0
    found = json.loads((tmp_path / "output" / "evaluation.json").read_text())
    known = json.loads((trained / "metrics.json").read_text())
    assert found["partitions"] == list(PARTITIONS[17:20])
    assert found["rows"] == known["holdout_rows"]
    assert list(found["models"]) == ["challenger"]
    assert found["models"]["challenger"]["metrics"] == {name: known[f"holdout_{name}"] for name in METRICS}
    rows = table(tmp_path / "output" / "predictions.parquet")
    assert list(rows.columns) == ["partition", "row_id", "label", "challenger", "champion"]
    assert rows["champion"].isna().all()


def test_both_models_are_judged_on_the_same_rows(inputs: Path, tmp_path: Path) -> None:
    shutil.copytree(inputs / "models" / "challenger", inputs / "models" / "champion")
    assert run(tmp_path, inputs, job_json("evaluate")) == 0
    found = json.loads((tmp_path / "output" / "evaluation.json").read_text())["models"]
    assert found["champion"]["metrics"] == found["challenger"]["metrics"]
    assert found["champion"]["signature"] == found["challenger"]["signature"]
    assert found["champion"]["size_bytes"] == found["challenger"]["size_bytes"] > 1000
    assert 0 < found["champion"]["latency_ms"] < 10_000
    rows = table(tmp_path / "output" / "predictions.parquet")
    assert rows["champion"].equals(rows["challenger"].rename("champion"))


def test_columns_that_rows_are_grouped_by_go_beside_their_predictions(inputs: Path, tmp_path: Path) -> None:
    columns = ["carrier", "tailnum"]  # a feature, and a column that no feature is
    assert run(tmp_path, inputs, job_json("evaluate", evaluation={"columns": columns})) == 0
    rows = table(tmp_path / "output" / "predictions.parquet").set_index(["partition", "row_id"])
    day = rows.index.get_level_values(0)[0]
    source = pq.read_table(next((inputs / "clean" / f"partition={day}").glob("*.parquet"))).to_pandas()
    mine = rows.loc[day]
    known = source.set_index("row_id").loc[mine.index]
    assert mine["slice_carrier"].astype(str).tolist() == known["carrier"].tolist()
    assert mine["slice_tailnum"].astype(str).tolist() == known["tailnum"].tolist()


def test_the_signature_says_what_a_model_takes_and_gives(inputs: Path, tmp_path: Path) -> None:
    assert run(tmp_path, inputs, job_json("evaluate")) == 0
    found = json.loads((tmp_path / "output" / "evaluation.json").read_text())["models"]["challenger"]
    assert found["signature"]["inputs"]["carrier"] == "string"
    assert found["signature"]["inputs"]["distance"] == "double"
    assert len(found["signature"]["outputs"]) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [(["carier"], "have no column carier"), ("carrier", "must be a list of names")],
    ids=["unknown", "no list"],
)
def test_a_column_that_is_not_there_is_refused(
    columns: Any, message: str, inputs: Path, tmp_path: Path
) -> None:
    assert run(tmp_path, inputs, job_json("evaluate", evaluation={"columns": columns})) == 2
    assert message in json.loads((tmp_path / "output" / "error.json").read_text())["message"]


@pytest.mark.parametrize("without", ["challenger", "MLmodel"])
def test_an_evaluation_without_a_challenger_is_refused(without: str, inputs: Path, tmp_path: Path) -> None:
    gone = inputs / "models" / "challenger"
    if without == "challenger":
        shutil.rmtree(gone)
    else:
        (gone / "MLmodel").unlink()
    assert run(tmp_path, inputs, job_json("evaluate")) == 2
