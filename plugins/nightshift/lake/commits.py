"""Delta commits: files are put in place once, and other writers are waited out within bounds."""

from __future__ import annotations

import json
import random
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction

from nightshift.errors import CommitConflict, LakeError
from nightshift.lake import storage
from nightshift.lake.schema import PARTITION, stored_schema
from nightshift.lake.trouble import readable, storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nightshift.lake.prepared import Prepared, PreparedFile
    from nightshift.lake.storage import Location

__all__ = ["arrow_schema", "delta_errors", "publish"]

TRIES = 20
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 1.5
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


def publish(
    table: str, location: Location, prepared: Prepared, partition: str | None, note: Mapping[str, str]
) -> int:
    """Put the files in place, then make them the whole content of ``partition`` (None: of the table).

    A commit is a compare-and-swap on the table's version. Lost, it is tried again from the newest
    version within bounds; the files stay where they are. So the last of several writers wins, whole.

    :returns: the version that holds the rows.
    :raises LakeError: the columns do not fit the table.
    :raises CommitConflict: after the last try; the files are taken away again.
    """
    if partition is not None and not _PLAIN.fullmatch(partition):
        raise LakeError(f"{partition!r} cannot be the name of a partition", fix="use letters, digits, . _ -")
    folder = "" if partition is None else f"{PARTITION}={partition}/"
    actions = []
    for each in prepared.files:
        storage.upload(location, folder + each.name, each.file)
        actions.append(_added(each, folder + each.name, partition))
    for attempt in range(TRIES):
        try:
            return _commit(table, location, prepared.schema, actions, partition, note)
        except CommitFailedError as error:
            lost = error
            wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
            time.sleep(random.uniform(wait / 2, wait))
    storage.remove(location, [action.path for action in actions])
    reason = readable(str(lost), location.options)
    raise CommitConflict(
        f"the replacement of {partition or 'all rows'} in table {table!r} lost to other writers "
        f"{TRIES} times: {reason}",
        fix="run fewer writers on this table at once, or try again later",
    )


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """The table's columns, ``partition`` among them."""
    return pa.schema(table.schema().to_arrow())


def _commit(
    name: str,
    location: Location,
    schema: pa.Schema,
    actions: list[AddAction],
    partition: str | None,
    note: Mapping[str, str],
) -> int:
    """One try, from the newest version."""
    with delta_errors(location, "writing"):
        table = _open_or_create(name, location, schema, partitioned=partition is not None)
        present = set(pa.table(table.get_add_actions())["path"].to_pylist())
        if actions and actions[0].path in present:
            return int(table.version())  # the last try did win, only its answer was lost
        table.create_write_transaction(
            list(actions),
            mode="overwrite",
            schema=table.schema(),
            partition_by=[] if partition is None else [PARTITION],
            partition_filters=None if partition is None else [(PARTITION, "=", partition)],
            # No retries of Delta's own: between two writers of a new partition it would see no conflict.
            commit_properties=CommitProperties(custom_metadata=dict(note), max_commit_retries=0),
            post_commithook_properties=_HOOKS,
        )
        return int(table.version()) + 1


def _open_or_create(name: str, location: Location, schema: pa.Schema, *, partitioned: bool) -> DeltaTable:
    uri, options = location.table_uri, location.table_options
    if not DeltaTable.is_deltatable(uri, options):
        if location.is_local:
            location.path().mkdir(parents=True, exist_ok=True)
        DeltaTable.create(
            uri,
            schema.append(pa.field(PARTITION, pa.string())) if partitioned else schema,
            mode="ignore",
            partition_by=[PARTITION] if partitioned else None,
            configuration=_CONFIGURATION,
            storage_options=options,
        )
    table = DeltaTable(uri, storage_options=options)
    if bool(table.metadata().partition_columns) != partitioned:
        kind = "snapshot" if partitioned else "partitioned"
        raise LakeError(f"table {name!r} is a {kind} table and cannot be written otherwise")
    if not stored_schema(name, schema, arrow_schema(table)).equals(schema):
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
        raise LakeError(f"{doing} {location.uri} failed: {readable(str(error), location.options)}") from None
    except OSError as error:
        raise storage_error(location, doing, error) from None
