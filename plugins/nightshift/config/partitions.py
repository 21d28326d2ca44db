"""Partition keys: ISO days of a pipeline, and counting with them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from nightshift.errors import PartitionKeyError

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline, WindowConfig

__all__ = ["Splits", "back", "check_key", "days", "is_due", "splits"]

Splits = dict[str, list[str]]


def _parse(key: str) -> dt.date:
    try:
        day = dt.date.fromisoformat(key)
    except (TypeError, ValueError):
        raise PartitionKeyError(
            f"partition key {key!r} is not a day", fix="give it as YYYY-MM-DD, e.g. 2013-01-05"
        ) from None
    if day.isoformat() != key:
        raise PartitionKeyError(f"partition key {key!r} is not written as YYYY-MM-DD")
    return day


def back(key: str, days_back: int) -> str:
    """The partition ``days_back`` days before ``key``."""
    return (_parse(key) - dt.timedelta(days=days_back)).isoformat()


def days(first: str, last: str) -> list[str]:
    """Every partition from ``first`` to ``last``, both counted, oldest first.

    :raises PartitionKeyError: when a key is no day, or ``last`` lies before ``first``.
    """
    start, end = _parse(first), _parse(last)
    if end < start:
        raise PartitionKeyError(f"the range {first}..{last} is empty", fix="swap the two ends")
    return [(start + dt.timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]


def check_key(pipeline: Pipeline, key: str) -> str:
    """``key``, when it is a partition of ``pipeline``.

    :raises PartitionKeyError: when it is not a day, or lies outside the pipeline's start and end.
    """
    day = _parse(key)
    first, last = pipeline.partitions.start, pipeline.partitions.end
    if day < first or (last is not None and day > last):
        span = f"{first}..{last}" if last else f"from {first} on"
        raise PartitionKeyError(
            f"{key} is not a partition of {pipeline.pipeline} ({span})",
            fix="choose a day in that range or change 'partitions' in the pipeline file",
        )
    return key


def splits(window: WindowConfig, key: str) -> Splits:
    """The days of each split for the night of ``key``: ``train``, ``validation``, ``holdout``.

    Point in time: nothing newer than ``key`` is in any of them, and they do not overlap.
    """
    every = days(back(key, window.days - 1), key)
    cut = window.train
    return {
        "train": every[:cut],
        "validation": every[cut : cut + window.validation],
        "holdout": every[cut + window.validation :],
    }


def is_due(pipeline: Pipeline, key: str, every: int) -> bool:
    """Whether ``key`` is an ``every``-th partition, counted from the pipeline's start."""
    return (_parse(key) - pipeline.partitions.start).days % every == 0
