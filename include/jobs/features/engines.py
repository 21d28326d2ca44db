"""Where a feature expression runs: DuckDB in this process, or a Spark session."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jobs.contract import BadInput, JobSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import ibis.expr.types as ir
    import pandas as pd

__all__ = ["Engine", "open_engine"]

_GIB = 2**30
_MEMORY_SHARE = 0.5
_MEMORY_MOST_GIB = 16


class Engine(Protocol):
    """Reads Parquet files as tables and carries an expression over them out."""

    def daily(self, name: str, files: Mapping[str, Sequence[Path]]) -> ir.Table:
        """Table of a partitioned channel, with the string column ``partition`` of its paths."""

    def snapshot(self, name: str, files: Sequence[Path]) -> ir.Table:
        """Table of a channel without partitions."""

    def frame(self, expression: ir.Table) -> pd.DataFrame:
        """The whole result."""

    def batches(self, expression: ir.Table, rows: int) -> Iterator[pd.DataFrame]:
        """The result in pieces of at most ``rows`` rows, in order, in bounded memory."""


@contextlib.contextmanager
def open_engine(spec: JobSpec) -> Iterator[Engine]:
    """Open the engine that the specification names, with a scratch folder that goes when it is closed."""
    name = spec.features.engine
    if name not in ("duckdb", "pyspark"):
        raise BadInput(f"there is no feature engine {name!r}: it is duckdb or pyspark")
    if spec.tmp is not None:
        spec.tmp.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="features-", dir=spec.tmp))
    try:
        with (_duckdb if name == "duckdb" else _pyspark)(scratch) as engine:
            yield engine
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _memory_gib() -> int:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    return max(1, min(_MEMORY_MOST_GIB, int(total * _MEMORY_SHARE)))


@contextlib.contextmanager
def _duckdb(scratch: Path) -> Iterator[Engine]:
    import ibis

    connection = ibis.duckdb.connect(
        threads=len(os.sched_getaffinity(0)),
        memory_limit=f"{_memory_gib()}GiB",
        temp_directory=str(scratch),
    )
    try:
        yield _DuckDB(connection)
    finally:
        connection.disconnect()


class _DuckDB:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def daily(self, name: str, files: Mapping[str, Sequence[Path]]) -> ir.Table:
        paths = [str(path) for day in files.values() for path in day]
        # The folder's name is the partition, as text: DuckDB would make a date of it.
        return self._connection.read_parquet(
            paths, table_name=name, hive_partitioning=True, hive_types_autocast=False, union_by_name=True
        )

    def snapshot(self, name: str, files: Sequence[Path]) -> ir.Table:
        return self._connection.read_parquet([str(path) for path in files], table_name=name)

    def frame(self, expression: ir.Table) -> pd.DataFrame:
        return _to_pandas(self._connection.to_pyarrow(expression))

    def batches(self, expression: ir.Table, rows: int) -> Iterator[pd.DataFrame]:
        for batch in self._connection.to_pyarrow_batches(expression, chunk_size=rows):
            yield from _pieces(batch, rows)


@contextlib.contextmanager
def _pyspark(scratch: Path) -> Iterator[Engine]:
    try:
        import ibis
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise BadInput(
            f"the feature engine pyspark is not installed ({error}): pip install 'nightshift[spark]'"
        ) from error
    builder = SparkSession.builder.appName("nightshift-features").config("spark.sql.session.timeZone", "UTC")
    if "MASTER" not in os.environ and SparkSession.getActiveSession() is None:
        builder = _local_spark(builder, scratch)
    session = builder.getOrCreate()
    session.conf.set("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
    yield _Spark(ibis.pyspark.connect(session), session, scratch)


def _local_spark(builder: Any, scratch: Path) -> Any:
    """A session on this machine only, which listens on loopback and writes into our scratch folder."""
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": f"{_memory_gib()}g",
        "spark.sql.shuffle.partitions": "8",
        "spark.local.dir": str(scratch.parent / "spark"),
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.master(f"local[{len(os.sched_getaffinity(0))}]")


class _Spark:
    def __init__(self, connection: Any, session: Any, scratch: Path) -> None:
        self._connection, self._session, self._scratch = connection, session, scratch

    def daily(self, name: str, files: Mapping[str, Sequence[Path]]) -> ir.Table:
        folders = [day[0].parent for day in files.values()]
        reader = self._session.read.option("basePath", str(folders[0].parent))
        return self._view(name, reader.parquet(*map(str, folders)))

    def snapshot(self, name: str, files: Sequence[Path]) -> ir.Table:
        return self._view(name, self._session.read.parquet(*map(str, files)))

    def _view(self, name: str, data: Any) -> ir.Table:
        data.createOrReplaceTempView(name)
        return self._connection.table(name)

    def frame(self, expression: ir.Table) -> pd.DataFrame:
        return _to_pandas(self._connection.to_pyarrow(expression))

    def batches(self, expression: ir.Table, rows: int) -> Iterator[pd.DataFrame]:
        import pyarrow.parquet as pq

        # Spark writes, we read: the driver never holds the result. Part files are in the order sorted.
        result = self._session.sql(self._connection.compile(expression))
        result.write.mode("overwrite").parquet(str(self._scratch / "result"))
        for path in sorted((self._scratch / "result").glob("part-*.parquet")):
            for batch in pq.ParquetFile(path).iter_batches(rows):
                yield from _pieces(batch, rows)


def _pieces(batch: Any, rows: int) -> Iterator[pd.DataFrame]:
    for start in range(0, batch.num_rows, rows):
        yield _to_pandas(batch.slice(start, rows))


def _to_pandas(data: Any) -> pd.DataFrame:
    """Whole numbers with gaps and every other number become float64: one row more changes no type."""
    import pyarrow as pa

    fields = [pa.field(f.name, _steady(f.name, f.type)) for f in data.schema]
    table = data if isinstance(data, pa.Table) else pa.Table.from_batches([data])
    return table.cast(pa.schema(fields)).to_pandas()


def _steady(name: str, kind: Any) -> Any:
    import pyarrow as pa

    if name == "row_id":
        return pa.int64()
    return pa.string() if pa.types.is_string(kind) or pa.types.is_large_string(kind) else pa.float64()
