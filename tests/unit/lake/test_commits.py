from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake.exceptions import CommitFailedError, DeltaError

from nightshift.errors import CommitConflict, LakeError, StorageUnavailable
from nightshift.lake import commits
from nightshift.lake.commits import delta_errors
from nightshift.lake.storage import Location, list_objects
from nightshift.lake.tables import Lake, LakeTable

if TYPE_CHECKING:
    from pathlib import Path

DAY = "2013-01-05"
ONE, TWO = pa.table({"value": [1]}), pa.table({"value": [2]})


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    table = Lake(Location((tmp_path / "lake").as_uri()), "pipe").table("raw")
    table.replace_partition(DAY, ONE)
    return table


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_FIRST_WAIT_S", 0.0)


def test_the_tries_are_bounded_and_the_loser_leaves_no_file(
    table: LakeTable, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def lose(*_: object) -> int:
        tries.append(1)
        raise CommitFailedError("version 7 exists")

    before = list_objects(table.location)
    monkeypatch.setattr(commits, "_commit", lose)
    with pytest.raises(
        CommitConflict, match=r"replacement of 2013-01-05 in table 'raw' lost .* version 7"
    ) as got:
        table.replace_partition(DAY, TWO)
    assert len(tries) == commits.TRIES
    assert got.value.retryable
    assert list_objects(table.location) == before


def test_trouble_after_a_commit_undoes_nothing(table: LakeTable, monkeypatch: pytest.MonkeyPatch) -> None:
    real = commits._commit

    def disk_full_at_the_checkpoint(*arguments: Any) -> int:
        real(*arguments)
        raise StorageUnavailable("no room is left on the disk")

    monkeypatch.setattr(commits, "_commit", disk_full_at_the_checkpoint)
    assert table.replace_partition(DAY, TWO) == table.version()
    assert table.read([DAY], columns=["value"]) == TWO


def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    table: LakeTable, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = commits._commit, []

    def answer_lost(*arguments: object) -> int:
        tries.append(real(*arguments))
        if len(tries) == 1:
            raise CommitFailedError("already exists")
        return tries[-1]

    monkeypatch.setattr(commits, "_commit", answer_lost)
    assert table.replace_partition(DAY, TWO) == tries[0] == table.version()
    assert table.read([DAY])["value"].to_pylist() == [2]


def test_a_snapshot_table_and_a_partitioned_one_are_not_mixed(table: LakeTable) -> None:
    with pytest.raises(LakeError, match="'raw' is a partitioned table"):
        table.replace_all(ONE)


@pytest.mark.parametrize("key", ["", "a/b", "a b", "it's", "a=b"])
def test_a_partition_has_a_plain_name(table: LakeTable, key: str) -> None:
    with pytest.raises(LakeError, match="cannot be the name of a partition"):
        table.replace_partition(key, ONE)


def test_a_long_history_stays_quick_to_open(table: LakeTable) -> None:
    for value in range(30):
        table.replace_partition(DAY, pa.table({"value": [value]}))
    log = [each.path for each in list_objects(table.location.child("_delta_log"))]
    assert any("checkpoint.parquet" in path for path in log)
    assert table.read([DAY])["value"].to_pylist() == [29]
    assert table.read([DAY], version=1)["value"].to_pylist() == [1]


def test_a_vanished_data_file_is_no_network_trouble(table: LakeTable) -> None:
    manifest = table.manifest([DAY])
    (table.location.path() / manifest.files[0].path).unlink()
    with pytest.raises(LakeError, match=r"misses a data file.*ingest the partition again"):
        table.read([DAY])


def test_errors_of_delta_name_the_table() -> None:
    with (
        pytest.raises(LakeError, match=r"opening file:///lake/raw failed"),
        delta_errors(Location("file:///lake/raw"), "opening"),
    ):
        raise DeltaError("bad log")


def test_the_first_partitions_of_a_new_table_come_in_one_version(tmp_path: Path) -> None:
    table = Lake(Location((tmp_path / "lake").as_uri()), "pipe").table("clean")
    changes = {key: table.prepare(key, ONE, tmp_path) for key in (DAY, "2013-01-06")}
    assert table.snapshot().version == -1
    assert table.replace_partitions(changes, basis=table.snapshot()) == 1
    assert list(table.partitions()) == [DAY, "2013-01-06"]


def test_emptying_what_is_empty_makes_no_version(table: LakeTable) -> None:
    before = table.version()
    assert table.replace_partition("2013-01-06", ONE.slice(0, 0)) == before == table.version()


def test_a_commit_of_several_partitions_whose_answer_was_lost_is_not_made_twice(
    table: LakeTable, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = commits._commit, []

    def answer_lost(*arguments: Any) -> int:
        tries.append(real(*arguments))
        if len(tries) == 1:
            raise CommitFailedError("already exists")
        return tries[-1]

    monkeypatch.setattr(commits, "_commit", answer_lost)
    changes = {key: table.prepare(key, TWO, tmp_path) for key in (DAY, "2013-01-06")}
    assert table.replace_partitions(changes, basis=table.snapshot()) == tries[0] == table.version()
    assert table.read(None)["value"].to_pylist() == [2, 2]
