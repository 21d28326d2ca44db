"""Partition keys and the splits that are counted with them."""

from __future__ import annotations

import pytest

from nightshift.config.loader import load_pipeline
from nightshift.config.partitions import back, check_key, days, is_due, splits
from nightshift.config.pipeline import Pipeline, WindowConfig
from nightshift.config.settings import PROJECT
from nightshift.errors import PartitionKeyError


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")


def test_days_counts_both_ends_over_a_leap_day() -> None:
    assert days("2012-02-28", "2012-03-01") == ["2012-02-28", "2012-02-29", "2012-03-01"]


@pytest.mark.parametrize("key", ["2013-1-5", "20130105", "yesterday", "2013-02-30", ""])
def test_what_is_no_iso_day_is_refused(key: str, pipeline: Pipeline) -> None:
    with pytest.raises(PartitionKeyError):
        check_key(pipeline, key)


@pytest.mark.parametrize("key", ["2012-12-31", "2014-01-01"])
def test_a_day_outside_the_pipeline_is_refused(key: str, pipeline: Pipeline) -> None:
    with pytest.raises(PartitionKeyError, match=r"2013-01-01\.\.2013-12-31"):
        check_key(pipeline, key)


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(PartitionKeyError, match="swap"):
        days("2013-01-02", "2013-01-01")


def test_splits_end_with_the_night_and_never_overlap() -> None:
    window = WindowConfig(train=21, validation=3, holdout=5)
    found = splits(window, "2013-01-29")
    every = [day for name in ("train", "validation", "holdout") for day in found[name]]
    assert every == days("2013-01-01", "2013-01-29")
    assert found["holdout"][-1] == "2013-01-29"
    assert [len(part) for part in found.values()] == [21, 3, 5]


def test_no_split_of_an_earlier_night_reaches_past_that_night() -> None:
    window = WindowConfig(train=2, validation=1, holdout=1)
    assert max(max(part) for part in splits(window, "2013-06-01").values()) == "2013-06-01"


def test_tuning_is_due_on_every_nth_day_from_the_start(pipeline: Pipeline) -> None:
    first = str(pipeline.partitions.start)
    assert [is_due(pipeline, back(first, -n), 7) for n in range(8)] == [True, *[False] * 6, True]
