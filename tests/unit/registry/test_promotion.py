"""The gate: floors, direction, margin, age."""

from __future__ import annotations

import pytest

from nightshift.config.pipeline import GateConfig
from nightshift.errors import RegistryError
from nightshift.registry.promotion import decide

DAY, LATER = "2013-01-05", "2013-01-06"


def test_first_model_is_promoted_when_every_floor_holds() -> None:
    verdict = decide(GateConfig(floors={"roc_auc": 0.55}), {"roc_auc": 0.6}, None, DAY, None)
    assert verdict.verdict == "promote"
    assert "no champion yet" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("floors", "metrics", "words"),
    [
        pytest.param({"roc_auc": 0.7}, {"roc_auc": 0.6}, "roc_auc 0.6 is below its floor 0.7", id="below"),
        pytest.param({"log_loss": 0.4}, {"log_loss": 0.5}, "log_loss 0.5 is above its floor 0.4", id="above"),
        pytest.param({"roc_auc": 0.7}, {"roc_auc": float("nan")}, "roc_auc nan is below", id="no number"),
    ],
)
def test_a_floor_holds_back_even_the_first_model(
    floors: dict[str, float], metrics: dict[str, float], words: str
) -> None:
    verdict = decide(GateConfig.model_validate({"floors": floors}), metrics, None, DAY, None)
    assert verdict.verdict == "hold"
    assert words in verdict.reasons[0]


@pytest.mark.parametrize(
    ("metric", "challenger", "champion", "min_effect", "expected"),
    [
        pytest.param("average_precision", 0.45, 0.44, 0.0, "promote", id="higher"),
        pytest.param("average_precision", 0.44, 0.44, 0.0, "hold", id="equal"),
        pytest.param("average_precision", 0.43, 0.44, 0.0, "hold", id="lower"),
        pytest.param("average_precision", 0.445, 0.44, 0.01, "hold", id="better by too little"),
        pytest.param("average_precision", 0.75, 0.5, 0.25, "promote", id="better by just enough"),
        pytest.param("log_loss", 0.40, 0.44, 0.0, "promote", id="smaller loss"),
        pytest.param("log_loss", 0.45, 0.44, 0.0, "hold", id="larger loss"),
        pytest.param("brier", 0.10, 0.12, 0.01, "promote", id="smaller brier"),
        pytest.param("average_precision", float("nan"), 0.44, 0.0, "hold", id="no number"),
    ],
)
def test_challenger_must_be_strictly_better_by_the_margin(
    metric: str, challenger: float, champion: float, min_effect: float, expected: str
) -> None:
    gate = GateConfig.model_validate({"metric": metric, "min_effect": min_effect})
    verdict = decide(gate, {metric: challenger}, {metric: champion}, LATER, DAY)
    assert verdict.verdict == expected
    assert f"{champion:.5f}" in verdict.reasons[-1]


def test_an_older_challenger_is_held_however_good_it_is() -> None:
    verdict = decide(GateConfig(), {"average_precision": 0.9}, {"average_precision": 0.1}, DAY, LATER)
    assert verdict.verdict == "hold"
    assert f"{DAY} is older than the champion's {LATER}" in verdict.reasons[0]


def test_a_champion_that_was_not_measured_is_not_replaced() -> None:
    verdict = decide(GateConfig(), {"average_precision": 0.9}, None, LATER, DAY)
    assert verdict.verdict == "hold"
    assert "evaluate again" in verdict.reasons[-1]


@pytest.mark.parametrize(("mine", "theirs"), [(None, 0.4), (0.4, None), (None, None)])
def test_a_metric_that_the_rows_do_not_define_promotes_nobody(
    mine: float | None, theirs: float | None
) -> None:
    verdict = decide(GateConfig(), {"average_precision": mine}, {"average_precision": theirs}, LATER, DAY)
    assert verdict.verdict == "hold"


def test_a_second_challenger_of_the_champions_own_partition_may_win() -> None:
    verdict = decide(GateConfig(), {"average_precision": 0.9}, {"average_precision": 0.1}, DAY, DAY)
    assert verdict.verdict == "promote"


def test_a_metric_that_was_not_measured_is_an_error_that_lists_those_that_were() -> None:
    with pytest.raises(RegistryError, match="needs the champion's average_precision, measured are: roc_auc"):
        decide(GateConfig(), {"average_precision": 0.9}, {"roc_auc": 0.7}, LATER, DAY)
