"""Which version a scoring run takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT
from nightshift.errors import ModelVersionAbsent
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.operators.score import BatchScoreOperator
from nightshift.registry.ledger import Draft, Ledger
from tests.fakes.registry import FakeModels

if TYPE_CHECKING:
    from pathlib import Path

NAME = "flight_delays"
PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / f"{NAME}.yaml")


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    return Ledger(Lake(Location((tmp_path / "lake").as_uri()), NAME))


def taken(models: Any, asked: str | None = None) -> str:
    context: Any = {"params": {"model_version": asked}}
    return BatchScoreOperator(task_id="score", pipeline=PIPELINE)._version(context, models).version


def test_a_rollback_is_picked_up_at_once_even_when_the_alias_is_late(ledger: Ledger) -> None:
    models = FakeModels(NAME, "12", {"champion": "2"})
    ledger.append(Draft(action="promote", version="2", champion="2"))
    assert taken(models) == "2"
    ledger.append(Draft(action="rollback", version="1", champion="1"))
    assert taken(models) == "1"
    assert models.aliases == {"champion": "2"}  # scoring repairs nothing


def test_without_a_ledger_the_alias_counts(ledger: Ledger) -> None:
    assert taken(FakeModels(NAME, "12", {"champion": "2"})) == "2"


def test_the_version_that_was_asked_for_needs_no_champion(ledger: Ledger) -> None:
    assert taken(FakeModels(NAME, "12"), asked="1") == "1"


def test_without_a_champion_there_is_nothing_to_score_with(ledger: Ledger) -> None:
    with pytest.raises(ModelVersionAbsent, match="has no champion to score with"):
        taken(FakeModels(NAME, "12"))
    ledger.append(Draft(action="hold", version="1", champion=""))
    with pytest.raises(ModelVersionAbsent, match="has no champion to score with"):
        taken(FakeModels(NAME, "12", {"champion": "2"}))
