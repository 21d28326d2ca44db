"""What ingestion promises on every kind of storage; each kind subclasses this and supplies one fixture."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import pyarrow as pa
import pytest

from nightshift.config.loader import load_pipeline
from nightshift.embedded.sample_data import seed_landing
from nightshift.errors import (
    PartitionAbsent,
    PartitionCorrupt,
    PartitionIncomplete,
    SchemaMismatch,
    SourceError,
)
from nightshift.lake.fetch import fetch
from nightshift.lake.ingest import IngestResult, ingest_partition
from nightshift.lake.storage import Location, list_objects, read_object, write_object
from nightshift.lake.tables import Lake

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline

__all__ = ["IngestContract"]

DAY, NEXT_DAY = "2013-01-05", "2013-01-06"
ROWS, CANCELLED_OR_DIVERTED = 720, 3
FLIGHTS = f"flights/dt={DAY}"
PIPELINE = Path(__file__).parents[2] / "include" / "pipelines" / "flight_delays.yaml"


def without_column(content: bytes, position: int) -> bytes:
    """The CSV without one of its columns."""
    rows = [line.split(b",") for line in content.splitlines()]
    return b"".join(b",".join(row[:position] + row[position + 1 :]) + b"\n" for row in rows)


def with_line(content: bytes, number: int, old: bytes, new: bytes) -> bytes:
    """The CSV with ``old`` replaced by ``new`` in its ``number``-th line, counted from 1."""
    lines = content.splitlines(keepends=True)
    assert old in lines[number - 1]
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    return b"".join(lines)


BROKEN = {
    "empty": (lambda _: b"", PartitionCorrupt, r"flights\.csv is empty"),
    "header only": (
        lambda c: c.splitlines(keepends=True)[0],
        PartitionCorrupt,
        r"flights\.csv has .* no rows",
    ),
    "cut in a row": (
        lambda c: c[:-60],
        PartitionCorrupt,
        r"flights\.csv is truncated: its last line, 721, has 9 of 19",
    ),
    "short row": (
        lambda c: with_line(c, 3, b"2013,1,5,", b"2013,"),
        PartitionCorrupt,
        r"flights\.csv, line 3: 17 fields, not 19",
    ),
    "not UTF-8": (
        lambda c: with_line(c, 4, b",US,", b",U\xff,"),
        PartitionCorrupt,
        r"flights\.csv is not UTF-8: byte \d+, in line 4, is 0xff",
    ),
    "retyped": (
        lambda c: with_line(c, 7, b"2013,1,5,", b"2013,January,5,"),
        SchemaMismatch,
        r"flights\.csv, line 7: column month holds 'January', not int64",
    ),
    "missing column": (
        lambda c: without_column(c, 9),
        SchemaMismatch,
        r"flights\.csv has missing columns: 'carrier'",
    ),
    "extra column": (
        lambda c: b"".join(
            line + b",1\n" if n else line + b",gate\n" for n, line in enumerate(c.splitlines())
        ),
        SchemaMismatch,
        r"flights\.csv has extra columns: 'gate'",
    ),
    "renamed column": (
        lambda c: with_line(c, 1, b"carrier", b"airline"),
        SchemaMismatch,
        r"missing columns: 'carrier'; extra columns: 'airline'",
    ),
}


class IngestContract:
    """Needs a fixture ``place``: an empty :class:`Location`, one per test."""

    @pytest.fixture
    def pipeline(self) -> Pipeline:
        return load_pipeline(PIPELINE)

    @pytest.fixture
    def landing(self, place: Location) -> Location:
        landing = place.child("landing")
        seed_landing(landing, DAY, NEXT_DAY)
        return landing

    @pytest.fixture
    def lake(self, place: Location) -> Lake:
        return Lake(place.child("lake"), "flight_delays")

    @pytest.fixture
    def staging(self, tmp_path: Path) -> Path:
        return tmp_path / "staging"

    @pytest.fixture
    def ingest(self, pipeline: Pipeline, landing: Location, lake: Lake, staging: Path):
        def call(partition: str = DAY) -> IngestResult:
            try:
                return ingest_partition(pipeline, partition, landing=landing, lake=lake, staging=staging)
            finally:
                assert list(staging.iterdir()) == []

        return call

    def test_a_real_day_arrives_typed_and_complete(self, ingest, lake: Lake) -> None:
        result = ingest()
        raw = lake.table("raw").read([DAY])
        assert (result.rows, result.files, result.changed) == (ROWS, 1, True)
        assert raw["row_id"].to_pylist() == list(range(ROWS))
        assert raw.schema.field("time_hour").type == pa.timestamp("us", "UTC")
        assert raw.schema.field("arr_delay").type == pa.float64()
        assert raw["arr_delay"].null_count == CANCELLED_OR_DIVERTED
        assert lake.table("weather").read([DAY]).num_rows == result.references["weather"]["rows"] == 72
        assert lake.table("planes").read(None).num_rows == result.references["planes"]["rows"] == 3322

    def test_the_same_files_are_taken_once(self, ingest, lake: Lake) -> None:
        first, second = ingest(), ingest()
        assert not second.changed
        assert (second.version, second.sha256, second.rows) == (first.version, first.sha256, first.rows)
        assert lake.table("raw").version() == first.version
        assert not any(reference["changed"] for reference in second.references.values())

    def test_the_same_content_delivered_again_makes_no_version(
        self, ingest, lake: Lake, landing: Location
    ) -> None:
        first = ingest()
        self._deliver(landing, f"{FLIGHTS}/flights.csv", lambda content: content)
        assert not ingest().changed
        assert lake.table("raw").version() == first.version

    def test_corrected_content_replaces_the_partition_and_no_other(
        self, ingest, lake: Lake, landing: Location
    ) -> None:
        ingest()
        other = ingest(NEXT_DAY)
        self._deliver(
            landing, f"{FLIGHTS}/flights.csv", lambda content: content[: content.index(b"\n", 9000) + 1]
        )
        again = ingest()
        assert again.changed
        assert 0 < again.rows < ROWS
        assert {day: s.rows for day, s in lake.table("raw").partitions().items()} == {
            DAY: again.rows,
            NEXT_DAY: other.rows,
        }
        assert lake.table("raw").read([DAY], version=other.version).num_rows == ROWS

    @pytest.mark.parametrize("case", BROKEN)
    def test_a_broken_file_is_named_and_leaves_the_lake_as_it_was(
        self, case: str, ingest, landing: Location, lake: Lake
    ) -> None:
        ingest(NEXT_DAY)
        before = list_objects(lake.location)
        breaking, error, message = BROKEN[case]
        self._deliver(landing, f"{FLIGHTS}/flights.csv", breaking)
        with pytest.raises(error, match=message):
            ingest()
        assert list_objects(lake.location) == before

    def test_a_partition_that_has_not_landed_is_absent(
        self, ingest, landing: Location, lake: Lake, pipeline: Pipeline
    ) -> None:
        with pytest.raises(
            PartitionAbsent, match=r"2013-01-07: nothing has landed at .*weather/dt=2013-01-07"
        ):
            ingest("2013-01-07")
        assert list_objects(lake.location) == []

    def test_a_partition_without_its_marker_is_incomplete(
        self, ingest, landing: Location, lake: Lake
    ) -> None:
        obstore.delete(landing.store(), f"{FLIGHTS}/_SUCCESS")
        with pytest.raises(PartitionIncomplete, match=r"flights/dt=2013-01-05 has no _SUCCESS yet"):
            ingest()
        assert list_objects(lake.location) == []

    def test_a_missing_reference_is_named_before_anything_is_written(
        self, ingest, landing: Location, lake: Lake
    ) -> None:
        for name in ("planes.csv", "_SUCCESS"):
            obstore.delete(landing.store(), f"planes/{name}")
        with pytest.raises(PartitionAbsent, match=r"planes: nothing has landed"):
            ingest()
        assert list_objects(lake.location) == []

    def test_a_crash_between_commit_and_record_is_healed_by_a_rerun(self, ingest, lake: Lake) -> None:
        first = ingest()
        obstore.delete(lake.location.store(), f"_ingest/{DAY}.json")
        healed = ingest()
        assert healed.sha256 == first.sha256
        assert lake.table("raw").partitions()[DAY].rows == ROWS
        assert not ingest().changed

    def test_rows_that_the_lake_lost_are_taken_again(self, ingest, lake: Lake) -> None:
        ingest()
        table = lake.table("raw")
        table.replace_partition(DAY, table.read([DAY]).slice(0, 0))
        assert ingest().changed
        assert table.partitions()[DAY].rows == ROWS

    def test_a_new_planes_file_replaces_the_snapshot(self, ingest, landing: Location, lake: Lake) -> None:
        ingest()
        self._deliver(landing, "planes/planes.csv", lambda c: b"".join(c.splitlines(keepends=True)[:11]))
        result = ingest(NEXT_DAY)
        assert result.references["planes"]["changed"]
        assert lake.table("planes").read(None).num_rows == 10

    def test_large_objects_come_in_parts_and_in_order(self, place: Location, tmp_path: Path) -> None:
        content = random.Random(1).randbytes(40_000_001)
        write_object(place, "big.bin", content)
        write_object(place, "small.bin", b"x")
        staged = fetch(place, list_objects(place), tmp_path)
        assert [each.sha256 for each in staged] == [
            hashlib.sha256(content).hexdigest(),
            hashlib.sha256(b"x").hexdigest(),
        ]
        assert staged[0].file.read_bytes() == content

    def test_a_file_that_changes_while_it_is_read_is_refused(self, place: Location, tmp_path: Path) -> None:
        write_object(place, "flights.csv", b"first")
        listed = list_objects(place)
        write_object(place, "flights.csv", b"other content")
        with pytest.raises(SourceError, match=r"flights\.csv changed while it was read"):
            fetch(place, listed, tmp_path)

    @staticmethod
    def _deliver(landing: Location, path: str, change) -> None:
        content = read_object(landing, path)
        assert content is not None
        write_object(landing, path, change(content))
