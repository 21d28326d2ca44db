"""What the features must keep on every engine; each engine's test class inherits it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from jobs import features
from jobs.contract import BadInput, JobSpec
from tests.fakes.job_inputs import job_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fakes.job_inputs import JobInputs

DAY, NEXT = "2013-01-12", "2013-01-13"
OUTCOMES = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")


def change(path: Path, edit: Callable[[pa.Table], pa.Table]) -> None:
    """Rewrite a Parquet file."""
    pq.write_table(edit(pq.ParquetFile(path).read()), path)


def outcomes_of_another_world(table: pa.Table) -> pa.Table:
    """Every outcome of the day is different, and every third flight was cancelled."""
    for name in OUTCOMES:
        values = [None if n % 3 == 0 else float(500 + n) for n in range(len(table))]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.float64()))
    return table


def part(folder: Path, channel: str, day: str) -> Path:
    """The only file of a partition."""
    return folder / channel / f"partition={day}" / "part-0.parquet"


class FeatureContract:
    """Subclass and set ``engine``."""

    engine: str

    @pytest.fixture
    def spec(self, tmp_path: Path) -> JobSpec:
        spec = JobSpec.from_dict(
            job_json(features={"module": "flight_delays", "engine": self.engine, "lookback": 7})
        )
        return replace(spec, tmp=tmp_path / "tmp")

    @pytest.fixture
    def copied(self, job_inputs: JobInputs, tmp_path: Path) -> Path:
        return shutil.copytree(job_inputs.folder, tmp_path / "input")

    def test_every_clean_row_makes_one_row_in_order(self, spec: JobSpec, job_inputs: JobInputs) -> None:
        frame = features.build(spec, job_inputs.folder, [NEXT, DAY])
        clean = pd.concat(
            pq.ParquetFile(part(job_inputs.folder, "clean", day)).read().to_pandas().assign(partition=day)
            for day in (DAY, NEXT)
        )
        assert (
            frame[["partition", "row_id"]].to_numpy().tolist()
            == clean[["partition", "row_id"]].to_numpy().tolist()
        )
        assert list(frame.columns) == ["partition", "row_id", *features.columns(spec), "late"]
        late = np.where(clean["arr_delay"].isna(), np.nan, clean["arr_delay"] > 15)
        np.testing.assert_array_equal(frame["late"], late)
        assert frame["late"].isna().any()

    def test_nothing_of_the_day_itself_is_known_to_its_features(self, spec: JobSpec, copied: Path) -> None:
        before = features.build(spec, copied, [DAY, NEXT])
        change(part(copied, "clean", DAY), outcomes_of_another_world)
        after = features.build(spec, copied, [DAY, NEXT])
        names = features.columns(spec)
        own, following = before["partition"] == DAY, before["partition"] == NEXT
        assert_frame_equal(before.loc[own, names], after.loc[own, names], check_exact=True)
        history = [name for name in names if name.endswith(("_delay", "_late_rate", "_1d"))]
        for name in history:  # and the test would have seen it: the next day's history is another
            assert not before.loc[following, name].equals(after.loc[following, name]), name

    def test_no_later_day_is_known(self, spec: JobSpec, copied: Path) -> None:
        before = features.build(spec, copied, [DAY])
        change(part(copied, "clean", NEXT), outcomes_of_another_world)
        shutil.rmtree(copied / "clean" / "partition=2013-01-14")
        assert_frame_equal(before, features.build(spec, copied, [DAY]), check_exact=True)

    def test_weather_is_known_up_to_the_hour_before(self, spec: JobSpec, copied: Path) -> None:
        before = features.build(spec, copied, [DAY])

        def hotter(table: pa.Table) -> pa.Table:
            temp = pc.if_else(pc.equal(table["hour"], 12), 150.0, table["temp"])
            return table.set_column(table.schema.get_field_index("temp"), "temp", temp)

        change(part(copied, "weather", DAY), hotter)
        after = features.build(spec, copied, [DAY])
        altered = after["temp"] == 150.0
        assert set(after.loc[altered, "hour"]) == {13.0}
        assert_frame_equal(before[~altered], after[~altered], check_exact=True)

    def test_repeated_rows_of_a_side_table_repeat_no_flight(self, spec: JobSpec, copied: Path) -> None:
        before = features.build(spec, copied, [DAY])
        change(part(copied, "weather", DAY), lambda table: pa.concat_tables([table, table]))
        change(copied / "planes" / "part-0.parquet", lambda table: pa.concat_tables([table, table]))
        assert_frame_equal(before, features.build(spec, copied, [DAY]), check_exact=True)

    def test_a_feature_is_the_same_whatever_else_is_built_with_it(
        self, spec: JobSpec, job_inputs: JobInputs
    ) -> None:
        alone = features.build(spec, job_inputs.folder, [NEXT])
        together = features.build(spec, job_inputs.folder, job_inputs.partitions[7:])
        same = together[together["partition"] == NEXT].reset_index(drop=True)
        assert_frame_equal(alone, same, check_exact=True)

    def test_history_is_of_calendar_days_and_a_day_that_is_missing_is_not_made_up_for(
        self, spec: JobSpec, copied: Path
    ) -> None:
        spec = replace(spec, features=replace(spec.features, lookback=2))
        shutil.rmtree(copied / "clean" / "partition=2013-01-11")
        frame = features.build(spec, copied, [DAY])
        yesterday_but_one = pq.ParquetFile(part(copied, "clean", "2013-01-10")).read().to_pandas()
        expected = (
            yesterday_but_one.dropna(subset=["arr_delay"])
            .groupby("carrier")["arr_delay"]
            .agg(["mean", "size"])
        )
        first = frame.groupby("carrier").first()
        np.testing.assert_allclose(first["carrier_delay"], expected.loc[first.index, "mean"], rtol=1e-12)
        np.testing.assert_array_equal(first["carrier_flights"], expected.loc[first.index, "size"])
        assert frame["carrier_delay_1d"].isna().all()

    def test_batches_are_the_same_rows_in_pieces(self, spec: JobSpec, job_inputs: JobInputs) -> None:
        whole = features.build(spec, job_inputs.folder, [DAY, NEXT])
        pieces = list(features.batches(spec, job_inputs.folder, [DAY, NEXT], 400))
        assert max(len(piece) for piece in pieces) <= 400
        assert_frame_equal(pd.concat(pieces, ignore_index=True), whole, check_exact=True)

    def test_a_day_without_clean_rows_is_left_out_and_none_at_all_is_an_error(
        self, spec: JobSpec, job_inputs: JobInputs, capsys: pytest.CaptureFixture[str]
    ) -> None:
        frame = features.build(spec, job_inputs.folder, ["2013-01-20", "2013-01-21"])
        assert set(frame["partition"]) == {"2013-01-20"}
        assert "no clean rows on 2013-01-21: left out" in capsys.readouterr().out
        with pytest.raises(BadInput, match="no clean rows in any of 2013-01-22"):
            features.build(spec, job_inputs.folder, ["2013-01-22"])
