"""Delta commits: files are put in place once, and other writers are waited out within bounds."""

from __future__ import annotations

import json
import logging
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from nightshift.errors import CommitConflict, LakeError, NightshiftError
from nightshift.lake import storage
from nightshift.lake.prepared import Prepared
from nightshift.lake.schema import PARTITION, stored_schema
from nightshift.lake.trouble import is_full, readable, storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nightshift.lake.prepared import PreparedFile
    from nightshift.lake.storage import Location

__all__ = ["arrow_schema", "delta_errors", "publish"]

log = logging.getLogger(__name__)

TRIES = 20
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 1.5
_UPLOADS = 8
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
# Ten years of log and one of replaced files: a manifest of an old run must still be readable.
_CONFIGURATION = {
    "delta.checkpointInterval": "25",
    "delta.logRetentionDuration": "interval 3650 days",
    "delta.deletedFileRetentionDuration": "interval 365 days",
    # Readers choose by partition; minima and maxima of every column would double the time to open a table.
    "delta.dataSkippingNumIndexedCols": "0",
}
_HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


@dataclass(frozen=True, slots=True)
class _Change:
    """Files in place, waiting for the commit that makes them the content of their partitions.

    ``partitions`` is None for a whole snapshot table; ``basis`` has the files that the writer saw in each
    partition, or is None where it replaces whatever is there.
    """

    table: str
    location: Location
    schemas: tuple[pa.Schema, ...]
    partitions: tuple[str, ...] | None
    actions: tuple[AddAction, ...]
    note: Mapping[str, str]
    basis: Mapping[str, frozenset[str]] | None

    @property
    def title(self) -> str:
        """For messages."""
        if self.partitions is None:
            what = "all rows"
        else:
            more = len(self.partitions) - 1
            what = self.partitions[0] + (f" and {more} more" if more else "")
        return f"the replacement of {what} in table {self.table!r}"

    def is_made(self, present: Mapping[str, str | None]) -> bool:
        """Whether the table holds just this: the last try did win, or there is nothing to empty."""
        if self.actions:
            return self.actions[0].path in present
        return not present if self.partitions is None else not set(self.partitions) & set(present.values())

    def check_basis(self, present: Mapping[str, str | None]) -> None:
        """
        :raises CommitConflict: when a partition is not what the writer saw.
        """
        for key, files in (self.basis or {}).items():
            if files != {path for path, partition in present.items() if partition == key}:
                raise CommitConflict(
                    f"{self.title} is refused: another writer replaced {key} meanwhile",
                    fix="start again from the rows that are there now",
                )


def publish(
    table: str,
    location: Location,
    changes: Mapping[str, Prepared] | Prepared,
    note: Mapping[str, str],
    *,
    basis: Mapping[str, frozenset[str]] | None = None,
) -> int:
    """Put the files in place, then make them the whole content of their partitions, in one commit.

    A commit is a compare-and-swap on the table's version. Lost, it is tried again from the newest
    version within bounds; the files stay where they are. So the last of several writers wins, whole.

    :param changes: rows by partition, at least one; or the whole content of a snapshot table.
    :param basis: the files that each partition must still have; without it whatever is there is replaced.
    :returns: the version that holds the rows.
    :raises LakeError: the columns do not fit the table.
    :raises CommitConflict: after the last try, or when ``basis`` does not hold; the files are taken away.
    """
    change = _put(table, location, changes, note, basis)
    try:
        return _committed(change)
    except NightshiftError as error:
        made = None if isinstance(error, CommitConflict) else _made(change)
        if made is not None:
            log.warning("%s is committed; what follows a commit was left out: %s", change.title, error.what)
            return made
        # Elsewhere a commit whose answer was lost may still be on its way: then the files must stay.
        if isinstance(error, CommitConflict) or location.is_local:
            _take_away(location, [action.path for action in change.actions])
        raise


def _made(change: _Change) -> int | None:
    """The version that holds the change, where it was committed after all; None where nobody can say."""
    try:
        with delta_errors(change.location, "opening"):
            table = DeltaTable(change.location.table_uri, storage_options=change.location.table_options)
            return int(table.version()) if change.is_made(_present(table)) else None
    except NightshiftError:
        return None


def _take_away(location: Location, paths: Sequence[str]) -> None:
    """Remove files that no version names; trouble with that must not hide why."""
    with suppress(NightshiftError):
        storage.remove(location, paths)


def _put(
    table: str,
    location: Location,
    changes: Mapping[str, Prepared] | Prepared,
    note: Mapping[str, str],
    basis: Mapping[str, frozenset[str]] | None,
) -> _Change:
    parts: list[tuple[str | None, Prepared]] = (
        [(None, changes)] if isinstance(changes, Prepared) else [*changes.items()]
    )
    for key, _ in parts:
        if key is not None and not _PLAIN.fullmatch(key):
            raise LakeError(f"{key!r} cannot be the name of a partition", fix="use letters, digits, . _ -")
    files = [(key, each) for key, prepared in parts for each in prepared.files]
    try:
        with ThreadPoolExecutor(_UPLOADS) as pool:
            list(pool.map(lambda one: storage.upload(location, _path(*one), one[1].file), files))
    except NightshiftError:
        _take_away(location, [_path(*one) for one in files])
        raise
    return _Change(
        table=table,
        location=location,
        schemas=tuple(prepared.schema for _, prepared in parts),
        partitions=None if isinstance(changes, Prepared) else tuple(changes),
        actions=tuple(_added(each, _path(key, each), key) for key, each in files),
        note=note,
        basis=basis,
    )


def _path(partition: str | None, file: PreparedFile) -> str:
    return file.name if partition is None else f"{PARTITION}={partition}/{file.name}"


def _committed(change: _Change) -> int:
    for attempt in range(TRIES):
        try:
            return _commit(change)
        except CommitFailedError as error:
            lost = error
            wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
            time.sleep(random.uniform(wait / 2, wait))
    raise CommitConflict(
        f"{change.title} lost to other writers {TRIES} times: {readable(str(lost), change.location.options)}",
        fix="run fewer writers on this table at once, or try again later",
    )


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """The table's columns, ``partition`` among them."""
    return pa.schema(table.schema().to_arrow())


def _commit(change: _Change) -> int:
    """One try, from the newest version."""
    keys = change.partitions
    with delta_errors(change.location, "writing"):
        table = _open_or_create(change.table, change.location, change.schemas, partitioned=keys is not None)
        present = _present(table)
        if change.is_made(present):
            return int(table.version())
        change.check_basis(present)
        table.create_write_transaction(
            list(change.actions),
            mode="overwrite",
            schema=table.schema(),
            partition_by=[] if keys is None else [PARTITION],
            partition_filters=None if keys is None else [(PARTITION, "in", list(keys))],
            # No retries of Delta's own: between two writers of a new partition it would see no conflict.
            commit_properties=CommitProperties(custom_metadata=dict(change.note), max_commit_retries=0),
            post_commithook_properties=_HOOKS,
        )
        return int(table.version()) + 1


def _present(table: DeltaTable) -> dict[str, str | None]:
    """The partition of every data file, by its path."""
    actions = pa.table(table.get_add_actions(flatten=True))
    paths = actions["path"].to_pylist()
    name = f"partition.{PARTITION}"
    keys = actions[name].to_pylist() if name in actions.column_names else [None] * len(paths)
    return dict(zip(paths, keys, strict=True))


def _open_or_create(
    name: str, location: Location, schemas: Sequence[pa.Schema], *, partitioned: bool
) -> DeltaTable:
    uri, options = location.table_uri, location.table_options
    if not DeltaTable.is_deltatable(uri, options):
        if location.is_local:
            location.path().mkdir(parents=True, exist_ok=True)
        DeltaTable.create(
            uri,
            schemas[0].append(pa.field(PARTITION, pa.string())) if partitioned else schemas[0],
            mode="ignore",
            partition_by=[PARTITION] if partitioned else None,
            configuration=_CONFIGURATION,
            storage_options=options,
        )
    table = DeltaTable(uri, storage_options=options)
    if bool(table.metadata().partition_columns) != partitioned:
        kind = "snapshot" if partitioned else "partitioned"
        raise LakeError(f"table {name!r} is a {kind} table and cannot be written otherwise")
    kept = arrow_schema(table)
    if not all(stored_schema(name, each, kept).equals(each) for each in schemas):
        raise LakeError(f"table {name!r} was made with other types meanwhile", fix="write the rows again")
    return table


def _added(each: PreparedFile, path: str, partition: str | None) -> AddAction:
    return AddAction(
        path=path,
        size=each.bytes,
        partition_values={} if partition is None else {PARTITION: partition},
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": each.rows}),
    )


@contextmanager
def delta_errors(location: Location, doing: str) -> Iterator[None]:
    """Turn deltalake's errors into ours; a lost commit passes, :func:`publish` tries it again.

    :raises LakeError: the table is not there, or Delta refuses.
    :raises StorageUnavailable: the storage below failed, or ConfigError where waiting does not help.
    """
    try:
        yield
    except CommitFailedError:
        raise
    except TableNotFoundError:
        raise LakeError(
            f"{doing} {location.uri} found no table", fix="ingest a partition first, or check lake_uri"
        ) from None
    except FileNotFoundError as error:
        raise LakeError(
            f"{doing} {location.uri} misses a data file: {readable(str(error), location.options)}",
            fix="it was vacuumed, or the folder was changed by hand: ingest the partition again",
        ) from None
    except DeltaError as error:
        if is_full(error):
            raise storage_error(location, doing, error) from None
        raise LakeError(f"{doing} {location.uri} failed: {readable(str(error), location.options)}") from None
    except OSError as error:
        raise storage_error(location, doing, error) from None
