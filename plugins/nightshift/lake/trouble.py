"""Storage trouble in words: obstore's and object_store's errors become ours, without secrets in them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError, UnknownConfigurationKeyError

from nightshift.errors import ConfigError, NightshiftError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nightshift.lake.storage import Location

__all__ = ["readable", "storage_error", "storage_errors"]

_SECRET = re.compile("key|secret|token|sas|password", re.IGNORECASE)
_DECORATION = re.compile(r"\x1b\[\d*m|↳|<\?xml[^>]*>")
_FAULT = re.compile(r"<Error>.*?<Code>(.*?)</Code>.*?<Message>\s*([^<\n]*).*", re.DOTALL)
_QUERY = re.compile(r"\?\S+")
_DENIED = ("lacked the necessary privileges", "403 Forbidden", "401 Unauthorized")
_ABSENT = ("404 Not Found", "not found", "NoSuchBucket", "ContainerNotFound")
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


def storage_error(location: Location, doing: str, error: Exception) -> NightshiftError:
    """The error of ours for ``error``, met while ``doing`` something at ``location``.

    What waiting does not cure (sign-in, a bucket that is not there, a misspelt option) is a
    :class:`ConfigError`, everything else :class:`StorageUnavailable`.
    """
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
