"""Landed files as typed record batches: the pipeline file's columns and types, or an error that names why."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from nightshift.config.pipeline import ReferenceConfig, SourceConfig
from nightshift.errors import PartitionCorrupt, SchemaMismatch
from nightshift.lake.conversion import TYPES, Unfit, from_parquet, from_text, parquet_fits
from nightshift.lake.diagnosis import explain_csv

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nightshift.lake.fetch import StagedFile

__all__ = ["DatasetConfig", "typed_reader"]

DatasetConfig: TypeAlias = SourceConfig | ReferenceConfig
_BLOCK_BYTES = 4 * 1024 * 1024
_BATCH_ROWS = 65_536


def typed_reader(files: Sequence[StagedFile], config: DatasetConfig, *, row_id: bool) -> pa.RecordBatchReader:
    """The rows of ``files``, one after the other, in bounded memory.

    :param row_id: add ``row_id``, int64, counting from 0 through all the files.
    :raises SchemaMismatch: while reading: extra, missing or retyped columns, by name, file and line.
    :raises PartitionCorrupt: while reading: a file is truncated, not UTF-8 or unreadable.
    """
    schema = pa.schema([(name, TYPES[kind]) for name, kind in config.columns.items()])
    if row_id:
        schema = schema.append(pa.field("row_id", pa.int64()))
    return pa.RecordBatchReader.from_batches(schema, _batches(files, config, schema, row_id=row_id))


def _batches(
    files: Sequence[StagedFile], config: DatasetConfig, schema: pa.Schema, *, row_id: bool
) -> Iterator[pa.RecordBatch]:
    read = _csv_columns if config.format == "csv" else _parquet_columns
    seen = 0
    for file in files:
        for columns in read(file, config):
            rows = len(columns[0])
            if row_id:
                columns.append(pa.array(np.arange(seen, seen + rows, dtype=np.int64)))
            seen += rows
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _csv_columns(file: StagedFile, config: DatasetConfig) -> Iterator[list[pa.Array]]:
    try:
        _check_names(file, _header(file), config)
        yield from _csv_converted(file, config)
    except (pa.ArrowException, Unfit, UnicodeDecodeError, EOFError, OSError, csv.Error) as error:
        raise explain_csv(file, config, error) from None


def _csv_converted(file: StagedFile, config: DatasetConfig) -> Iterator[list[pa.Array]]:
    # Arrow's own CSV timestamps cannot mix zoned and plain ones: those columns are converted afterwards.
    as_text = {name for name, kind in config.columns.items() if kind == "timestamp"}
    convert = pa_csv.ConvertOptions(
        column_types={n: pa.string() if n in as_text else TYPES[k] for n, k in config.columns.items()},
        include_columns=list(config.columns),
        null_values=list(config.null_values),
        strings_can_be_null=True,
    )
    with (
        pa.input_stream(str(file.file), compression="detect") as stream,
        pa_csv.open_csv(
            stream,
            read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=convert,
        ) as reader,
    ):
        for batch in reader:
            yield [
                from_text(column, TYPES["timestamp"]) if name in as_text else column
                for name, column in zip(config.columns, batch.columns, strict=True)
            ]


def _header(file: StagedFile) -> list[str]:
    with pa.input_stream(str(file.file), compression="detect") as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        header = next(csv.reader(text), None)
    if header is None:
        raise PartitionCorrupt(f"{file.uri} is empty", fix="deliver the file again")
    return header


def _parquet_columns(file: StagedFile, config: DatasetConfig) -> Iterator[list[pa.Array]]:
    try:
        with pq.ParquetFile(file.file) as source:
            schema = source.schema_arrow
            _check_names(file, schema.names, config)
            _check_types(file, schema, config)
            row = 0
            for batch in source.iter_batches(_BATCH_ROWS, columns=list(config.columns)):
                yield [_parquet_column(file, batch, name, kind, row) for name, kind in config.columns.items()]
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise PartitionCorrupt(
            f"{file.uri} is truncated or no Parquet file: {reason}", fix="deliver the file again"
        ) from None


def _parquet_column(file: StagedFile, batch: pa.RecordBatch, name: str, kind: str, row: int) -> pa.Array:
    try:
        return from_parquet(batch.column(name), TYPES[kind])
    except Unfit as unfit:
        raise SchemaMismatch(
            f"{file.uri}, row {row + unfit.index + 1}: column {name} holds {unfit.value!r}, not {kind}"
        ) from None


def _check_names(file: StagedFile, found: Sequence[str], config: DatasetConfig) -> None:
    missing = [name for name in config.columns if name not in found]
    extra = [name for name in found if name not in config.columns]
    twice = sorted({name for name in found if found.count(name) > 1})
    problems = [
        f"{word}: {', '.join(map(repr, names))}"
        for word, names in (("missing columns", missing), ("extra columns", extra), ("columns twice", twice))
        if names
    ]
    if problems:
        raise SchemaMismatch(
            f"{file.uri} has {'; '.join(problems)}",
            fix="deliver the columns of the pipeline file, or change them there",
        )


def _check_types(file: StagedFile, schema: pa.Schema, config: DatasetConfig) -> None:
    retyped = [
        f"{name} is {schema.field(name).type}, not {kind}"
        for name, kind in config.columns.items()
        if not parquet_fits(schema.field(name).type, kind)
    ]
    if retyped:
        raise SchemaMismatch(
            f"{file.uri} has retyped columns: {'; '.join(retyped)}",
            fix="deliver the types of the pipeline file, or change them there",
        )
