"""What a lake promises on every kind of storage; each kind subclasses this and supplies one fixture."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from nightshift.errors import CommitConflict, LakeError, PartitionCorrupt
from nightshift.lake.manifest import Manifest
from nightshift.lake.spend import JobCost, month_of, month_usd, recent, record
from nightshift.lake.storage import (
    Location,
    list_objects,
    object_exists,
    read_object,
    remove,
    write_object,
)
from nightshift.lake.tables import Lake, LakeTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LakeContract", "rows_of"]

DAY, NEXT_DAY = "2013-01-05", "2013-01-06"
SPAWN = multiprocessing.get_context("spawn")


def rows_of(*values: int) -> pa.Table:
    """A small table with the types that matter."""
    return pa.table(
        {
            "value": pa.array(values, pa.int64()),
            "name": pa.array([f"n{value}" for value in values], pa.string()),
            "seen": pa.array([datetime(2013, 1, 5, tzinfo=UTC)] * len(values), pa.timestamp("us", "UTC")),
            "reasons": pa.array([["a", "b"]] * len(values), pa.list_(pa.string())),
        }
    )


def write_days(uri: str, options: dict[str, str], writer: int, days: list[str]) -> list[int]:
    """Replace ``days`` one after the other, each with ``writer + 1`` rows of this writer (own process)."""
    table = Lake(Location(uri, options), "pipe").table("raw")
    return [table.replace_partition(day, rows_of(*[writer] * (writer + 1))) for day in days]


class LakeContract:
    """Needs a fixture ``place``: an empty :class:`Location`, one per test."""

    @pytest.fixture
    def lake(self, place: Location) -> Lake:
        return Lake(place.child("lake"), "pipe")

    @pytest.fixture
    def table(self, lake: Lake) -> LakeTable:
        return lake.table("raw")

    def test_rows_come_back_as_written_with_their_partition(self, table: LakeTable) -> None:
        table.replace_partition(DAY, rows_of(3, 1, 2))
        read = table.read([DAY])
        assert read.drop(["partition"]).equals(rows_of(3, 1, 2).cast(read.drop(["partition"]).schema))
        assert set(read["partition"].to_pylist()) == {DAY}

    def test_replacing_a_partition_leaves_the_others_alone(self, table: LakeTable) -> None:
        table.replace_partition(DAY, rows_of(1, 2))
        table.replace_partition(NEXT_DAY, rows_of(7))
        table.replace_partition(DAY, rows_of(4))
        assert table.read([DAY], columns=["value"])["value"].to_pylist() == [4]
        assert table.read([NEXT_DAY], columns=["value"])["value"].to_pylist() == [7]

    def test_each_write_gives_the_version_that_holds_it(self, table: LakeTable) -> None:
        versions = [table.replace_partition(DAY, rows_of(n)) for n in range(3)]
        assert versions == sorted(set(versions))
        assert [table.read([DAY], version=v)["value"].to_pylist() for v in versions] == [[0], [1], [2]]

    def test_zero_rows_empty_the_partition(self, table: LakeTable) -> None:
        table.replace_partition(DAY, rows_of(1))
        table.replace_partition(DAY, rows_of())
        assert table.partitions() == {}
        assert table.read([DAY]).num_rows == 0

    def test_zero_rows_make_an_empty_table_where_there_was_none(self, table: LakeTable) -> None:
        table.replace_partition(DAY, rows_of())
        assert table.exists()
        assert table.read(None).num_rows == 0

    def test_a_table_that_was_never_written_has_no_partitions_and_cannot_be_read(
        self, table: LakeTable
    ) -> None:
        assert not table.exists()
        assert table.partitions() == {}
        with pytest.raises(LakeError, match=r"found no table.*ingest a partition first"):
            table.read([DAY])

    def test_a_reader_that_fails_half_way_leaves_no_trace(self, table: LakeTable, place: Location) -> None:
        table.replace_partition(DAY, rows_of(1))
        before = list_objects(place)

        def failing() -> Iterator[pa.RecordBatch]:
            yield from rows_of(2, 3).to_batches()
            raise PartitionCorrupt("the second batch is broken")

        with pytest.raises(PartitionCorrupt, match="second batch"):
            table.replace_partition(DAY, pa.RecordBatchReader.from_batches(rows_of().schema, failing()))
        assert list_objects(place) == before

    def test_rows_that_do_not_fit_the_table_are_refused_by_name(self, table: LakeTable) -> None:
        version = table.replace_partition(DAY, rows_of(1))
        misfit = rows_of(2).drop(["name"]).append_column("colour", pa.array(["red"]))
        misfit = misfit.set_column(0, "value", pa.array(["2"]))
        with pytest.raises(LakeError, match="name is missing; colour is new; value is string, not int64"):
            table.replace_partition(DAY, misfit)
        assert table.version() == version

    def test_statistics_come_from_the_log(self, table: LakeTable) -> None:
        table.replace_partition(NEXT_DAY, rows_of(7))
        table.replace_partition(DAY, rows_of(1, 2))
        stats = table.partitions()
        assert [(day, each.rows, each.files) for day, each in stats.items()] == [
            (DAY, 2, 1),
            (NEXT_DAY, 1, 1),
        ]
        assert all(each.bytes > 0 for each in stats.values())

    def test_a_manifest_brings_back_what_has_been_replaced_since(self, table: LakeTable) -> None:
        table.replace_partition(DAY, rows_of(1, 2))
        table.replace_partition(NEXT_DAY, rows_of(7))
        manifest = Manifest.from_dict(table.manifest([DAY]).to_dict())
        table.replace_partition(DAY, rows_of(9))
        assert table.read_manifest(manifest)["value"].to_pylist() == [1, 2]
        assert (manifest.partitions, manifest.rows) == ((DAY,), 2)
        assert manifest.sha256 == table.manifest([DAY], version=manifest.version).sha256
        assert manifest.sha256 != table.manifest([DAY]).sha256

    def test_a_manifest_that_cannot_be_read_again_says_why(self, table: LakeTable) -> None:
        table.replace_partition(DAY, rows_of(1, 2))
        manifest = table.manifest([DAY])
        table.replace_partition(DAY, rows_of(9))
        table.check(manifest)
        with pytest.raises(LakeError, match="is not what its sha256"):
            table.check(replace(manifest, files=()))
        strange = [replace(file, path=f"x{file.path}") for file in manifest.files]
        with pytest.raises(LakeError, match="has no file x"):
            table.check(Manifest.of(table.name, manifest.uri, manifest.version, strange))
        remove(table.location, [file.path for file in manifest.files])
        with pytest.raises(LakeError, match=r"1 of 1 files of version .* are not there any more"):
            table.check(manifest)

    def test_a_manifest_can_be_downloaded_as_plain_files(self, table: LakeTable, tmp_path: Path) -> None:
        table.replace_partition(DAY, rows_of(1, 2))
        files = table.download(table.manifest([DAY]), tmp_path / "input")
        assert [file.parent.name for file in files] == [f"partition={DAY}"]
        assert pl.read_parquet(files)["value"].to_list() == [1, 2]

    def test_batches_are_bounded_and_complete(self, table: LakeTable) -> None:
        table.replace_partition(DAY, rows_of(*range(1000)))
        batches = list(table.batches([DAY], columns=["value"], batch_rows=100))
        assert max(batch.num_rows for batch in batches) <= 100
        assert [v for batch in batches for v in batch["value"].to_pylist()] == list(range(1000))

    def test_several_partitions_are_replaced_in_one_version(self, table: LakeTable, tmp_path: Path) -> None:
        table.replace_partition(DAY, rows_of(1, 2))
        table.replace_partition(NEXT_DAY, rows_of(7))
        kept = "2013-01-09"
        version = table.replace_partition(kept, rows_of(5))
        rows = {DAY: rows_of(3), NEXT_DAY: rows_of(), "2013-01-07": rows_of(8, 9)}
        changes = {key: table.prepare(key, each, tmp_path) for key, each in rows.items()}
        assert table.replace_partitions(changes, basis=table.snapshot()) == version + 1 == table.version()
        assert {key: stats.rows for key, stats in table.partitions().items()} == {
            DAY: 1,
            "2013-01-07": 2,
            kept: 1,
        }
        assert table.read([DAY, "2013-01-07"])["value"].to_pylist() == [3, 8, 9]
        assert table.read([DAY, NEXT_DAY], version=version)["value"].to_pylist() == [1, 2, 7]

    def test_several_partitions_are_refused_together_when_one_is_not_as_it_was(
        self, table: LakeTable, place: Location, tmp_path: Path
    ) -> None:
        table.replace_partition(DAY, rows_of(1))
        basis = table.snapshot()
        changes = {key: table.prepare(key, rows_of(3), tmp_path) for key in (DAY, NEXT_DAY)}
        table.replace_partition(NEXT_DAY, rows_of(7))  # it was not there
        before = list_objects(place)
        with pytest.raises(CommitConflict, match=r"2013-01-05 and 1 more .* replaced 2013-01-06 meanwhile"):
            table.replace_partitions(changes, basis=basis)
        assert list_objects(place) == before
        assert table.read([DAY, NEXT_DAY])["value"].to_pylist() == [1, 7]

    def test_a_commit_of_several_partitions_waits_out_the_writers_of_others(
        self, place: Location, table: LakeTable, tmp_path: Path
    ) -> None:
        table.replace_partition(DAY, rows_of(1))
        basis = table.snapshot()
        changes = {key: table.prepare(key, rows_of(3), tmp_path) for key in (DAY, NEXT_DAY)}
        self._race(place, {0: ["2013-02-01"] * 2, 1: ["2013-02-02"] * 2})
        table.replace_partitions(changes, basis=basis)
        assert [each.rows for each in table.partitions().values()] == [1, 1, 1, 2]

    def test_a_snapshot_table_is_replaced_whole(self, lake: Lake) -> None:
        planes = lake.table("planes")
        planes.replace_all(rows_of(1, 2))
        planes.replace_all(rows_of(3))
        assert planes.read(None)["value"].to_pylist() == [3]
        assert [file.partition for file in planes.manifest(None).files] == [None]

    def test_other_libraries_read_the_tables_as_they_are(self, table: LakeTable) -> None:
        table.replace_partition(DAY, rows_of(1, 2))
        uri, options = table.location.table_uri, dict(table.location.options)
        assert pl.scan_delta(uri, storage_options=options or None).collect().height == 2
        with duckdb.connect() as connection:
            connection.register("lake", DeltaTable(uri, storage_options=options or None).to_pyarrow_dataset())
            found = connection.sql("select partition, sum(value) from lake group by all").fetchall()
        assert found == [(DAY, 3)]

    def test_files_are_written_whole_and_read_back(self, lake: Lake) -> None:
        assert not lake.exists("reports/day.json")
        lake.write_file("reports/day.json", b"{}")
        lake.write_file("reports/day.json", b'{"rows": 1}')
        assert lake.exists("reports/day.json")
        assert lake.read_file("reports/day.json") == b'{"rows": 1}'
        with pytest.raises(LakeError, match=r"nothing\.json is not there"):
            lake.read_file("reports/nothing.json")

    def test_only_one_writer_creates_a_new_object(self, place: Location) -> None:
        assert write_object(place, "ledger/1.json", b"first", only_if_new=True)
        assert not write_object(place, "ledger/1.json", b"second", only_if_new=True)
        assert read_object(place, "ledger/1.json") == b"first"
        assert not object_exists(place, "ledger/2.json")
        assert read_object(place, "ledger/2.json") is None

    def test_many_small_files_are_listed_and_read_at_once_and_taken_away(self, lake: Lake) -> None:
        assert lake.files("notes") == []
        names = [f"notes/{step}/{number}.json" for step in ("a", "b") for number in range(20)]
        for name in names:
            lake.write_file(name, name.encode())
        assert lake.files("notes") == sorted(names)
        assert lake.files("notes/a") == sorted(names[:20])
        found = lake.read_files([*names, "notes/none.json"])
        assert found == {name: name.encode() for name in names}
        lake.remove_file(names[0])
        lake.remove_file(names[0])
        assert not lake.exists(names[0])
        assert lake.read_files(names[:1]) == {}

    def test_the_log_says_when_a_partition_was_written(self, lake: Lake) -> None:
        table = lake.table("raw")
        for number in range(2):
            table.replace_partition(f"2013-01-0{number + 1}", rows_of(number))
        first, second = (stats.written_at for stats in table.partitions().values())
        assert 0 <= second - first < 60
        assert abs(datetime.now(UTC).timestamp() - second) < 60

    def test_what_jobs_cost_is_recorded_once_and_summed(self, lake: Lake) -> None:
        first = JobCost("a", "train", DAY, 60.0, 60.0, 0.25, 1_793_500_000.0, "succeeded")
        for each in (first, replace(first, usd=9.0), replace(first, job="b", ended_at=first.ended_at + 1)):
            record(lake, each)
        assert month_usd(lake, month_of(first.ended_at)) == 0.5
        assert [each.job for each in recent(lake, "train")] == ["b", "a"]

    def test_processes_that_create_a_table_with_different_partitions_all_succeed(
        self, place: Location, table: LakeTable
    ) -> None:
        self._race(place, {w: [f"2013-02-{w * 2 + n + 1:02d}" for n in range(2)] for w in range(3)})
        assert [(day, each.rows) for day, each in table.partitions().items()] == [
            (f"2013-02-{w * 2 + n + 1:02d}", w + 1) for w in range(3) for n in range(2)
        ]

    def test_of_processes_that_replace_one_partition_one_wins_whole(
        self, place: Location, table: LakeTable
    ) -> None:
        versions = self._race(place, dict.fromkeys(range(3), [DAY] * 3))
        assert len(set(versions)) == 9
        values = table.read([DAY])["value"].to_pylist()
        assert values == [values[0]] * (values[0] + 1)
        assert table.partitions()[DAY].files == 1

    def _race(self, place: Location, work: dict[int, list[str]]) -> list[int]:
        uri, options = place.child("lake").uri, dict(place.options)
        with ProcessPoolExecutor(len(work), mp_context=SPAWN) as pool:
            running = [pool.submit(write_days, uri, options, writer, days) for writer, days in work.items()]
            return [version for each in running for version in each.result(timeout=120)]
