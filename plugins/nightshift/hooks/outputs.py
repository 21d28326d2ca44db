"""What a job left, on this machine: whoever reads a job's output folder comes through here."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nightshift.errors import ConfigError
from nightshift.hooks.platform import connect

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.config.settings import Settings

__all__ = ["local_output"]

_LEFT_BY = {"file": "local", "s3": "sagemaker"}
"""Which platform's jobs leave their outputs where a scheme points to."""


def local_output(uri: str, settings: Settings) -> Path:
    """The folder behind a job's ``output_uri``; fetched where it is not of this machine.

    :raises ConfigError: when no platform leaves its outputs at such a uri.
    """
    scheme = urlsplit(uri).scheme
    if scheme not in _LEFT_BY:
        raise ConfigError(f"no platform leaves outputs at {uri}")
    return connect(_LEFT_BY[scheme], settings).fetch(uri)
