from __future__ import annotations

import datetime as dt
import gzip
import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightshift.config.pipeline import ReferenceConfig
from nightshift.errors import PartitionCorrupt, SchemaMismatch
from nightshift.lake.fetch import StagedFile
from nightshift.lake.typed import typed_reader

if TYPE_CHECKING:
    from pathlib import Path

TEN = dt.datetime(2013, 1, 5, 10, tzinfo=dt.UTC)


def config(form: str = "csv", **columns: str) -> ReferenceConfig:
    return ReferenceConfig(uri="{landing}/x", format=form, columns=columns or {"a": "int64", "b": "string"})


def staged(folder: Path, name: str, content: bytes) -> StagedFile:
    file = folder / name
    file.write_bytes(content)
    return StagedFile(name, f"s3://b/{name}", file, len(content), "e", hashlib.sha256(content).hexdigest())


def parquet(folder: Path, name: str, table: pa.Table) -> StagedFile:
    pq.write_table(table, folder / name)
    return staged(folder, name, (folder / name).read_bytes())


def read(*files: StagedFile, of: ReferenceConfig, row_id: bool = False) -> list[dict]:
    return typed_reader(files, of, row_id=row_id).read_all().to_pylist()


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int64", "-7", -7),
        ("float64", "1e3", 1000.0),
        ("bool", "true", True),
        ("string", "ä", "ä"),
        ("binary", "ä", "ä".encode()),
        ("date", "2013-01-05", dt.date(2013, 1, 5)),
        ("timestamp", "2013-01-05T10:00:00Z", TEN),
        ("timestamp", "2013-01-05 10:00:00", TEN),
        ("timestamp", "2013-01-05T12:00:00+02:00", TEN),
        ("timestamp", "2013-01-05", TEN.replace(hour=0)),
        ("float64", "NA", None),
        ("string", "", None),
    ],
)
def test_csv_values_take_the_type_of_the_pipeline_file(tmp_path, kind: str, text: str, value: object) -> None:
    file = staged(tmp_path, "f.csv", f"x,y\n{text},1\n".encode())
    assert read(file, of=config(x=kind, y="int64")) == [{"x": value, "y": 1}]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("int64", "5.0"), ("int64", "five"), ("float64", "1,5"), ("bool", "yes"), ("timestamp", "soon")],
)
def test_a_csv_value_of_another_type_is_named_with_its_line(tmp_path, kind: str, text: str) -> None:
    file = staged(tmp_path, "f.csv", f'x,y\n,1\n"{text}",2\n'.encode())
    with pytest.raises(SchemaMismatch, match=rf"f\.csv, line 3: column x holds '{text}', not {kind}"):
        read(file, of=config(x=kind, y="int64"))


def test_timestamps_with_and_without_a_zone_may_be_mixed(tmp_path) -> None:
    file = staged(tmp_path, "f.csv", b"x,y\n2013-01-05T10:00:00Z,1\n2013-01-05 10:00:00,2\n")
    assert [row["x"] for row in read(file, of=config(x="timestamp", y="int64"))] == [TEN, TEN]


def test_columns_are_taken_by_name(tmp_path) -> None:
    assert read(staged(tmp_path, "f.csv", b"b,a\nx,1\n"), of=config()) == [{"a": 1, "b": "x"}]


def test_rows_are_numbered_through_all_files(tmp_path) -> None:
    files = [staged(tmp_path, f"{n}.csv", b"a,b\n1,x\n2,y\n") for n in range(2)]
    assert [row["row_id"] for row in read(*files, of=config(), row_id=True)] == [0, 1, 2, 3]


def test_quoted_line_ends_and_a_byte_order_mark_are_no_trouble(tmp_path) -> None:
    file = staged(tmp_path, "f.csv", b'\xef\xbb\xbfa,b\r\n1,"two\nlines"\r\n')
    assert read(file, of=config()) == [{"a": 1, "b": "two\nlines"}]


def test_the_line_of_a_bad_value_counts_quoted_line_ends(tmp_path) -> None:
    file = staged(tmp_path, "f.csv", b'a,b\n1,"two\nlines"\nx,y\n')
    with pytest.raises(SchemaMismatch, match=r"line 4: column a holds 'x'"):
        read(file, of=config())


def test_compressed_csv_is_unpacked(tmp_path) -> None:
    file = staged(tmp_path, "f.csv.gz", gzip.compress(b"a,b\n1,x\n"))
    assert read(file, of=config()) == [{"a": 1, "b": "x"}]


def test_a_truncated_gzip_file_is_named(tmp_path) -> None:
    content = gzip.compress("".join(["a,b\n", *(f"{n},{n * n}\n" for n in range(9999))]).encode())
    with pytest.raises(PartitionCorrupt, match=r"f\.csv\.gz is truncated"):
        read(staged(tmp_path, "f.csv.gz", content[:-500]), of=config())


def test_the_byte_that_is_not_utf8_is_found_behind_block_borders(tmp_path) -> None:
    good = b"1," + b"\xc3\xa4" * 50 + b"\n"
    content = b"a,b\n" + good * 20_000 + b"2,\xe4\n" + good
    with pytest.raises(PartitionCorrupt, match=rf"byte {content.index(b'2,') + 2}, in line 20002, is 0xe4"):
        read(staged(tmp_path, "f.csv", content), of=config())


def test_a_row_of_a_wrong_length_in_a_later_file_is_named(tmp_path) -> None:
    files = [staged(tmp_path, "0.csv", b"a,b\n1,x\n"), staged(tmp_path, "1.csv", b"a,b\n1,x,9\n2,y\n")]
    with pytest.raises(PartitionCorrupt, match=r"1\.csv, line 2: 3 fields, not 2"):
        read(*files, of=config())


def test_a_column_named_twice_is_refused(tmp_path) -> None:
    with pytest.raises(SchemaMismatch, match="columns twice: 'a'"):
        read(staged(tmp_path, "f.csv", b"a,b,a\n1,x,2\n"), of=config())


def test_parquet_columns_widen_to_the_types_of_the_pipeline_file(tmp_path) -> None:
    table = pa.table(
        {
            "n": pa.array([1, None], pa.int32()),
            "x": pa.array([0.5, 1.5], pa.float32()),
            "s": pa.array(["p", "q"]).dictionary_encode(),
            "t": pa.array([TEN.replace(tzinfo=None)] * 2, pa.timestamp("ns")),
            "z": pa.nulls(2),
        }
    )
    rows = read(
        parquet(tmp_path, "f.parquet", table),
        of=config("parquet", n="int64", x="float64", s="string", t="timestamp", z="float64"),
    )
    assert rows == [
        {"n": 1, "x": 0.5, "s": "p", "t": TEN, "z": None},
        {"n": None, "x": 1.5, "s": "q", "t": TEN, "z": None},
    ]


def test_retyped_parquet_columns_are_all_named(tmp_path) -> None:
    table = pa.table({"a": ["1"], "b": [1.5]})
    with pytest.raises(
        SchemaMismatch, match=r"f\.parquet has retyped columns: a is string, not int64; b is double"
    ):
        read(parquet(tmp_path, "f.parquet", table), of=config("parquet"))


def test_a_parquet_value_that_would_change_is_named_with_its_row(tmp_path) -> None:
    table = pa.table({"a": [1, 2**53 + 1]})
    with pytest.raises(SchemaMismatch, match=rf"row 2: column a holds {2**53 + 1}, not float64"):
        read(parquet(tmp_path, "f.parquet", table), of=config("parquet", a="float64"))


@pytest.mark.parametrize("keep", [8, -20], ids=["head only", "no footer"])
def test_a_truncated_parquet_file_is_named(tmp_path, keep: int) -> None:
    whole = parquet(tmp_path, "f.parquet", pa.table({"a": range(9999)}))
    with pytest.raises(PartitionCorrupt, match=r"cut\.parquet is truncated or no Parquet file"):
        read(staged(tmp_path, "cut.parquet", whole.file.read_bytes()[:keep]), of=config("parquet", a="int64"))
