"""Why a CSV file could not be taken: the first offending byte, line or value, in words.

Runs only after the fast path failed, so it may take its time; it reads in bounded memory.
"""

from __future__ import annotations

import codecs
import csv
import io
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa

from nightshift.errors import PartitionCorrupt, SchemaMismatch, SourceError
from nightshift.lake.conversion import TYPES, Unfit, from_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nightshift.lake.fetch import StagedFile
    from nightshift.lake.typed import DatasetConfig

__all__ = ["explain_csv"]

_AGAIN = "deliver the file again"
_CHUNK_BYTES = 1 << 20
_CHUNK_ROWS = 8192
Row = tuple[int, list[str]]


def explain_csv(file: StagedFile, config: DatasetConfig, error: Exception) -> SourceError:
    """The error to raise for ``file``, which failed with ``error``."""
    try:
        _check_text(file)
        _check_rows(file, config)
    except SourceError as found:
        return found
    except csv.Error as found:
        return PartitionCorrupt(f"{file.uri} is no readable CSV: {found}", fix=_AGAIN)
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return PartitionCorrupt(f"{file.uri} cannot be read: {reason}", fix=_AGAIN)


def _check_text(file: StagedFile) -> None:
    """Refuse what cannot be unpacked, or is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, lines = 0, 1
    with pa.input_stream(str(file.file), compression="detect") as stream:
        while True:
            block = _unpacked(file, stream)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as bad:
                start = max(0, bad.start - pending)
                line = lines + block.count(b"\n", 0, start)
                raise PartitionCorrupt(
                    f"{file.uri} is not UTF-8: byte {offset - pending + bad.start}, "
                    f"in line {line}, is 0x{bad.object[bad.start]:02x}",
                    fix="deliver the file as UTF-8",
                ) from None
            if not block:
                return
            offset += len(block)
            lines += block.count(b"\n")


def _unpacked(file: StagedFile, stream: pa.NativeFile) -> bytes:
    try:
        block: bytes = stream.read(_CHUNK_BYTES)
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise PartitionCorrupt(f"{file.uri} is truncated or damaged: {reason}", fix=_AGAIN) from None
    return block


def _check_rows(file: StagedFile, config: DatasetConfig) -> None:
    """Refuse the first row of a wrong length, or with a value of a wrong type."""
    with pa.input_stream(str(file.file), compression="detect") as stream:
        rows = _rows(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
        _, header = next(rows, (0, []))
        while chunk := list(islice(rows, _CHUNK_ROWS)):
            wrong = next((n for n, (_, row) in enumerate(chunk) if len(row) != len(header)), None)
            _check_values(file, config, header, chunk[:wrong])
            if wrong is not None:
                last = wrong == len(chunk) - 1 and next(rows, None) is None
                _refuse_length(file, chunk[wrong], len(header), last=last)


def _rows(text: io.TextIOWrapper) -> Iterator[Row]:
    """Line each row starts in, and its fields; blank lines are no rows."""
    reader = csv.reader(text)
    line = 1
    for row in reader:
        if row:
            yield line, row
        line = reader.line_num + 1


def _refuse_length(file: StagedFile, row: Row, fields: int, *, last: bool) -> None:
    line, values = row
    if last and len(values) < fields:
        raise PartitionCorrupt(
            f"{file.uri} is truncated: its last line, {line}, has {len(values)} of {fields} fields",
            fix=_AGAIN,
        )
    raise PartitionCorrupt(f"{file.uri}, line {line}: {len(values)} fields, not {fields}", fix=_AGAIN)


def _check_values(file: StagedFile, config: DatasetConfig, header: list[str], rows: list[Row]) -> None:
    """Refuse the value of a wrong type that comes first in the file."""
    found: list[tuple[int, str, object]] = []
    nulls = set(config.null_values)
    for position, name in enumerate(header):
        texts = [None if row[position] in nulls else row[position] for _, row in rows]
        try:
            from_text(pa.array(texts, pa.string()), TYPES[config.columns[name]])
        except Unfit as unfit:
            found.append((unfit.index, name, unfit.value))
    if found:
        index, name, value = min(found, key=lambda each: each[0])
        raise SchemaMismatch(
            f"{file.uri}, line {rows[index][0]}: column {name} holds {value!r}, not {config.columns[name]}",
            fix="deliver the types of the pipeline file, or change them there",
        )
