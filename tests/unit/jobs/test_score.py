"""The score job on real flights, with both kinds of model: one prediction per clean row, or a reason."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from jobs.score import Seen, predict
from tests.fakes.champions import QUICK, link_inputs, save_champion
from tests.fakes.job_inputs import PARTITIONS, JobInputs, job_json, write_job

if TYPE_CHECKING:
    from pathlib import Path

DAY = PARTITIONS[-1]


@pytest.fixture(scope="module", params=list(QUICK))
def scored(
    request: pytest.FixtureRequest, job_inputs: JobInputs, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a score job that went well: input/, output/."""
    folder = tmp_path_factory.mktemp(request.param)
    link_inputs(job_inputs, folder / "input")
    save_champion(request.param, job_inputs, folder / "input")
    assert score(folder) == 0
    return folder


def score(folder: Path, **changes: Any) -> int:
    document = job_json("score", **{"splits": {"holdout": [changes.get("partition", DAY)]}, **changes})
    spec = write_job(folder, document)
    flags = {
        "spec": spec,
        "input": folder / "input",
        "output": folder / "output",
        "checkpoints": folder / "c",
    }
    return main(["score", *[word for name, place in flags.items() for word in (f"--{name}", str(place))]])


def predictions(folder: Path) -> pa.Table:
    parts = sorted((folder / "output" / "predictions").glob("*/part-*.parquet"))
    return pa.concat_tables([pq.read_table(part) for part in parts])


def clean_rows(folder: Path, day: str = DAY) -> list[int]:
    table = pq.read_table(folder / "input" / "clean" / f"partition={day}" / "part-0.parquet")
    ids: list[int] = table["row_id"].to_pylist()
    return sorted(ids)


def counts(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "output" / "counts.json").read_text()))


def test_every_clean_row_gets_one_probability(scored: Path) -> None:
    table, wanted = predictions(scored), clean_rows(scored)
    assert table.schema == pa.schema([("row_id", pa.int64()), ("prediction", pa.float64())])
    assert sorted(table["row_id"].to_pylist()) == wanted
    values = table["prediction"].to_numpy()
    assert ((values > 0) & (values < 1)).all()
    assert len(np.unique(values)) > 20
    assert (counts(scored)["rows_in"], counts(scored)["rows_out"]) == (len(wanted), len(wanted))


def test_no_part_is_larger_than_a_batch(scored: Path) -> None:
    parts = sorted((scored / "output" / "predictions").glob("*/*"))
    assert [part.name for part in parts] == [f"part-{number:05d}.parquet" for number in range(len(parts))]
    rows = [pq.read_metadata(part).num_rows for part in parts]
    assert len(rows) > 1
    assert max(rows) <= 400


def test_the_size_of_a_batch_changes_no_prediction(scored: Path, tmp_path: Path) -> None:
    (tmp_path / "input").symlink_to(scored / "input")
    assert score(tmp_path, scoring={"batch_rows": 65_536}) == 0
    whole, parts = (table.sort_by("row_id") for table in (predictions(tmp_path), predictions(scored)))
    assert len(list((tmp_path / "output" / "predictions").glob("*/*"))) == 1
    np.testing.assert_allclose(whole["prediction"].to_numpy(), parts["prediction"].to_numpy(), atol=1e-7)


def test_a_rerun_replaces_the_parts_of_the_run_before(scored: Path, tmp_path: Path) -> None:
    (tmp_path / "input").symlink_to(scored / "input")
    assert score(tmp_path, scoring={"batch_rows": 100}) == 0
    assert score(tmp_path, scoring={"batch_rows": 65_536}) == 0
    assert predictions(tmp_path)["row_id"].to_pylist() == clean_rows(tmp_path)


def test_a_partition_without_clean_rows_is_bad_input(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "input").symlink_to(scored / "input")
    assert score(tmp_path, partition="2013-02-01") == 2
    assert "there are no clean rows of 2013-02-01 to score" in capsys.readouterr().out.splitlines()[-1]
    assert json.loads((tmp_path / "output" / "error.json").read_text())["type"] == "BadInput"


def test_an_input_without_a_champion_is_bad_input(
    job_inputs: JobInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link_inputs(job_inputs, tmp_path / "input")
    assert score(tmp_path) == 2
    assert "models/champion is no MLflow model folder" in capsys.readouterr().out.splitlines()[-1]


def test_an_id_that_occurs_twice_is_bad_input(
    job_inputs: JobInputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(job_inputs.folder / "clean", tmp_path / "input" / "clean")
    folder = tmp_path / "input" / "clean" / f"partition={DAY}"
    shutil.copy(folder / "part-0.parquet", folder / "part-1.parquet")
    assert score(tmp_path) == 2
    assert "row_id 0 of 2013-01-20 is there more than once" in capsys.readouterr().out


class TestSeen:
    """The account of rows."""

    def test_all_rows_once_in_any_order_is_fine(self) -> None:
        seen = Seen(np.array([2, 5, 9]))
        seen.add(np.array([9, 2]))
        seen.add(np.array([5]))
        seen.check_all()

    def test_a_missing_row_is_named(self) -> None:
        seen = Seen(np.array([2, 5, 9]))
        seen.add(np.array([9]))
        with pytest.raises(RuntimeError, match="2 rows got no prediction, the first is row_id 2"):
            seen.check_all()

    @pytest.mark.parametrize("ids", [[2, 7], [2, 99]], ids=["between", "beyond"])
    def test_a_row_that_is_not_of_the_input_is_named(self, ids: list[int]) -> None:
        with pytest.raises(RuntimeError, match=f"1 rows are not of the input, the first has row_id {ids[1]}"):
            Seen(np.array([2, 5, 9])).add(np.array(ids))

    @pytest.mark.parametrize(
        ("before", "ids"), [([], [2, 2]), ([2, 5], [5, 9])], ids=["one batch", "two batches"]
    )
    def test_a_row_that_comes_twice_is_an_error(self, before: list[int], ids: list[int]) -> None:
        seen = Seen(np.array([2, 5, 9]))
        seen.add(np.array(before, dtype=int))
        with pytest.raises(RuntimeError, match="gave a row twice"):
            seen.add(np.array(ids))


class TestPredict:
    """What a model gives is not believed unseen."""

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            pytest.param([0.5], "values for 2 rows", id="too few"),
            pytest.param(
                [0.5, 1.5], "1 predictions are no probabilities, the first for row_id 8", id="above 1"
            ),
            pytest.param([float("nan"), 0.5], "the first for row_id 7", id="no number"),
        ],
    )
    def test_what_is_no_probability_per_row_is_an_error(self, values: list[float], words: str) -> None:
        import pandas as pd

        class Odd:
            def predict_proba(self, _: pd.DataFrame) -> np.ndarray:
                return np.array(values)

        with pytest.raises(RuntimeError, match=words):
            predict(Odd(), pd.DataFrame({"row_id": [7, 8]}))


def test_several_partitions_are_scored_each_by_itself_and_a_bad_one_is_named(
    scored: Path, tmp_path: Path
) -> None:
    days, absent = [*PARTITIONS[-3:]], "2013-12-31"
    shutil.copytree(scored / "input", tmp_path / "input", symlinks=True)
    assert score(tmp_path, splits={"holdout": [*days, absent]}) == 0
    found = counts(tmp_path)
    assert sorted(found["partitions"]) == days
    for day in days:
        parts = sorted((tmp_path / "output" / "predictions" / day).iterdir())
        ids = pa.concat_tables([pq.read_table(part) for part in parts])["row_id"].to_pylist()
        assert sorted(ids) == clean_rows(tmp_path, day)
    assert found["failed"] == {absent: f"BadInput: there are no clean rows of {absent} to score"}
    assert found["rows_out"] == sum(len(clean_rows(tmp_path, day)) for day in days)
