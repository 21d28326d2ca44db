"""One column vocabulary for every table: what Delta stores, and how near misses are brought to it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from nightshift.errors import LakeError

__all__ = ["PARTITION", "conform", "stored_schema", "without_partition"]

PARTITION = "partition"
_TIMESTAMP = pa.timestamp("us", tz="UTC")


def _stored_type(kind: pa.DataType) -> pa.DataType:
    """The type Delta keeps for ``kind``; a timestamp without a zone is taken as UTC."""
    if pa.types.is_dictionary(kind):
        return _stored_type(kind.value_type)
    if pa.types.is_timestamp(kind):
        return _TIMESTAMP
    if pa.types.is_large_string(kind) or kind == pa.string_view():
        return pa.string()
    if pa.types.is_large_binary(kind) or kind == pa.binary_view():
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field("element", _stored_type(kind.value_type)))
    return kind


def stored_schema(table: str, data: pa.Schema, existing: pa.Schema | None) -> pa.Schema:
    """The schema ``data`` is written with, the partition column left out: the table's where there is one.

    :raises LakeError: naming the columns, when ``data`` does not fit the table.
    """
    wanted = pa.schema([pa.field(each.name, _stored_type(each.type)) for each in without_partition(data)])
    if existing is None:
        _refuse(table, [f"{each.name} has no type" for each in wanted if pa.types.is_null(each.type)])
        return wanted
    kept = pa.schema([pa.field(each.name, _stored_type(each.type)) for each in without_partition(existing)])
    problems = [f"{name} is missing" for name in kept.names if name not in wanted.names]
    problems += [f"{name} is new" for name in wanted.names if name not in kept.names]
    for each in wanted:
        if each.name in kept.names and not _widens(each.type, kept.field(each.name).type):
            problems.append(f"{each.name} is {each.type}, not {kept.field(each.name).type}")
    _refuse(table, problems)
    return kept


def without_partition(schema: pa.Schema) -> list[pa.Field]:
    """The columns that lie in the data files; Delta keeps the partition in their path."""
    return [each for each in schema if each.name != PARTITION]


def conform(batch: pa.RecordBatch, schema: pa.Schema, partition: str | None) -> pa.RecordBatch:
    """``batch`` in the order and types of ``schema``, which lacks the partition column.

    :raises LakeError: when its rows claim to be of another partition.
    """
    if partition is not None:
        _check_partition(batch, partition)
    return pa.RecordBatch.from_arrays(
        [_cast(batch.column(each.name), each) for each in schema], schema=schema
    )


def _cast(column: pa.Array, field: pa.Field) -> pa.Array:
    if column.type == field.type:
        return column
    if pa.types.is_timestamp(column.type) and column.type.tz is None and field.type == _TIMESTAMP:
        column = pc.assume_timezone(column, "UTC")
    try:
        # Delta counts microseconds: finer parts are cut off.
        return column.cast(field.type, safe=not pa.types.is_timestamp(field.type))
    except pa.ArrowInvalid as error:
        raise LakeError(f"column {field.name} does not fit {field.type}: {error}") from None


def _widens(found: pa.DataType, kept: pa.DataType) -> bool:
    """Whether every value of ``found`` fits ``kept``."""
    if found == kept or pa.types.is_null(found):
        return True
    if pa.types.is_signed_integer(found) and pa.types.is_signed_integer(kept):
        return bool(found.bit_width <= kept.bit_width)
    return bool(pa.types.is_float32(found) and pa.types.is_float64(kept))


def _check_partition(batch: pa.RecordBatch, partition: str) -> None:
    if PARTITION not in batch.schema.names:
        return
    others = pc.unique(batch.column(PARTITION).cast(pa.string())).to_pylist()
    if strangers := [value for value in others if value != partition]:
        raise LakeError(f"rows of partition {strangers[0]!r} were to be written as {partition!r}")


def _refuse(table: str, problems: list[str]) -> None:
    if problems:
        raise LakeError(
            f"the rows do not fit table {table!r}: {'; '.join(problems)}",
            fix="write the columns the table has, or start it anew under another name",
        )
