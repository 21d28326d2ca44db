"""Storage trouble in words: obstore's and object_store's errors become ours, without secrets in them."""

from __future__ import annotations

import errno
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError, UnknownConfigurationKeyError

from nightshift.errors import ConfigError, NightshiftError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nightshift.lake.storage import Location

__all__ = ["is_full", "readable", "room_needed", "storage_error", "storage_errors"]

_SECRET = re.compile("key|secret|token|sas|password", re.IGNORECASE)
_DECORATION = re.compile(r"\x1b\[\d*m|↳|<\?xml[^>]*>")
_FAULT = re.compile(r"<Error>.*?<Code>(.*?)</Code>.*?<Message>\s*([^<\n]*).*", re.DOTALL)
_QUERY = re.compile(r"\?\S+")
_DENIED = ("lacked the necessary privileges", "403 Forbidden", "401 Unauthorized")
_ABSENT = ("404 Not Found", "not found", "NoSuchBucket", "ContainerNotFound")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "File too large")
_LONGEST = 500


def readable(message: str, options: Mapping[str, str]) -> str:
    """A storage library's message on one line: no debug dump, no XML, no query string, no secret."""
    text = message.split("Debug source:", 1)[0]
    text = _QUERY.sub("", _FAULT.sub(r"\1: \2", _DECORATION.sub(" ", text)))
    for name, value in options.items():
        if _SECRET.search(name) and len(value) > 3:
            text = text.replace(value, "***")
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " ..."


def is_full(error: Exception) -> bool:
    """Whether a disk had no room left, as Python, Arrow or object_store tell it."""
    return getattr(error, "errno", None) in _FULL or any(word in str(error) for word in _FULL_WORDS)


def _no_room(doing: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{doing} failed: no room is left on the disk",
        fix="make room, then clear the task; the lake is as it was",
    )


def storage_error(location: Location, doing: str, error: Exception) -> NightshiftError:
    """The error of ours for ``error``, met while ``doing`` something at ``location``.

    What waiting does not cure (sign-in, a bucket that is not there, a misspelt option) is a
    :class:`ConfigError`, everything else :class:`StorageUnavailable`.
    """
    if is_full(error):
        return _no_room(f"{doing} {location.uri}")
    reason = readable(str(error), location.options)
    if isinstance(error, UnknownConfigurationKeyError):
        return ConfigError(f"{location.uri}: {reason}", fix="check the options of its connection")
    if any(word in reason for word in _DENIED):
        return ConfigError(
            f"{doing} {location.uri} is not allowed: {reason}",
            fix="check the connection's credentials and what they may do",
        )
    if any(word in reason for word in _ABSENT):
        return ConfigError(
            f"{doing} {location.uri} failed: {reason}", fix="check the name of the bucket or container"
        )
    return StorageUnavailable(f"{doing} {location.uri} failed: {reason}")


@contextmanager
def storage_errors(location: Location, doing: str) -> Iterator[None]:
    """:func:`storage_error` for whatever obstore or the file system raises in the block."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise storage_error(location, doing, error) from None


@contextmanager
def room_needed(doing: str) -> Iterator[None]:
    """Turn the end of a local disk's room into ours; any other error passes as it is."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise _no_room(doing) from None
        raise
