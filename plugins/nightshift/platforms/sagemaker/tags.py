"""Our tags as AWS takes them, and back."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["JOB", "KIND", "PREFIX", "SEARCH_SPACE", "aws_tags", "cleaned", "read_tags"]

PREFIX = "nightshift:"
JOB, KIND, SEARCH_SPACE = "job", "kind", "search-space"
_LONGEST_VALUE, _LONGEST_KEY = 256, 128
_MARKS = frozenset("_.:/=+-@")


def cleaned(text: str, longest: int = _LONGEST_VALUE) -> str:
    """Letters, digits, spaces and ``_.:/=+-@``; anything else becomes an underscore."""
    kept = (c if c in _MARKS or unicodedata.category(c)[0] in "LNZ" else "_" for c in text)
    return "".join(kept)[:longest]


def aws_tags(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[dict[str, str]]:
    """``ours`` under our prefix, then the deployment's own (cost centre and the like)."""
    named = {PREFIX + key: value for key, value in ours.items()}
    return [
        {"Key": cleaned(key, _LONGEST_KEY), "Value": cleaned(str(value))}
        for key, value in {**theirs, **named}.items()
    ]


def read_tags(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Those of ours among a resource's tags, without the prefix."""
    return {tag["Key"].removeprefix(PREFIX): tag["Value"] for tag in tags if tag["Key"].startswith(PREFIX)}
