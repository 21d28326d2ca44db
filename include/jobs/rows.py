"""Rows as they travel over HTTP: JSON lines, JSON, CSV with a header, Parquet; in as frames, out by Accept.

One row in gives one row out, in the same order, stamped with its ``row_id`` where it has one. What a row
must hold is what the model's signature says; columns beyond that are ignored.
"""

from __future__ import annotations

import csv
import difflib
import io
import itertools
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    import pyarrow as pa

__all__ = ["CSV", "JSON", "JSON_LINES", "KINDS", "PARQUET", "BadRow", "Rows", "media_type", "read", "write"]

JSON_LINES, JSON, CSV, PARQUET = (
    "application/jsonlines",
    "application/json",
    "text/csv",
    "application/x-parquet",
)
KINDS = (JSON_LINES, JSON, CSV, PARQUET)
_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "application/jsonl": JSON_LINES,
        "application/x-jsonlines": JSON_LINES,
        "application/x-ndjson": JSON_LINES,
        "application/csv": CSV,
        "application/parquet": PARQUET,
        "application/vnd.apache.parquet": PARQUET,
    }
)
_ROW_ID = "row_id"
_MOST_PARQUET_ROWS = 1_000_000
"""A small Parquet file can hold any number of equal rows."""
_SHOWN = 60


class BadRow(Exception):
    """The body is not what the model takes: the message names line, column and what to send instead."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a body: a frame for the model, and their ids, None where they have none."""

    frame: pd.DataFrame
    ids: list[Any] | None


@dataclass(frozen=True, slots=True)
class _Type:
    """One of MLflow's types: as Arrow and as JSON know it, what to send, and whether it may be missing."""

    arrow: str
    plain: tuple[type, ...]
    words: str
    gaps: bool = False


_TYPES: Mapping[str, _Type] = MappingProxyType(
    {
        "double": _Type("float64", (float, int), "a finite number or null", gaps=True),
        "float": _Type("float32", (float, int), "a finite number or null", gaps=True),
        "long": _Type("int64", (int,), "a whole number"),
        "integer": _Type("int32", (int,), "a whole number"),
        "boolean": _Type("bool", (bool,), "true or false"),
        "string": _Type("string", (str,), "a text or null", gaps=True),
        "datetime": _Type("timestamp[ns]", (str,), "a time like 2013-01-05T10:00:00"),
    }
)
_Records = tuple[int, dict[str, Any]]


def media_type(header: str) -> str | None:
    """The one of :data:`KINDS` that a Content-Type or Accept header names first; None for any other."""
    names = (entry.split(";")[0].strip().lower() for entry in header.split(","))
    return next((found for name in names if (found := _ALIASES.get(name, name)) in KINDS), None)


# -- in -----------------------------------------------------------------------------------------


def read(body: bytes, kind: str, columns: Mapping[str, str], batch_rows: int) -> Iterator[Rows]:
    """Yield the rows of a body in order, at most ``batch_rows`` at a time.

    :param columns: name -> MLflow type of what the model reads; empty: whatever the rows hold.
    :raises BadRow: at the first row that is not what the model takes.
    """
    if kind == PARQUET:
        yield from _parquet(body, columns, batch_rows)
        return
    unit = "row" if kind == JSON else "line"
    records = {JSON_LINES: _json_lines, JSON: _json_list}.get(kind)
    found = records(body) if records else _csv(body, columns)
    stamped: bool | None = None
    while batch := list(itertools.islice(found, batch_rows)):
        stamped = _ROW_ID in batch[0][1] if stamped is None else stamped
        ids = _ids(batch, unit, stamped)
        yield Rows(_frame(batch, unit, columns), ids)


def _json_lines(body: bytes) -> Iterator[_Records]:
    for number, line in enumerate(io.BytesIO(body), 1):
        if line.strip():
            yield number, _record(f"line {number}", _parse(f"line {number}", line))


def _json_list(body: bytes) -> Iterator[_Records]:
    rows = _parse("the body", body)
    if not isinstance(rows, list):
        raise BadRow(f"the body is {_shown(rows)}; send a list of rows, [{{...}}, {{...}}]")
    for number, row in enumerate(rows, 1):
        yield number, _record(f"row {number}", row)


def _parse(place: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow(f"{place} is no JSON: {error}") from error


def _record(place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRow(f"{place} is {_shown(value)}; send an object, column name to value")
    return value


def _csv(body: bytes, columns: Mapping[str, str]) -> Iterator[_Records]:
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = next(reader, [])
        _check_header(header, columns)
        kinds = [columns.get(name, "") for name in header]
        for texts in reader:
            if len(texts) != len(header):
                raise BadRow(f"line {reader.line_num} has {len(texts)} values for {len(header)} columns")
            values = map(_from_text, kinds, texts)
            yield reader.line_num, dict(zip(header, values, strict=True))
    except UnicodeDecodeError as error:
        raise BadRow(f"the body is no UTF-8: {error}") from error
    except csv.Error as error:
        raise BadRow(f"line {reader.line_num} is no CSV: {error}") from error


def _check_header(header: list[str], columns: Mapping[str, str]) -> None:
    if columns and not set(columns) & set(header):
        raise BadRow(
            "line 1 names no column of the model: send the header line with every request. A batch "
            f"transform that splits by line has it in its first request only; send {JSON_LINES} there"
        )


def _from_text(kind: str, text: str) -> object:
    """The value that a text stands for; what is none of its kind stays a text, and is refused later."""
    if text == "":
        return None
    if kind in ("string", "datetime"):
        return text
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    for parse in (int,) if kind in ("long", "integer") else (int, float):
        try:
            return text if "_" in text else parse(text)
        except ValueError:
            continue
    return text


def _ids(batch: Sequence[_Records], unit: str, stamped: bool) -> list[Any] | None:
    for number, record in batch:
        if (_ROW_ID in record) is not stamped:
            raise BadRow(f"{unit} {number}: give a row_id to every row, or to none")
        value = record.get(_ROW_ID, "")
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise BadRow(_wrong(f"{unit} {number}", _ROW_ID, value, "a whole number or a text"))
    return [record[_ROW_ID] for _, record in batch] if stamped else None


def _frame(batch: Sequence[_Records], unit: str, columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    if not columns:
        return pd.DataFrame([record for _, record in batch]).drop(columns=_ROW_ID, errors="ignore")
    return pa.table({name: _column(batch, unit, name, kind) for name, kind in columns.items()}).to_pandas()


def _column(batch: Sequence[_Records], unit: str, name: str, kind: str) -> pa.Array:
    """The values of one column, or the first of them that the model does not take."""
    try:
        return _array([record[name] for _, record in batch], kind)
    except KeyError:
        number, record = next(row for row in batch if name not in row[1])
        raise BadRow(f"{unit} {number}: {_absent(name, list(record))}") from None
    except (ValueError, TypeError, OverflowError):
        for number, record in batch:
            try:
                _array([record[name]], kind)
            except (ValueError, TypeError, OverflowError):
                raise BadRow(_wrong(f"{unit} {number}", name, record[name], _TYPES[kind].words)) from None
        raise


def _array(values: list[Any], kind: str) -> pa.Array:
    """As Arrow has it; a number out of a text, or out of true, is nobody's intention.

    :raises ValueError: (or TypeError, OverflowError) when some value is not of that kind.
    """
    import pyarrow as pa

    wanted = _TYPES[kind]
    if not {type(value) for value in values} <= {*wanted.plain, type(None)}:
        raise TypeError("a value is of another kind")
    source = pa.string() if kind == "datetime" else pa.type_for_alias(wanted.arrow)
    return _checked(pa.array(values, source).cast(wanted.arrow), wanted)


def _checked(array: Any, wanted: _Type) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.null_count and not wanted.gaps:
        raise ValueError("a value is missing")
    if pa.types.is_floating(array.type) and pc.any(pc.is_inf(array)).as_py():
        raise ValueError("a number is infinite")
    return array


def _wrong(place: str, name: str, value: object, words: str) -> str:
    return f"{place}, column {name!r}: {_shown(value)} is not {words}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _absent(name: str, there: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"is it what you call {near[0]!r}?" if near else "send it, null or empty where it is not known"
    return f"column {name!r} is missing; {hint}"


def _parquet(body: bytes, columns: Mapping[str, str], batch_rows: int) -> Iterator[Rows]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(body))
        there, rows = file.schema_arrow.names, file.metadata.num_rows
        if absent := [name for name in columns if name not in there]:
            raise BadRow(f"the file's {_absent(absent[0], there)}")
        if rows > _MOST_PARQUET_ROWS:
            raise BadRow(f"the file has {rows} rows; send at most {_MOST_PARQUET_ROWS} at a time")
        ids = [_ROW_ID] if _ROW_ID in there else []
        wanted = [*ids, *(columns or (name for name in there if name != _ROW_ID))]
        for batch in file.iter_batches(batch_rows, columns=wanted):
            yield _of_arrow(pa.table(batch), columns)
    except pa.ArrowException as error:
        raise BadRow(f"the body is no Parquet file that can be read: {error}") from error


def _of_arrow(table: Any, columns: Mapping[str, str]) -> Rows:
    import pyarrow as pa

    for name, kind in columns.items():
        array, wanted = table[name], _TYPES[kind]
        try:
            if pa.types.is_string(array.type) != (kind == "string"):
                raise TypeError
            cast = _checked(array.cast(wanted.arrow), wanted)
        except (ValueError, TypeError):
            raise BadRow(
                f"the file's column {name!r} of {array.type} is not {wanted.words} in every row"
            ) from None
        table = table.set_column(table.column_names.index(name), name, cast)
    ids = table[_ROW_ID].to_pylist() if _ROW_ID in table.column_names else None
    frame = table.drop_columns([_ROW_ID] if ids is not None else []).to_pandas()
    return Rows(frame, ids)


# -- out ----------------------------------------------------------------------------------------


def write(kind: str, ids: list[Any] | None, predictions: Sequence[float], *, header: bool = True) -> bytes:
    """The answer: a row for each prediction, in order, with its id where there are ids."""
    names = ["prediction"] if ids is None else [_ROW_ID, "prediction"]
    columns = [predictions] if ids is None else [ids, predictions]
    if kind == PARQUET:
        return _to_parquet(dict(zip(names, columns, strict=True)))
    rows = zip(*columns, strict=True)
    if kind == CSV:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([*([names] if header else []), *rows])
        return text.getvalue().encode()
    records = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    whole = "[" + ", ".join(records) + "]\n" if kind == JSON else "".join(f"{one}\n" for one in records)
    return whole.encode()


def _to_parquet(columns: Mapping[str, Sequence[Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), sink)
    return bytes(sink.getvalue())
