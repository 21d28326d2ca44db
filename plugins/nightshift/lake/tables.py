"""The lake: Delta tables whose partitions are replaced whole, read back as they are or were."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
from deltalake import DeltaTable
from deltalake.fs import DeltaStorageHandler

from nightshift.errors import LakeError
from nightshift.lake import storage
from nightshift.lake.commits import arrow_schema, delta_errors, publish
from nightshift.lake.manifest import Manifest, ManifestFile
from nightshift.lake.prepared import Prepared, prepare_files
from nightshift.lake.schema import PARTITION, conform, stored_schema
from nightshift.lake.trouble import room_needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nightshift.lake.storage import Location, StoredObject

__all__ = ["Lake", "LakeTable", "PartitionStats"]

_ACTION_COLUMNS = ("path", f"partition.{PARTITION}", "num_records", "size_bytes", "modification_time")
_BATCH_ROWS = 65_536

Rows: TypeAlias = pa.Table | pa.RecordBatchReader | Prepared


@dataclass(frozen=True, slots=True)
class PartitionStats:
    """What a table's log says of one partition; ``written_at`` is the epoch second of its newest file."""

    rows: int
    bytes: int
    files: int
    written_at: float = 0.0


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

    def files(self, folder: str) -> list[str]:
        """Every file below ``folder``, as :meth:`read_file` takes them; one listing, nothing is read."""
        return [f"{folder}/{each.path}" for each in storage.list_objects(self.location.child(folder))]

    def read_files(self, relatives: Sequence[str]) -> dict[str, bytes]:
        """Those of these files that are there, read side by side."""
        return storage.read_objects(self.location, relatives)

    def remove_file(self, relative: str) -> None:
        """Take a file away; none of that name is as well."""
        if self.exists(relative):
            storage.remove(self.location, [relative])


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
        return arrow_schema(self._open())

    def replace_partition(
        self,
        partition: str,
        data: Rows,
        *,
        source: Mapping[str, str] | None = None,
        scratch: Path | None = None,
    ) -> int:
        """Make ``data`` the whole content of ``partition``, at once for every reader; returns the version.

        Zero rows empty the partition. Other rows are first written to local disk: an error of their
        source leaves the lake untouched, and a commit that is lost to another writer costs no data again.

        :param source: recorded with the commit.
        :param scratch: local folder for that; the system's temporary folder by default.
        :raises LakeError: the columns do not fit the table.
        :raises CommitConflict: other writers won every one of the bounded tries.
        """
        with self._prepared(data, partition, scratch) as prepared:
            return publish(self.name, self.location, {partition: prepared}, source or {})

    def replace_partitions(
        self, changes: Mapping[str, Prepared], *, basis: Manifest, source: Mapping[str, str] | None = None
    ) -> int:
        """The same for several partitions in one commit, refused when one of them is not as it was.

        :param changes: what :meth:`prepare` made for each partition, at least one.
        :param basis: the :meth:`snapshot` of this table that the rows were decided on.
        :returns: the version that holds all of them.
        :raises CommitConflict: another writer replaced one of the partitions since ``basis``, or other
            writers won every one of the bounded tries; nothing was changed then.
        """
        seen = basis.paths()
        known = {key: seen.get(key, frozenset()) for key in changes}
        return publish(self.name, self.location, changes, source or {}, basis=known)

    def replace_all(
        self, data: Rows, *, source: Mapping[str, str] | None = None, scratch: Path | None = None
    ) -> int:
        """The same for a snapshot table: make ``data`` its whole content."""
        with self._prepared(data, None, scratch) as prepared:
            return publish(self.name, self.location, prepared, source or {})

    def prepare(self, partition: str | None, data: pa.Table | pa.RecordBatchReader, folder: Path) -> Prepared:
        """The first half of a replacement: the rows as files in ``folder``, fit for this table.

        Hand the result to :meth:`replace_partition`, or to :meth:`replace_all` where ``partition`` is None.
        """
        schema = stored_schema(self.name, data.schema, self.schema() if self.exists() else None)
        batches = data.to_batches(_BATCH_ROWS) if isinstance(data, pa.Table) else data
        with room_needed(f"preparing rows of {self.name} in {folder}"):
            return prepare_files((conform(batch, schema, partition) for batch in batches), schema, folder)

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
        grouped: dict[str, list[dict[str, Any]]] = {}
        for file in _actions(self._open(version)):
            if (key := file.get(f"partition.{PARTITION}")) is not None:
                grouped.setdefault(key, []).append(file)
        return {key: _stats(files) for key, files in sorted(grouped.items())}

    def manifest(self, partitions: Sequence[str] | None, *, version: int | None = None) -> Manifest:
        """What a reader of these partitions (None: of the table) reads, at ``version`` or the newest."""
        table = self._open(version)
        return Manifest.of(self.name, self.location.uri, table.version(), self._files(table, partitions))

    def snapshot(self) -> Manifest:
        """The manifest of the newest version; an empty one, of version -1, where there is no table yet."""
        return self.manifest(None) if self.exists() else Manifest.of(self.name, self.location.uri, -1, [])

    def read_manifest(self, manifest: Manifest, *, columns: Sequence[str] | None = None) -> pa.Table:
        """The very rows that ``manifest`` names, whatever was written since.

        :raises LakeError: the table never had these files at that version.
        """
        return self._collect(self._checked(manifest), manifest.files, columns)

    def pinned(self, manifest: Manifest) -> Manifest:
        """The same manifest, with the ETag and the version of each file's object where the store has them."""
        found = storage.object_versions(self.location, [file.path for file in manifest.files])
        files = [
            replace(file, etag=found[file.path].etag, object_version=found[file.path].version)
            if file.path in found
            else file
            for file in manifest.files
        ]
        return replace(manifest, files=tuple(files))

    def replaced(self, manifest: Manifest) -> list[ManifestFile]:
        """Those of the manifest's files that are not there any more, or not as they were."""
        there = {each.path: each for each in storage.list_objects(self.location)}
        return [file for file in manifest.files if not _is(file, there.get(file.path))]

    def check(self, manifest: Manifest) -> None:
        """Make sure that the very rows that ``manifest`` names can still be read.

        A file that was deleted or replaced is as good as there where the manifest names its object's version.

        :raises LakeError: it is not what its hash says, the table never had these files at that version, or
            they were vacuumed away.
        """
        same = Manifest.of(manifest.table, manifest.uri, manifest.version, manifest.files)
        if same.sha256 != manifest.sha256:
            raise LakeError(
                f"the manifest of table {self.name!r} is not what its sha256 {manifest.sha256} says",
                fix="it was changed after it was written: restore it",
            )
        self._checked(manifest)
        gone = [file.path for file in self.replaced(manifest) if not file.object_version]
        if gone:
            raise LakeError(
                f"{len(gone)} of {len(manifest.files)} files of version {manifest.version} of table "
                f"{self.name!r} are not there any more: {gone[0]}",
                fix="they were vacuumed away: restore them from the store's object versions or a backup; "
                "vacuum with a retention as long as models are to be made again",
            )

    def download(self, manifest: Manifest, folder: Path) -> list[Path]:
        """The manifest's data files below ``folder``, under their own relative paths.

        Where the manifest names the versions of objects, these are read, whatever has become of the objects.
        Local files are hard-linked where the file system allows it: Delta never changes a data file.
        """
        self._checked(manifest)
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda file: self._fetch(file, folder), manifest.files))

    def _fetch(self, file: ManifestFile, folder: Path) -> Path:
        target, version = folder / file.path, file.object_version
        return storage.download(self.location, file.path, target, version=version)

    def _open(self, version: int | None = None) -> DeltaTable:
        with delta_errors(self.location, "opening"):
            return DeltaTable(
                self.location.table_uri, version=version, storage_options=self.location.table_options
            )

    def _files(self, table: DeltaTable, partitions: Sequence[str] | None) -> list[ManifestFile]:
        """The files of these partitions, sorted by path, which is the order of writing."""
        wanted = None if partitions is None else set(partitions)
        files = [
            ManifestFile(
                row["path"], row.get(f"partition.{PARTITION}"), row["num_records"], row["size_bytes"]
            )
            for row in _actions(table)
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
        return ds.FileSystemDataset(fragments, arrow_schema(table), form, files_in)

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

    @contextmanager
    def _prepared(self, data: Rows, partition: str | None, scratch: Path | None) -> Iterator[Prepared]:
        if isinstance(data, Prepared):
            yield data
            return
        with tempfile.TemporaryDirectory(prefix="nightshift-rows-", dir=scratch) as folder:
            yield self.prepare(partition, data, Path(folder))


def _is(file: ManifestFile, found: StoredObject | None) -> bool:
    """Whether an object is the manifest's file, as far as a listing tells."""
    return found is not None and found.size == file.bytes and file.etag in ("", found.etag)


def _actions(table: DeltaTable) -> list[dict[str, Any]]:
    """What the log says of each of the table's files."""
    actions = pa.table(table.get_add_actions(flatten=True))
    found: list[dict[str, Any]] = actions.select(
        [name for name in _ACTION_COLUMNS if name in actions.column_names]
    ).to_pylist()
    return found


def _stats(files: Sequence[Mapping[str, Any]]) -> PartitionStats:
    return PartitionStats(
        rows=sum(file["num_records"] for file in files),
        bytes=sum(file["size_bytes"] for file in files),
        files=len(files),
        written_at=max(file["modification_time"] for file in files) / 1000,
    )


def _belongs(file: ManifestFile) -> ds.Expression | None:
    return None if file.partition is None else ds.field(PARTITION) == file.partition


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)
