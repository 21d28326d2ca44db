"""What jobs have cost: recorded once, summed by month, the newest first."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nightshift.lake.spend import JobCost, month_of, month_usd, recent, record
from nightshift.lake.storage import Location, list_objects
from nightshift.lake.tables import Lake

if TYPE_CHECKING:
    from pathlib import Path


def at(day: str, hour: int = 3) -> float:
    return dt.datetime.fromisoformat(f"{day}T{hour:02}:00:00+00:00").timestamp()


def cost(job: str, day: str = "2026-11-05", **changes: object) -> JobCost:
    values: dict[str, object] = {
        "job": job, "kind": "train", "partition": "2013-01-05", "seconds": 60.0, "billable_seconds": 60.0,
        "usd": 0.25, "ended_at": at(day), "state": "succeeded",
    }  # fmt: skip
    return JobCost(**{**values, **changes})  # type: ignore[arg-type]  # a table of fields


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(Location(tmp_path.as_uri()), "flight_delays")


def test_a_lake_without_records_has_cost_nothing(lake: Lake) -> None:
    assert month_usd(lake, "2026-11") == 0
    assert recent(lake, "train") == []


def test_a_record_is_filed_by_the_utc_month_of_its_end(lake: Lake) -> None:
    record(lake, cost("a", ended_at=at("2026-12-01", hour=0) - 1))
    record(lake, cost("b", ended_at=at("2026-12-01", hour=0)))
    paths = [each.path for each in list_objects(lake.location.child("spend"))]
    assert paths == ["2026-11/a.json", "2026-12/b.json"]
    assert month_of(at("2026-12-01", hour=0) - 1) == "2026-11"


def test_a_job_is_counted_once_however_often_its_end_is_seen(lake: Lake) -> None:
    assert [record(lake, cost("a", usd=usd)) for usd in (0.25, 9.0)] == [True, False]
    record(lake, cost("other", day="2027-01-01", usd=1.0))
    record(lake, cost("a", day="2027-02-01", usd=9.0))
    assert [month_usd(lake, month) for month in ("2026-11", "2027-01", "2027-02")] == [0.25, 1.0, 0]


def test_a_month_sums_every_job_of_its_own_whatever_its_kind_and_end(lake: Lake) -> None:
    record(lake, cost("a", usd=0.1))
    record(lake, cost("b", usd=0.2, kind="tune", state="failed"))
    record(lake, cost("c", day="2026-10-31", usd=7.0))
    assert month_usd(lake, "2026-11") == pytest.approx(0.3)


def test_the_last_jobs_of_a_kind_come_back_as_written_and_newest_first(lake: Lake) -> None:
    jobs = [cost(f"job-{day}", day=f"2026-11-{day:02}") for day in (3, 1, 2)]
    for each in (*jobs, cost("other", kind="score"), cost("last", day="2026-12-02")):
        record(lake, each)
    assert recent(lake, "train", n=3) == [cost("last", day="2026-12-02"), jobs[0], jobs[2]]
    assert [each.job for each in recent(lake, "score")] == ["other"]


def test_only_the_newest_two_months_with_records_are_read(lake: Lake) -> None:
    for month in ("2025-12", "2026-03", "2026-11"):
        record(lake, cost(month, day=f"{month}-02"))
    (lake.location.path() / "spend" / "2025-12" / "2025-12.json").write_text("not read")
    assert [each.job for each in recent(lake, "train")] == ["2026-11", "2026-03"]


def test_two_pipelines_do_not_share_their_spend(lake: Lake) -> None:
    record(lake, cost("a"))
    assert month_usd(replace(lake, pipeline="other"), "2026-11") == 0
