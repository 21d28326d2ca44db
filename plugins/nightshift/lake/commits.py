"""Delta commits: other writers are waited out within bounds, and Delta's errors become ours."""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from nightshift.errors import CommitConflict, LakeError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nightshift.lake.storage import Location

__all__ = ["committed", "delta_errors"]

TRIES = 10
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0
Result = TypeVar("Result")


def committed(write: Callable[[], Result], *, table: str, what: str) -> Result:
    """The result of ``write``, called again when another writer's commit got in its way.

    ``write`` must open the table itself, so that each try starts from the newest version.

    :raises CommitConflict: after the last of the bounded tries.
    """
    for attempt in range(TRIES):
        try:
            return write()
        except CommitFailedError as error:
            last = error
            wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)
            time.sleep(random.uniform(wait / 2, wait))
    raise CommitConflict(
        f"{what} of table {table!r} lost to other writers {TRIES} times: {str(last).splitlines()[0]}",
        fix="run fewer writers on this table at once, or try again later",
    ) from last


@contextmanager
def delta_errors(location: Location, doing: str) -> Iterator[None]:
    """Turn deltalake's errors into ours; a lost commit passes, :func:`committed` takes it.

    :raises LakeError: the table is not there, or Delta refuses.
    :raises StorageUnavailable: the storage below failed.
    """
    try:
        yield
    except CommitFailedError:
        raise
    except TableNotFoundError:
        raise LakeError(
            f"{doing} {location.uri} found no table", fix="ingest a partition first, or check lake_uri"
        ) from None
    except DeltaError as error:
        raise LakeError(f"{doing} {location.uri} failed: {location.scrub(str(error))}") from None
    except OSError as error:
        raise StorageUnavailable(f"{doing} {location.uri} failed: {location.scrub(str(error))}") from None
