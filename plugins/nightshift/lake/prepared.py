"""Rows as closed Parquet files on local disk: complete and checked before a lake sees any of them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Prepared", "PreparedFile", "prepare_files"]

_GROUP_ROWS = 131_072
# Bounds on memory and on a file; rows that are images reach them long before they are many.
_GROUP_BYTES = 64 * 1024 * 1024
_FILE_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """One file, to be published under ``name``."""

    file: Path
    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The files of one replacement, in the order of their rows; ``schema`` lacks the partition column."""

    schema: pa.Schema
    files: tuple[PreparedFile, ...]

    @property
    def rows(self) -> int:
        """Rows of all the files."""
        return sum(each.rows for each in self.files)


def prepare_files(batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path) -> Prepared:
    """Write ``batches`` into ``folder`` in bounded memory; an error of their source passes as it is."""
    files: list[PreparedFile] = []
    unique = uuid.uuid4()
    groups = _groups(batches, schema)
    group = next(groups, None)
    while group is not None:
        name = f"part-{len(files):05d}-{unique}.zstd.parquet"
        file, rows = folder / name, 0
        with (
            pa.OSFile(str(file), "wb") as sink,
            pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1) as writer,
        ):
            while group is not None and sink.tell() < _FILE_BYTES:
                writer.write_table(group)
                rows += group.num_rows
                group = next(groups, None)
        files.append(PreparedFile(file, name, rows, file.stat().st_size))
    return Prepared(schema, tuple(files))


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in row groups of a good size."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        if batch.num_rows:
            waiting.append(batch)
        full = sum(each.num_rows for each in waiting) >= _GROUP_ROWS
        if full or sum(each.nbytes for each in waiting) >= _GROUP_BYTES:
            yield pa.Table.from_batches(waiting, schema)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting, schema)
