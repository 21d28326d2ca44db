"""The month's budget: told when it is passed, and only then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nightshift.lake.spend import JobCost, record
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.notifiers import budget
from nightshift.notifiers.budget import check_budget
from tests.unit.validation.flights import pipeline as shipped

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.config.pipeline import Pipeline

NOVEMBER, DECEMBER = 1_793_500_800.0, 1_796_092_800.0  # both at noon of the first


def of(budget_usd: float | None) -> Pipeline:
    found = shipped()
    alerts = found.alerts.model_copy(update={"budget_usd_per_month": budget_usd})
    return found.model_copy(update={"alerts": alerts})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(Location(tmp_path.as_uri()), "flight_delays")
    for job, usd, ended_at in (("a", 6.0, NOVEMBER), ("b", 4.0, NOVEMBER), ("c", 100.0, DECEMBER)):
        record(lake, JobCost(job, "train", "2013-01-05", 60, 60, usd, ended_at, "succeeded"))
    return lake


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def tell(pipeline: Pipeline, message: Any, *, cause: str) -> bool:
        found.append((cause, message.body.splitlines()[2]))
        return True

    monkeypatch.setattr(budget, "tell", tell)
    return found


def test_a_passed_budget_is_told_for_its_month(lake: Lake, told: list[tuple[str, str]]) -> None:
    check_budget(of(9.99), lake, month="2026-11")
    assert told == [("budget:2026-11", "Spent: 10.00 USD, budget: 9.99 USD")]


@pytest.mark.parametrize("budget_usd", [10.0, 11.0, None], ids=["just used up", "not yet", "no budget"])
def test_nobody_is_told_of_a_budget_that_holds(
    lake: Lake, told: list[tuple[str, str]], budget_usd: float | None
) -> None:
    check_budget(of(budget_usd), lake, month="2026-11")
    assert told == []


def test_the_current_month_is_looked_at_unless_another_is_named(
    lake: Lake, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget.time, "time", lambda: DECEMBER)
    check_budget(of(50.0), lake)
    assert [cause for cause, _ in told] == ["budget:2026-12"]


def test_a_lake_that_cannot_be_read_fails_no_job(told: list[tuple[str, str]]) -> None:
    broken = Lake(Location("s3://bucket", {"aws_endpoimt": "http://127.0.0.1:9"}), "flight_delays")
    check_budget(of(1.0), broken, month="2026-11")
    assert told == []
