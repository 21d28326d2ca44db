"""Every rule of the gate, one at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nightshift.config.pipeline import GateConfig
from nightshift.gate.comparison import Comparison, MetricGain, SliceGain
from nightshift.gate.verdict import Candidate, Verdict, judge

DAY, LATER = "2013-01-05", "2013-01-06"
SIGNATURE = {"inputs": {"distance": "double", "carrier": "string"}, "outputs": {"0": "float"}}
CHALLENGER = Candidate(version="2", partition=LATER, latency_ms=8.0, size_bytes=2**20, signature=SIGNATURE)
CHAMPION = Candidate(version="1", partition=DAY, latency_ms=9.0, size_bytes=2**20, signature=SIGNATURE)


def gain(metric: str = "average_precision", **changes: Any) -> MetricGain:
    found = {"challenger": 0.5, "champion": 0.45, "gain": 0.05, "low": 0.03, "high": 0.07, "p": 0.001}
    higher = metric not in ("log_loss", "brier")
    return MetricGain(metric=metric, higher_is_better=higher, **{**found, **changes})


def compared(*gains: MetricGain, slices: tuple[SliceGain, ...] = ()) -> Comparison:
    return Comparison(metrics=gains or (gain(),), slices=slices, histogram={}, method={})


def verdict(
    comparison: Comparison | None = None,
    challenger: Candidate = CHALLENGER,
    champion: Candidate | None = CHAMPION,
    **gate: Any,
) -> Verdict:
    return judge(GateConfig.model_validate(gate), comparison or compared(), challenger, champion)


def test_a_challenger_that_is_surely_better_is_promoted_with_the_numbers_as_the_reason() -> None:
    found = verdict(min_effect=0.02)
    assert found.verdict == "promote"
    assert "0.50000 against the champion's 0.45000" in found.reasons[0]
    assert "with 95 % confidence it is above +0.03000, so above the margin of 0.02" in found.reasons[0]


@pytest.mark.parametrize("margin", [0.03, 0.04], ids=["just not more", "less"])
def test_better_by_no_more_than_the_margin_is_not_enough(margin: float) -> None:
    found = verdict(min_effect=margin)
    assert found.verdict == "hold"
    assert f"which is not above the margin of {margin}" in found.reasons[0]


def test_better_by_luck_is_not_enough() -> None:
    assert verdict(compared(gain(low=-0.001))).verdict == "hold"


@pytest.mark.parametrize("missing", ["gain", "low"])
def test_what_cannot_be_compared_is_held(missing: str) -> None:
    found = verdict(compared(gain(**{missing: None})))
    assert found == Verdict("hold", ("average_precision cannot be compared on these rows",))


@pytest.mark.parametrize(
    ("floors", "measured", "words"),
    [
        ({"roc_auc": 0.7}, gain("roc_auc", challenger=0.6), "roc_auc is 0.6: below its floor 0.7"),
        ({"log_loss": 0.4}, gain("log_loss", challenger=0.5), "log_loss is 0.5: above its floor 0.4"),
        ({"roc_auc": 0.7}, gain("roc_auc", challenger=None), "roc_auc is not defined on these rows"),
    ],
    ids=["below", "above", "undefined"],
)
@pytest.mark.parametrize("champion", [CHAMPION, None], ids=["champion", "first"])
def test_a_floor_holds_back_even_the_first_model(
    floors: dict[str, float], measured: MetricGain, words: str, champion: Candidate | None
) -> None:
    found = verdict(compared(gain(), measured), champion=champion, floors=floors)
    assert found.verdict == "hold"
    assert words in found.reasons[0]


def test_a_champion_that_knows_every_day_cannot_be_compared_with() -> None:
    alone = compared(MetricGain(metric="average_precision", higher_is_better=True, challenger=0.9))
    assert verdict(alone).reasons[0].startswith("the champion knows every day of the holdout")


def test_the_first_model_needs_no_comparison() -> None:
    alone = compared(MetricGain(metric="average_precision", higher_is_better=True, challenger=0.2))
    assert verdict(alone, champion=None, min_effect=0.5).verdict == "promote"


def test_an_older_challenger_is_held_however_good_it_is() -> None:
    found = verdict(challenger=replace(CHALLENGER, partition="2013-01-04"))
    assert found.reasons == (f"its partition 2013-01-04 is older than the champion's {DAY}",)


def test_a_second_challenger_of_the_champions_own_partition_may_win() -> None:
    assert verdict(challenger=replace(CHALLENGER, partition=DAY)).verdict == "promote"


@pytest.mark.parametrize(
    ("limits", "changes", "words"),
    [
        ({"latency_ms": 5}, {}, "latency_ms is 8, more than its limit 5"),
        ({"size_mib": 0.5}, {}, "size_mib is 1, more than its limit 0.5"),
        ({"latency_ms": 5}, {"latency_ms": None}, "latency_ms was not measured"),
    ],
    ids=["slow", "big", "unmeasured"],
)
@pytest.mark.parametrize("champion", [CHAMPION, None], ids=["champion", "first"])
def test_a_limit_holds_back_even_the_first_model(
    limits: dict[str, float], changes: dict[str, Any], words: str, champion: Candidate | None
) -> None:
    found = verdict(challenger=replace(CHALLENGER, **changes), champion=champion, limits=limits)
    assert found.verdict == "hold"
    assert words in found.reasons[0]


def test_limits_that_hold_are_no_reason() -> None:
    assert verdict(limits={"latency_ms": 8, "size_mib": 1}).verdict == "promote"


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ({"distance": "double", "wind": "double"}, {"0": "float"}, "wants the column wind (double)"),
        ({"distance": "long"}, {"0": "float"}, "the champion takes it as double"),
        ({"distance": "double"}, {"0": "long"}, "gives back other columns"),
    ],
    ids=["a new column", "another type", "other outputs"],
)
def test_a_model_that_does_not_fit_where_the_champion_fits_is_held(
    inputs: dict[str, str], outputs: dict[str, str], words: str
) -> None:
    other = replace(CHALLENGER, signature={"inputs": inputs, "outputs": outputs})
    assert words in verdict(challenger=other).reasons[0]
    assert verdict(challenger=other, signature="any").verdict == "promote"


@pytest.mark.parametrize("inputs", [{"distance": "double"}, SIGNATURE["inputs"]], ids=["fewer", "the same"])
def test_a_model_that_needs_no_more_than_the_champion_fits(inputs: dict[str, str]) -> None:
    fits = replace(CHALLENGER, signature={**SIGNATURE, "inputs": inputs})
    assert verdict(challenger=fits).verdict == "promote"


def test_a_model_without_a_signature_is_not_held_for_it() -> None:
    assert verdict(challenger=replace(CHALLENGER, signature={})).verdict == "promote"


def regressed(number: int) -> SliceGain:
    return SliceGain(
        **{"column": "carrier", "value": f"C{number}", "rows": 300, "positives": 60, "regressed": True},
        **{"challenger": 0.4, "champion": 0.5, "p_adjusted": 0.01},
    )


def test_a_slice_that_is_worse_holds_back_a_better_model() -> None:
    found = verdict(compared(slices=(regressed(1),)))
    assert found.verdict == "hold"
    assert (
        "on carrier = C1 (300 rows) average_precision is worse: 0.40000 against 0.50000" in found.reasons[0]
    )


def test_many_slices_are_counted_not_listed() -> None:
    found = verdict(compared(slices=tuple(map(regressed, range(9)))))
    assert len(found.reasons) == 6
    assert found.reasons[-1] == "and 4 more slices are worse"


def test_everything_that_speaks_against_it_is_said() -> None:
    comparison = compared(gain(low=-1.0), gain("roc_auc", challenger=0.5), slices=(regressed(1),))
    found = verdict(comparison, floors={"roc_auc": 0.6}, limits={"size_mib": 0.1})
    assert len(found.reasons) == 4


@pytest.mark.parametrize(
    ("promote", "expected"), [("automatic", "promote"), ("ask", "ask"), ("never", "hold")]
)
def test_who_promotes_decides_only_what_the_gate_lets_through(promote: str, expected: str) -> None:
    assert verdict(promote=promote).verdict == expected
    assert verdict(compared(gain(low=-1.0)), promote=promote).verdict == "hold"
