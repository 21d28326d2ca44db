from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightshift.errors import LakeError
from nightshift.lake.manifest import Manifest
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.lake.views import read_view, write_view

if TYPE_CHECKING:
    from typing import Any

NIGHT = "2013-01-05"
SPLITS = {"train": ["2013-01-01", "2013-01-02"], "validation": ["2013-01-03"], "holdout": ["2013-01-05"]}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(Location((tmp_path / "lake").as_uri()), "pipe")
    for number, day in enumerate(sorted(day for days in SPLITS.values() for day in days), start=1):
        lake.table("clean").replace_partition(day, pa.table({"row_id": list(range(number))}))
    return lake


def written(lake: Lake) -> dict[str, Any]:
    return write_view(lake, NIGHT, SPLITS, {"clean": lake.table("clean").version()})


def test_the_index_says_what_each_split_has_and_the_holdout_is_the_test(lake: Lake) -> None:
    index = written(lake)
    assert read_view(lake, NIGHT) == index
    found = {name: (part["days"], part["rows"], part["files"]) for name, part in index["splits"].items()}
    assert found == {
        "train": (["2013-01-01", "2013-01-02"], 3, 2),
        "validation": (["2013-01-03"], 3, 1),
        "test": (["2013-01-05"], 4, 1),
    }


def test_a_split_is_a_manifest_that_reads_its_very_rows(lake: Lake) -> None:
    written(lake)
    lake.table("clean").replace_partition("2013-01-05", pa.table({"row_id": [77]}))
    manifest = Manifest.from_dict(json.loads(lake.read_file(f"views/{NIGHT}/test/manifest.json")))
    assert lake.table("clean").read_manifest(manifest)["row_id"].to_pylist() == [0, 1, 2, 3]


def test_its_files_are_listed_one_a_line(lake: Lake) -> None:
    written(lake)
    lines = lake.read_file(f"views/{NIGHT}/train/symlinks/manifest").decode().splitlines()
    rows = [pq.ParquetFile(Path(unquote(urlsplit(line).path))).metadata.num_rows for line in lines]
    assert sorted(rows) == [1, 2]


def test_what_is_there_already_is_not_written_again(lake: Lake) -> None:
    version = lake.table("clean").version()
    write_view(lake, NIGHT, SPLITS, {"clean": version})
    before = _stamps(lake)
    write_view(lake, NIGHT, SPLITS, {"clean": version})
    assert _stamps(lake) == before


def _stamps(lake: Lake) -> dict[str, int]:
    folder = lake.location.path() / "views"
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_a_night_that_was_never_planned_has_no_view(lake: Lake) -> None:
    with pytest.raises(LakeError, match="pipe_retrain"):
        read_view(lake, "2013-02-01")
