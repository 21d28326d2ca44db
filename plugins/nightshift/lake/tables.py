"""The lake: Delta tables whose partitions are replaced whole, read back as they are or were."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import obstore
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    WriterProperties,
    write_deltalake,
)
from deltalake.fs import DeltaStorageHandler

from nightshift.errors import LakeError
from nightshift.lake import storage
from nightshift.lake.commits import committed, delta_errors
from nightshift.lake.manifest import Manifest, ManifestFile
from nightshift.lake.schema import PARTITION, conform, stored_schema
from nightshift.lake.spool import Spool, spooled
from nightshift.lake.storage import Location, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Lake", "LakeTable", "PartitionStats"]

# Ten years of log and one of replaced files: a manifest of an old run must still be readable.
_CONFIGURATION = {
    "delta.checkpointInterval": "25",
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 365 days",
    # Readers choose by partition; minima and maxima of every column would double the time to open a table.
    "delta.dataSkippingNumIndexedCols": "0",
}
_ACTION_COLUMNS = ("path", f"partition.{PARTITION}", "num_records", "size_bytes")
_WRITER = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=131_072)
_HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
_SPOOL_BATCH_ROWS = 65_536

Rows: TypeAlias = pa.Table | pa.RecordBatchReader | Spool


@dataclass(frozen=True, slots=True)
class PartitionStats:
    """What a table's log says of one partition."""

    rows: int
    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Lake:
    """The tables, reports and records of one pipeline, below ``<root>/<pipeline>``."""

    root: Location
    pipeline: str

    @property
    def location(self) -> Location:
        """The pipeline's own folder."""
        return self.root.child(self.pipeline)

    def table(self, name: str) -> LakeTable:
        """The table of that name, written or not."""
        return LakeTable(name, self.location.child(name))

    def write_file(self, relative: str, data: bytes) -> str:
        """Write a file whole (a reader never sees half of it) and return its address."""
        storage.write_object(self.location, relative, data)
        return self.location.child(relative).uri

    def read_file(self, relative: str) -> bytes:
        """A file's content.

        :raises LakeError: when there is none.
        """
        data = storage.read_object(self.location, relative)
        if data is None:
            raise LakeError(f"{self.location.child(relative).uri} is not there")
        return data

    def exists(self, relative: str) -> bool:
        """Whether there is such a file."""
        return storage.object_exists(self.location, relative)


@dataclass(frozen=True, slots=True)
class LakeTable:
    """One Delta table: partitioned by the string column ``partition``, or a snapshot without partitions."""

    name: str
    location: Location

    def exists(self) -> bool:
        """Whether anything was ever written."""
        with delta_errors(self.location, "looking for"):
            return DeltaTable.is_deltatable(self.location.table_uri, self.location.table_options)

    def version(self) -> int:
        """The newest version."""
        return self._open().version()

    def schema(self) -> pa.Schema:
        """The columns, ``partition`` among them."""
        return _arrow_schema(self._open())

    def replace_partition(
        self,
        partition: str,
        data: Rows,
        *,
        source: Mapping[str, str] | None = None,
        scratch: Path | None = None,
    ) -> int:
        """Make ``data`` the whole content of ``partition``, at once for every reader; returns the version.

        Zero rows empty the partition. A reader is spooled to local disk first: an error of its source
        leaves the lake untouched, and a lost commit can be tried again.

        :param source: recorded with the commit.
        :param scratch: where a reader is spooled; the system's temporary folder by default.
        :raises LakeError: the columns do not fit the table.
        :raises CommitConflict: other writers won every one of the bounded tries.
        """
        with _replayable(data, scratch) as rows:
            return self._replace(rows, partition, source)

    def replace_all(
        self, data: Rows, *, source: Mapping[str, str] | None = None, scratch: Path | None = None
    ) -> int:
        """The same for a snapshot table: make ``data`` its whole content."""
        with _replayable(data, scratch) as rows:
            return self._replace(rows, None, source)

    def read(
        self,
        partitions: Sequence[str] | None,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows of these partitions (None: of the table), in the order they were written.

        A partition that is not there has no rows.
        """
        table = self._open(version)
        return self._collect(table, self._files(table, partitions), columns)

    def batches(
        self,
        partitions: Sequence[str] | None,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        batch_rows: int = 65_536,
    ) -> Iterator[pa.RecordBatch]:
        """The same rows in bounded memory, in batches of at most ``batch_rows``."""
        table = self._open(version)
        dataset = self._dataset(table, self._files(table, partitions))
        with delta_errors(self.location, "reading"):
            yield from dataset.to_batches(
                columns=_listed(columns), batch_size=batch_rows, batch_readahead=2, fragment_readahead=1
            )

    def partitions(self, version: int | None = None) -> dict[str, PartitionStats]:
        """Every partition with rows, oldest first, from the log alone; empty when there is no table yet."""
        if not self.exists():
            return {}
        grouped: dict[str, list[ManifestFile]] = {}
        for file in self._files(self._open(version), None):
            if file.partition is not None:
                grouped.setdefault(file.partition, []).append(file)
        return {
            key: PartitionStats(sum(f.rows for f in files), sum(f.bytes for f in files), len(files))
            for key, files in sorted(grouped.items())
        }

    def manifest(self, partitions: Sequence[str] | None, *, version: int | None = None) -> Manifest:
        """What a reader of these partitions (None: of the table) reads, at ``version`` or the newest."""
        table = self._open(version)
        return Manifest.of(self.name, self.location.uri, table.version(), self._files(table, partitions))

    def read_manifest(self, manifest: Manifest, *, columns: Sequence[str] | None = None) -> pa.Table:
        """The very rows that ``manifest`` names, whatever was written since.

        :raises LakeError: the table never had these files at that version.
        """
        return self._collect(self._checked(manifest), manifest.files, columns)

    def download(self, manifest: Manifest, folder: Path) -> list[Path]:
        """The manifest's data files below ``folder``, under their own relative paths.

        Local files are hard-linked where the file system allows it: Delta never changes a data file.
        """
        self._checked(manifest)
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda file: self._fetch(file, folder / file.path), manifest.files))

    def _open(self, version: int | None = None) -> DeltaTable:
        with delta_errors(self.location, "opening"):
            return DeltaTable(
                self.location.table_uri, version=version, storage_options=self.location.table_options
            )

    def _files(self, table: DeltaTable, partitions: Sequence[str] | None) -> list[ManifestFile]:
        """The files of these partitions, sorted by path, which is the order of writing."""
        actions = pa.table(table.get_add_actions(flatten=True))
        kept = [name for name in _ACTION_COLUMNS if name in actions.column_names]
        wanted = None if partitions is None else set(partitions)
        files = [
            ManifestFile(
                row["path"], row.get(f"partition.{PARTITION}"), row["num_records"], row["size_bytes"]
            )
            for row in actions.select(kept).to_pylist()
        ]
        chosen = (file for file in files if wanted is None or file.partition in wanted)
        return sorted(chosen, key=lambda file: file.path)

    def _dataset(self, table: DeltaTable, files: Sequence[ManifestFile]) -> ds.FileSystemDataset:
        """These files as Arrow sees them; deltalake's own dataset also weighs every statistic of the log."""
        if self.location.is_local:
            files_in = pa_fs.SubTreeFileSystem(str(self.location.path()), pa_fs.LocalFileSystem())
        else:
            handler = DeltaStorageHandler(self.location.table_uri, self.location.table_options)
            files_in = pa_fs.PyFileSystem(handler)
        form = ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=True)
        )
        fragments = [
            form.make_fragment(file.path, files_in, partition_expression=_belongs(file)) for file in files
        ]
        return ds.FileSystemDataset(fragments, _arrow_schema(table), form, files_in)

    def _collect(
        self, table: DeltaTable, files: Sequence[ManifestFile], columns: Sequence[str] | None
    ) -> pa.Table:
        with delta_errors(self.location, "reading"):
            return self._dataset(table, files).to_table(columns=_listed(columns))

    def _checked(self, manifest: Manifest) -> DeltaTable:
        table = self._open(manifest.version)
        known = {(file.path, file.rows, file.bytes) for file in self._files(table, None)}
        strangers = [f.path for f in manifest.files if (f.path, f.rows, f.bytes) not in known]
        if strangers:
            raise LakeError(
                f"version {manifest.version} of table {self.name!r} has no file {strangers[0]}",
                fix="the manifest belongs to another lake, or the table was rebuilt",
            )
        return table

    def _fetch(self, file: ManifestFile, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        with storage_errors(self.location.child(file.path), "downloading"):
            if self.location.is_local:
                _link_or_copy(self.location.path() / file.path, target)
            else:
                with target.open("wb") as out:
                    for chunk in obstore.get(self.location.store(), file.path):
                        out.write(chunk)
        return target

    def _replace(
        self, rows: pa.Table | Spool, partition: str | None, source: Mapping[str, str] | None
    ) -> int:
        what = "the replacement" if partition is None else f"the replacement of {partition}"

        def write() -> int:
            with delta_errors(self.location, "writing"):
                return self._write_once(rows, partition, source)

        return committed(write, table=self.name, what=what)

    def _write_once(
        self, rows: pa.Table | Spool, partition: str | None, source: Mapping[str, str] | None
    ) -> int:
        table = self._open_or_create(rows.schema, partitioned=partition is not None)
        predicate = None if partition is None else f"{PARTITION} = '{_literal(partition)}'"
        note = CommitProperties(custom_metadata=dict(source or {}), max_commit_retries=20)
        if _count(rows) == 0:
            table.delete(predicate, commit_properties=note, post_commithook_properties=_HOOKS)
            return table.version()
        schema = stored_schema(
            self.name, rows.schema, _arrow_schema(table), partitioned=partition is not None
        )
        with _own_errors(_batches(rows), schema, partition) as reader:
            write_deltalake(
                table,
                reader,
                mode="overwrite",
                predicate=predicate,
                writer_properties=_WRITER,
                commit_properties=note,
                post_commithook_properties=_HOOKS,
            )
        return table.version()

    def _open_or_create(self, schema: pa.Schema, *, partitioned: bool) -> DeltaTable:
        uri, options = self.location.table_uri, self.location.table_options
        if not DeltaTable.is_deltatable(uri, options):
            if self.location.is_local:
                self.location.path().mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                uri,
                stored_schema(self.name, schema, None, partitioned=partitioned),
                mode="ignore",
                partition_by=[PARTITION] if partitioned else None,
                configuration=_CONFIGURATION,
                storage_options=options,
            )
        table = DeltaTable(uri, storage_options=options)
        if bool(table.metadata().partition_columns) != partitioned:
            kind = "snapshot" if partitioned else "partitioned"
            raise LakeError(f"table {self.name!r} is a {kind} table and cannot be written otherwise")
        return table


@contextmanager
def _replayable(data: Rows, scratch: Path | None) -> Iterator[pa.Table | Spool]:
    if isinstance(data, pa.RecordBatchReader):
        with spooled(data, scratch) as spool:
            yield spool
    else:
        yield data


@contextmanager
def _own_errors(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, partition: str | None
) -> Iterator[pa.RecordBatchReader]:
    """A reader of conformed batches; an error of ours in it comes out as it is, not as Delta's text."""
    raised: list[LakeError] = []

    def conformed() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                yield conform(batch, schema, partition)
        except LakeError as error:
            raised.append(error)
            raise

    try:
        yield pa.RecordBatchReader.from_batches(schema, conformed())
    except Exception:
        if raised:
            raise raised[0] from None
        raise


def _batches(rows: pa.Table | Spool) -> Iterator[pa.RecordBatch]:
    return rows.batches() if isinstance(rows, Spool) else iter(rows.to_batches(_SPOOL_BATCH_ROWS))


def _count(rows: pa.Table | Spool) -> int:
    return rows.rows if isinstance(rows, Spool) else rows.num_rows


def _arrow_schema(table: DeltaTable) -> pa.Schema:
    return pa.schema(table.schema().to_arrow())


def _belongs(file: ManifestFile) -> ds.Expression | None:
    return None if file.partition is None else ds.field(PARTITION) == file.partition


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)


def _literal(partition: str) -> str:
    return partition.replace("'", "''")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
