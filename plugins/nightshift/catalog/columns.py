"""A table's columns in the words of Glue and Athena."""

from __future__ import annotations

import pyarrow as pa

from nightshift.errors import LakeError
from nightshift.lake.schema import PARTITION

__all__ = ["glue_columns", "glue_type"]

_PLAIN = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.string_view(): "string",
    pa.binary(): "binary",
    pa.large_binary(): "binary",
    pa.binary_view(): "binary",
    pa.date32(): "date",
}


def glue_columns(schema: pa.Schema) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """
    :returns: the columns that lie in the files, and those that are partition keys.
    """
    named = [{"Name": each.name.lower(), "Type": glue_type(each.type)} for each in schema]
    keys = [each for each in named if each["Name"] == PARTITION]
    return [each for each in named if each not in keys], keys


def glue_type(kind: pa.DataType) -> str:
    """The Hive type of an Arrow type, as Athena reads it.

    :raises LakeError: when there is none.
    """
    if kind in _PLAIN:
        return _PLAIN[kind]
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"array<{glue_type(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{glue_type(kind.key_type)},{glue_type(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{','.join(f'{each.name}:{glue_type(each.type)}' for each in kind)}>"
    raise LakeError(f"the catalog has no word for a column of type {kind}")
