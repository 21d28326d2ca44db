"""What the promote task does before the gate is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset

from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT
from nightshift.operators.decide import PromoteOperator
from nightshift.registry.models import ModelVersion

if TYPE_CHECKING:
    from nightshift.registry.promotion import Verdict

PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
GOOD = {"average_precision": 0.5, "roc_auc": 0.7}
POOR = {"average_precision": 0.4, "roc_auc": 0.6}


def version(number: str, partition: str = "2013-01-05") -> ModelVersion:
    return ModelVersion("flight_delays", number, "run", partition, "f" * 64)


def verdict(
    *, before: ModelVersion | None, compared: str, promote: str | None = None, challenger: str = "2"
) -> Verdict:
    models = {"challenger": {"metrics": GOOD}, "champion": {"metrics": POOR}}
    operator = PromoteOperator(
        task_id="promote",
        pipeline=PIPELINE,
        registered={},
        evaluated={"champion_version": compared, "models": models},
        asset=Asset("model"),
    )
    context: Any = {"params": {"promote": promote} if promote else {}}
    return operator._verdict(context, version(challenger), before)


def test_a_better_model_takes_the_place_of_the_champion_it_was_compared_with() -> None:
    assert verdict(before=version("1"), compared="1").verdict == "promote"


def test_the_first_model_needs_no_champion() -> None:
    assert verdict(before=None, compared="").verdict == "promote"


@pytest.mark.parametrize(
    ("before", "compared", "promote", "words"),
    [
        (version("1"), "1", "never", "switched off"),
        (version("2"), "1", None, "is the champion: same data"),
        (version("3"), "1", None, "the champion is 3, compared was 1"),
        (version("3"), "", None, "the champion is 3, compared was none"),
        (version("1", "2013-01-06"), "1", None, "older"),
    ],
    ids=["switched off", "same version", "another champion", "a champion since", "newer champion"],
)
def test_otherwise_the_champion_stays(
    before: ModelVersion, compared: str, promote: str | None, words: str
) -> None:
    found = verdict(before=before, compared=compared, promote=promote)
    assert found.verdict == "hold"
    assert words in " ".join(found.reasons)
