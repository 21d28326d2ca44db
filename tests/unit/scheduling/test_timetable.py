"""When nights begin, and that they end."""

from __future__ import annotations

import datetime as dt

import pytest
from airflow.timetables.base import DagRunInfo, TimeRestriction

from nightshift.config.pipeline import PartitionsConfig
from nightshift.scheduling.timetable import NightTimetable

NEW_YORK = PartitionsConfig.model_validate(
    {"cron": "0 2 * * *", "timezone": "America/New_York", "start": "2013-01-01", "end": "2013-12-31"}
)
FROM_START = TimeRestriction(earliest=dt.datetime(2013, 12, 30, 12, tzinfo=dt.UTC), latest=None, catchup=True)


def nights(timetable: NightTimetable, restriction: TimeRestriction, most: int) -> list[DagRunInfo]:
    """The next nights, one after the other."""
    found: list[DagRunInfo] = []
    while len(found) < most:
        last = found[-1] if found else None
        info = timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction)
        if info is None:
            return found
        found.append(info)
    return found


def test_a_night_takes_the_day_before_and_the_last_one_is_the_last() -> None:
    found = nights(NightTimetable.of(NEW_YORK), FROM_START, 10)
    assert [night.partition_key for night in found] == ["2013-12-30", "2013-12-31"]
    assert found[0].run_after == dt.datetime(2013, 12, 31, 7, tzinfo=dt.UTC)  # two o'clock in New York


def test_a_pipeline_whose_data_go_on_has_no_last_night() -> None:
    going_on = NEW_YORK.model_copy(update={"end": None})
    assert len(nights(NightTimetable.of(going_on), FROM_START, 10)) == 10


@pytest.mark.parametrize("end", [None, dt.date(2013, 12, 31)])
def test_the_scheduler_reads_the_same_timetable(end: dt.date | None) -> None:
    made = NightTimetable.of(NEW_YORK.model_copy(update={"end": end}))
    read = NightTimetable.deserialize(made.serialize())
    assert read.serialize() == made.serialize()
    assert nights(read, FROM_START, 4) == nights(made, FROM_START, 4)
