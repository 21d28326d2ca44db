from __future__ import annotations

import pyarrow as pa
import pytest

from nightshift.errors import LakeError
from nightshift.lake.schema import conform, stored_schema


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (pa.timestamp("ns"), pa.timestamp("us", "UTC")),
        (pa.timestamp("us", "Europe/Berlin"), pa.timestamp("us", "UTC")),
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.large_list(pa.large_string()), pa.list_(pa.field("element", pa.string()))),
    ],
    ids=str,
)
def test_types_that_delta_does_not_keep_take_their_nearest(found: pa.DataType, kept: pa.DataType) -> None:
    schema = stored_schema("raw", pa.schema([("x", found)]), None)
    assert schema.field("x").type == kept
    assert schema.names == ["x"]


def test_a_column_of_nulls_takes_the_type_of_the_table_and_needs_one() -> None:
    nulls = pa.schema([("x", pa.null())])
    existing = pa.schema([("x", pa.float64())])
    assert stored_schema("raw", nulls, existing) == existing
    with pytest.raises(LakeError, match="x has no type"):
        stored_schema("raw", nulls, None)


@pytest.mark.parametrize(
    ("found", "fits"), [(pa.int32(), True), (pa.int64(), True), (pa.float64(), False), (pa.string(), False)]
)
def test_only_narrower_types_fit_a_table(found: pa.DataType, fits: bool) -> None:
    existing = pa.schema([("x", pa.int64())])
    if fits:
        assert stored_schema("raw", pa.schema([("x", found)]), existing) == existing
    else:
        with pytest.raises(LakeError, match=f"x is {found}, not int64"):
            stored_schema("raw", pa.schema([("x", found)]), existing)


def test_rows_of_another_partition_are_refused() -> None:
    batch = pa.record_batch({"x": [1, 2], "partition": ["2013-01-05", "2013-01-06"]})
    schema = pa.schema([("x", pa.int64())])
    with pytest.raises(LakeError, match="rows of partition '2013-01-06' were to be written as '2013-01-05'"):
        conform(batch, schema, "2013-01-05")


def test_the_partition_is_no_column_of_the_data_files() -> None:
    data = pa.schema([("x", pa.int64()), ("partition", pa.string())])
    assert stored_schema("raw", data, data) == pa.schema([("x", pa.int64())])
