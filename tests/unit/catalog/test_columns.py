from __future__ import annotations

import pyarrow as pa
import pytest

from nightshift.catalog.columns import glue_columns, glue_type
from nightshift.errors import LakeError
from nightshift.lake.conversion import TYPES


def test_the_partition_is_a_key_and_no_column() -> None:
    schema = pa.schema([("Delay", pa.float64()), ("partition", pa.string())])
    columns, keys = glue_columns(schema)
    assert columns == [{"Name": "delay", "Type": "double"}]
    assert keys == [{"Name": "partition", "Type": "string"}]


def test_a_table_without_partitions_has_no_keys() -> None:
    assert glue_columns(pa.schema([("tailnum", pa.string())]))[1] == []


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (pa.timestamp("us", tz="UTC"), "timestamp"),
        (pa.decimal128(10, 2), "decimal(10,2)"),
        (pa.list_(pa.string()), "array<string>"),
        (
            pa.struct([("id", pa.int64()), ("why", pa.list_(pa.string()))]),
            "struct<id:bigint,why:array<string>>",
        ),
        (pa.map_(pa.string(), pa.int32()), "map<string,int>"),
        (pa.binary(), "binary"),
    ],
    ids=str,
)
def test_types_are_hives(kind: pa.DataType, word: str) -> None:
    assert glue_type(kind) == word


def test_every_type_of_a_pipeline_file_has_a_word() -> None:
    assert all(glue_type(kind) for kind in TYPES.values())


def test_a_type_without_a_word_is_refused() -> None:
    with pytest.raises(LakeError, match="no word"):
        glue_type(pa.duration("s"))
