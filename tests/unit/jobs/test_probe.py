"""The probe job: real rows, and the numbers that a batch gives for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from tests.fakes.champions import link_inputs, save_champion
from tests.fakes.job_inputs import PARTITIONS, JobInputs, job_json, write_job

if TYPE_CHECKING:
    from pathlib import Path


def run(kind: str, folder: Path, rows: int, day: str = PARTITIONS[-1]) -> tuple[int, Path]:
    document = job_json(kind, scoring={"batch_rows": rows}, splits={"holdout": [day]})
    spec, output = write_job(folder / kind, document), folder / kind / "output"
    output.mkdir()
    words = ["--spec", str(spec), "--input", str(folder / "input"), "--output", str(output)]
    return main([kind, *words]), output


@pytest.fixture
def folder(job_inputs: JobInputs, tmp_path: Path) -> Path:
    link_inputs(job_inputs, tmp_path / "input")
    save_champion("hist_gradient_boosting", job_inputs, tmp_path / "input")
    return tmp_path


def test_its_predictions_are_those_of_a_score_job_row_for_row(folder: Path) -> None:
    code, output = run("probe", folder, 25)
    assert code == 0
    found = [json.loads(line) for line in (output / "probe.jsonl").read_text().splitlines()]
    assert len(found) == 25
    assert run("score", folder, 400)[0] == 0
    table = pq.read_table(folder / "score" / "output" / "predictions" / PARTITIONS[-1])
    scored = dict(zip(table["row_id"].to_pylist(), table["prediction"].to_pylist(), strict=True))
    assert {each["row"]["row_id"]: each["prediction"] for each in found}.items() <= scored.items()
    assert "late" not in found[0]["row"]


def test_a_day_without_rows_is_bad_input(folder: Path) -> None:
    assert run("probe", folder, 25, day="2013-03-01")[0] == 2
