"""The features job: what a model reads of every row, as JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from jobs.contract import JobSpec
from jobs.features import build, columns
from tests.fakes.champions import link_inputs, save_champion
from tests.fakes.job_inputs import PARTITIONS, JobInputs, job_json, write_job

if TYPE_CHECKING:
    from pathlib import Path

DAYS = PARTITIONS[-2:]


def run(folder: Path, **changes: Any) -> int:
    spec = write_job(folder, job_json("features", **{"splits": {"holdout": DAYS}, **changes}))
    places = {"spec": spec, "input": folder / "input", "output": folder / "out", "checkpoints": folder / "c"}
    return main(["features", *[word for name, path in places.items() for word in (f"--{name}", str(path))]])


@pytest.fixture(scope="module")
def written(job_inputs: JobInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a features job that went well, in parts of 400 rows."""
    folder = tmp_path_factory.mktemp("features")
    link_inputs(job_inputs, folder / "input")
    assert run(folder) == 0
    return folder


def lines(folder: Path, day: str) -> list[dict[str, Any]]:
    parts = sorted((folder / "out" / "features" / day).iterdir())
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def clean_ids(folder: Path, day: str) -> list[int]:
    table = pq.read_table(folder / "input" / "clean" / f"partition={day}" / "part-0.parquet")
    return sorted(table["row_id"].to_pylist())


def test_every_clean_row_is_a_line_and_counted(written: Path) -> None:
    counts = json.loads((written / "out" / "counts.json").read_text())
    for day in DAYS:
        ids = clean_ids(written, day)
        assert [row["row_id"] for row in lines(written, day)] == ids
        assert counts["partitions"][day] == {"rows_in": len(ids)}
    assert counts["rows_in"] == sum(len(clean_ids(written, day)) for day in DAYS)
    assert counts["failed"] == {}


def test_a_line_has_the_features_as_they_are_and_null_for_nothing(written: Path) -> None:
    spec = JobSpec.from_dict(job_json("features"))
    (day, *_) = DAYS
    frame = build(spec, written / "input", [day])
    rows = lines(written, day)
    assert list(rows[0]) == ["row_id", *columns(spec)]
    for name in columns(spec):
        expected = [None if value != value else value for value in frame[name].tolist()]
        assert [row[name] for row in rows] == expected, name
    assert any(value is None for row in rows for value in row.values())


def test_parts_are_of_a_batch_each(written: Path) -> None:
    parts = sorted(path.name for path in (written / "out" / "features" / DAYS[0]).iterdir())
    assert parts == [f"{DAYS[0]}.part-{number:05d}.jsonl" for number in range(len(parts))]
    assert len(parts) > 1


def test_only_what_the_champion_reads_is_written(
    job_inputs: JobInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link_inputs(job_inputs, tmp_path / "input")
    save_champion("hist_gradient_boosting", job_inputs, tmp_path / "input")
    description = tmp_path / "input" / "models" / "champion" / "MLmodel"
    text = description.read_text()
    description.write_text(text.replace('"name": "distance"', '"name": "hour"', 1))
    assert run(tmp_path) == 0
    assert "distance" not in lines(tmp_path, DAYS[0])[0]
    description.write_text(text.replace('"name": "distance"', '"name": "length"', 1))
    assert run(tmp_path) == 2
    assert "no features any more: ['length']" in capsys.readouterr().out.splitlines()[-1]


def test_a_partition_that_has_no_rows_is_named_and_stops_no_other(
    job_inputs: JobInputs, tmp_path: Path
) -> None:
    link_inputs(job_inputs, tmp_path / "input")
    assert run(tmp_path, splits={"holdout": [DAYS[0], "2013-12-31"]}) == 0
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert list(counts["partitions"]) == [DAYS[0]]
    assert counts["failed"] == {"2013-12-31": "BadInput: there are no clean rows of 2013-12-31 to score"}
