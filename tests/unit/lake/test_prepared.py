from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nightshift.lake import prepared
from nightshift.lake.prepared import prepare_files

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SCHEMA = pa.schema([("x", pa.int64())])


def batches(count: int, rows: int) -> list[pa.RecordBatch]:
    return [pa.record_batch({"x": range(n * rows, (n + 1) * rows)}) for n in range(count)]


def test_rows_keep_their_order_across_groups_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "_GROUP_ROWS", 100)
    monkeypatch.setattr(prepared, "_FILE_BYTES", 1500)
    made = prepare_files(batches(50, 30), SCHEMA, tmp_path)
    assert made.rows == 1500
    assert len(made.files) > 1
    assert [each.name for each in made.files] == sorted(each.name for each in made.files)
    assert pa.concat_tables(pq.read_table(f.file) for f in made.files)["x"].to_pylist() == list(range(1500))
    assert pq.ParquetFile(made.files[0].file).metadata.row_group(0).num_rows < 130


def test_no_rows_make_no_file(tmp_path: Path) -> None:
    made = prepare_files([pa.record_batch({"x": pa.array([], pa.int64())})], SCHEMA, tmp_path)
    assert (made.rows, made.files) == (0, ())
    assert list(tmp_path.iterdir()) == []
