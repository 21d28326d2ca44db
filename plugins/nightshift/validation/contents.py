"""Whether two sets of rows are the same, in any order: a count and a sum of row hashes, in one scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from nightshift.validation.batch import scan_files
from nightshift.validation.predicates import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from nightshift.lake.manifest import Manifest
    from nightshift.lake.prepared import Prepared
    from nightshift.lake.tables import LakeTable
    from nightshift.validation.batch import Batch

__all__ = ["Contents", "holds", "of_batch", "of_stored"]


@dataclass(frozen=True, slots=True)
class Contents:
    """Rows and the sum of their 64-bit hashes; the contents of two parts add up to those of the whole."""

    rows: int = 0
    hashes: int = 0

    def __add__(self, other: Contents) -> Contents:
        return Contents(self.rows + other.rows, self.hashes + other.hashes)


def of_batch(batch: Batch) -> Contents:
    """The rows of a batch as they came."""
    return _contents(batch.connection, "source", batch.columns)


def of_stored(
    table: LakeTable,
    held: Manifest,
    columns: Sequence[str],
    connection: duckdb.DuckDBPyConnection,
    scratch: Path,
) -> Contents:
    """These columns of the rows of ``table`` that ``held`` names."""
    if not held.rows:
        return Contents()
    with TemporaryDirectory(dir=scratch, prefix="stored-") as folder:
        return _of_files(table.download(held, Path(folder)), columns, connection)


def holds(table: LakeTable, held: Manifest, prepared: Prepared, batch: Batch, scratch: Path) -> bool:
    """Whether the rows of ``table`` that ``held`` names are exactly the prepared ones."""
    if held.version < 0 or held.rows != prepared.rows:
        return False
    columns, connection = prepared.schema.names, batch.connection
    stored = of_stored(table, held, columns, connection, scratch)
    return stored == _of_files([each.file for each in prepared.files], columns, connection)


def _of_files(
    files: Sequence[Path], columns: Sequence[str], connection: duckdb.DuckDBPyConnection
) -> Contents:
    return _contents(connection, f"({scan_files(files)})", columns) if files else Contents()


def _contents(connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> Contents:
    listed = ", ".join(map(quote, columns))
    rows, hashes = connection.execute(
        f"SELECT count(*), coalesce(sum(hash({listed})::HUGEINT), 0) FROM {relation}"
    ).fetchall()[0]
    return Contents(int(rows), int(hashes))
