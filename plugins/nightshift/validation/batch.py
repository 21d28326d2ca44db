"""A partition as DuckDB sees it: an Arrow table in memory or Parquet files, as the view ``batch``.

``source`` holds the rows as they are; ``batch`` is the same with NaN read as null, as pandas does.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from nightshift.validation.predicates import literal, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

__all__ = ["Batch", "open_files", "open_table", "scan_files"]

ROW_ID = "row_id"
_MEMORY = "2GB"


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one partition.

    :param table: the rows, when they are few enough to be held; GX's pandas engine reads them.
    :param database: otherwise the DuckDB file that holds the views; GX's SQL engine opens it.
    """

    connection: duckdb.DuckDBPyConnection
    columns: tuple[str, ...]
    rows: int
    table: pa.Table | None
    files: tuple[Path, ...]
    folder: Path | None

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        """Every row of a query."""
        return self.connection.execute(sql).fetchall()

    def one(self, sql: str) -> dict[str, Any]:
        """The first row of a query, by column name."""
        cursor = self.connection.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        return dict(zip(names, cursor.fetchone() or (), strict=False))

    def stream(self, sql: str, rows: int = 65_536) -> pa.RecordBatchReader:
        """A query's rows in batches, never all at once."""
        return self.connection.execute(sql).to_arrow_reader(rows)

    def frame(self, columns: Sequence[str]) -> Any:
        """These columns as a pandas frame."""
        listed = ", ".join(quote(name) for name in columns)
        return self.connection.execute(f"SELECT {listed} FROM batch").to_arrow_table().to_pandas()

    def save_views(self) -> Path:
        """A DuckDB file with the view ``batch`` over the same Parquet files, for GX's SQL engine."""
        if self.folder is None:
            raise ValueError("a batch in memory has no files for GX's SQL engine")
        path = self.folder / "gx.duckdb"
        path.unlink(missing_ok=True)
        with duckdb.connect(path) as database:
            _settings(database, self.folder)
            _views(database, scan_files(self.files), temporary=False)
        return path


@contextmanager
def open_table(table: pa.Table) -> Iterator[Batch]:
    """Rows that are already in memory."""
    with _shared().cursor() as connection:
        connection.register("arrow_rows", table)
        try:
            columns = _views(connection, "SELECT * FROM arrow_rows", temporary=True)
            yield Batch(connection, columns, table.num_rows, table, (), None)
        finally:
            connection.unregister("arrow_rows")


@contextmanager
def open_files(files: Sequence[Path], rows: int, staging: Path) -> Iterator[Batch]:
    """Parquet files, in bounded memory; what does not fit is spilled below ``staging``."""
    staging.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=staging, prefix="validate-") as folder,
        duckdb.connect() as connection,
    ):
        _settings(connection, Path(folder))
        columns = _views(connection, scan_files(files), temporary=True)
        yield Batch(connection, columns, rows, None, tuple(files), Path(folder))


@lru_cache(maxsize=1)
def _shared() -> duckdb.DuckDBPyConnection:
    """One database a process: opening one costs as much as validating a small partition."""
    connection = duckdb.connect()
    _settings(connection, None)
    return connection


def _settings(connection: duckdb.DuckDBPyConnection, folder: Path | None) -> None:
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    if folder is not None:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"SET temp_directory = {literal(str(folder / 'spill'))}")


def scan_files(files: Sequence[Path]) -> str:
    """The query that reads Parquet files, at least one."""
    listed = ", ".join(literal(str(path)) for path in files)
    return f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false)"


def _views(connection: duckdb.DuckDBPyConnection, select: str, *, temporary: bool) -> tuple[str, ...]:
    kind = "TEMP VIEW" if temporary else "VIEW"
    connection.execute(f"CREATE OR REPLACE {kind} source AS {select}")
    described = connection.execute("DESCRIBE source").fetchall()
    floats = [name for name, kind_of, *_ in described if kind_of in ("DOUBLE", "FLOAT")]
    # Not nullif(x, 'NaN'): Parquet's statistics leave NaN out, and DuckDB concludes that there is none.
    replaced = ", ".join(f"CASE WHEN NOT isnan({q}) THEN {q} END AS {q}" for q in map(quote, floats))
    star = f"* REPLACE ({replaced})" if floats else "*"
    connection.execute(f"CREATE OR REPLACE {kind} batch AS SELECT {star} FROM source")
    return tuple(name for name, *_ in described)
