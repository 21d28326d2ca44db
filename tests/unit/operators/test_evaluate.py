"""On which days the evaluation compares: those that neither model was fitted or tuned on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT
from nightshift.operators.learn import EvaluateOperator
from nightshift.provenance import record
from nightshift.registry import champion as champion_module
from nightshift.registry.models import Models, ModelVersion

if TYPE_CHECKING:
    from pathlib import Path

PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
HOLDOUT = ["2013-01-25", "2013-01-26", "2013-01-27"]
CHAMPION = ModelVersion("flight_delays", "7", "run", "2013-01-30", "f" * 64)


def built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, champion: ModelVersion | None, seen: list[str] | None
) -> tuple[EvaluateOperator, dict[str, Any]]:
    """The operator after it has built its job, and what the job was built of."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(champion_module, "current", lambda models, ledger: champion)
    monkeypatch.setattr(record, "days_seen_by", lambda models, version: seen)
    monkeypatch.setattr(Models, "download", lambda self, version, folder: tmp_path)
    monkeypatch.setattr(EvaluateOperator, "spec_of", lambda self, context, **given: asked.update(given))
    plan = {"partition": HOLDOUT[-1], "splits": {"train": [], "validation": [], "holdout": HOLDOUT}}
    trained = {"output_uri": "file:///out", "fingerprint": "e" * 64}
    operator = EvaluateOperator(task_id="evaluate", pipeline=PIPELINE, plan=plan, trained=trained)
    operator.build_spec({})  # type: ignore[typeddict-item]
    return operator, asked


def channels(asked: dict[str, Any]) -> list[str]:
    return [each.channel for each in asked["models"]]


def test_days_that_the_champion_knows_are_left_out_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    operator, asked = built(monkeypatch, tmp_path, CHAMPION, ["2013-01-24", "2013-01-25"])
    assert asked["days_by_split"]["holdout"] == HOLDOUT[1:]
    assert channels(asked) == ["models/challenger", "models/champion"]
    assert operator.facts["left_out"] == "2013-01-25"
    assert operator.facts["champion_version"] == "7"


def test_a_champion_without_a_record_knows_what_its_window_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # trained for 01-30: fitted up to 01-22, tuned on 01-23 to 01-25, its own holdout begins on 01-26
    operator, asked = built(monkeypatch, tmp_path, CHAMPION, None)
    assert operator.facts["left_out"] == "2013-01-25"
    assert asked["days_by_split"]["holdout"] == HOLDOUT[1:]


def test_where_the_champion_knows_every_day_there_is_nothing_to_compare(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    operator, asked = built(monkeypatch, tmp_path, CHAMPION, HOLDOUT)
    assert channels(asked) == ["models/challenger"]
    assert asked["days_by_split"]["holdout"] == HOLDOUT
    assert operator.facts == {"champion_version": "7", "left_out": ",".join(HOLDOUT), "is_champion": 0}


def test_a_model_that_is_the_champion_is_not_compared_with_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    itself = ModelVersion("flight_delays", "7", "run", HOLDOUT[-1], "e" * 64)
    operator, asked = built(monkeypatch, tmp_path, itself, ["2013-01-02"])
    assert channels(asked) == ["models/challenger"]
    assert operator.facts["is_champion"] == 1


@pytest.mark.parametrize("champion", [CHAMPION, None], ids=["elsewhere", "none"])
def test_otherwise_every_day_of_the_holdout_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, champion: ModelVersion | None
) -> None:
    operator, asked = built(monkeypatch, tmp_path, champion, ["2013-01-02"])
    assert asked["days_by_split"]["holdout"] == HOLDOUT
    assert operator.facts["left_out"] == ""
