"""Values to the types of a pipeline file, exactly: what would lose or change a value is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TYPES", "Unfit", "from_parquet", "from_text", "parquet_fits"]

TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "date": pa.date32(),
    "binary": pa.binary(),
}
_ZONE = r"(?i)(z|[+-]\d\d(:?\d\d)?)$"
_TEXTS = (pt.is_string, pt.is_large_string, pt.is_string_view)
_FITTING: dict[str, tuple[Callable[[pa.DataType], bool], ...]] = {
    "string": _TEXTS,
    "int64": (pt.is_integer,),
    "float64": (pt.is_floating, pt.is_integer),
    "bool": (pt.is_boolean,),
    "timestamp": (pt.is_timestamp,),
    "date": (pt.is_date,),
    "binary": (pt.is_binary, pt.is_large_binary, pt.is_binary_view, pt.is_fixed_size_binary),
}


class Unfit(Exception):
    """The value at ``index`` of a column does not fit its type."""

    def __init__(self, index: int, value: object) -> None:
        super().__init__(f"value {index}: {value!r}")
        self.index = index
        self.value = value


def from_text(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of strings (nulls are nulls) as ``kind``; a timestamp without a zone is taken as UTC.

    :raises Unfit: at the first value that does not fit.
    """
    return _converted(column, lambda part: _parsed(part, kind))


def from_parquet(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of a type that :func:`parquet_fits` accepts, as ``kind``.

    :raises Unfit: at the first value that does not fit, such as a whole number too large for float64.
    """
    if column.type == kind:
        return column
    return _converted(column, lambda part: _cast(part, kind))


def parquet_fits(found: pa.DataType, kind: str) -> bool:
    """Whether a Parquet column of type ``found`` can be taken as ``kind``: same family, wider at most."""
    if pt.is_dictionary(found):
        found = found.value_type
    return bool(pt.is_null(found) or any(test(found) for test in _FITTING[kind]))


def _converted(column: pa.Array, convert: Callable[[pa.Array], pa.Array]) -> pa.Array:
    try:
        return convert(column)
    except pa.ArrowInvalid:
        index = _first_bad(column, convert)
        raise Unfit(index, column[index].as_py()) from None


def _first_bad(column: pa.Array, convert: Callable[[pa.Array], pa.Array]) -> int:
    """Index of the first value that ``convert`` refuses, by halving."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(column.slice(low, middle - low))
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _parsed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        if not pt.is_timestamp(kind):
            raise
    return _zoned(column).cast(kind)


def _zoned(column: pa.Array) -> pa.Array:
    """Timestamps as text, those without a zone made UTC and bare days their midnight."""
    days = pc.equal(pc.utf8_length(column), 10)
    zoned = pc.match_substring_regex(column, _ZONE)
    plain = pc.if_else(zoned, column, pc.binary_join_element_wise(column, "Z", ""))
    return pc.if_else(days, pc.binary_join_element_wise(column, "T00:00Z", ""), plain)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pt.is_timestamp(kind) and pt.is_timestamp(column.type):
        if column.type.tz is None:
            column = pc.assume_timezone(column, "UTC")
        return column.cast(kind, safe=False)  # the lake counts microseconds: finer parts are cut off
    return column.cast(kind)
