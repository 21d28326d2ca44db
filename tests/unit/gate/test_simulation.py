"""The promise, on real predictions and through the gate's own code; and that the simulation is what it says.

400 resamples a retrain, not the pipeline file's 2,000, for the time it takes: bounds scatter more with fewer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import binom

from nightshift.config.loader import load_pipeline
from nightshift.config.pipeline import GateConfig
from nightshift.config.settings import PROJECT
from nightshift.errors import ConfigError
from nightshift.gate import simulation
from nightshift.gate.comparison import compare
from nightshift.gate.metrics import METRICS
from nightshift.gate.predictions import Predictions
from nightshift.gate.simulation import binomial_bound, simulate
from tests.unit.gate.worlds import holdout

if TYPE_CHECKING:
    from nightshift.gate.comparison import Comparison
    from nightshift.gate.simulation import Simulation

GATE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml").gate


@pytest.fixture(scope="module")
def flights() -> Predictions:
    """Two real models on 4,082 flights of five days."""
    return Predictions.read(
        PROJECT / "include" / "samples" / "flight_delays_predictions.parquet", GATE.columns
    )


def small(**changes: Any) -> GateConfig:
    return GateConfig.model_validate({"resamples": 200, "min_effect": 0.01, **changes})


def quick(gate: GateConfig, **changes: Any) -> Simulation:
    return simulate(holdout(600), gate, **{"retrains": 12, "workers": 2, **changes})


def test_of_200_retrains_with_no_real_difference_at_most_alpha_are_promoted(flights: Predictions) -> None:
    found = simulate(flights, GATE.model_copy(update={"resamples": 400}), retrains=200, effect=0)
    assert found.true_difference == 0
    assert found.promoted <= GATE.alpha * 200
    # a fair coin's 200 tosses lie outside this once in a thousand times
    assert 77 <= found.naive_promoted <= 123
    assert (found.rows, found.partitions) == (4082, 5)


def test_without_a_margin_false_promotions_stay_within_the_binomial_bound_of_alpha(
    flights: Predictions,
) -> None:
    """The hardest case: with no margin to beat, every false promotion is the interval's own."""
    found = simulate(flights, GATE.model_copy(update={"resamples": 400, "min_effect": 0.0}), retrains=200)
    assert found.bound == 18
    assert 0 < found.promoted <= found.bound


def test_of_100_that_are_better_by_twice_the_margin_80_are_promoted(flights: Predictions) -> None:
    found = simulate(flights, GATE.model_copy(update={"resamples": 400}), retrains=100, effect=2)
    assert found.true_difference == pytest.approx(2 * GATE.min_effect, rel=1e-3)
    assert found.promoted >= 80
    assert found.least_margin < GATE.min_effect


def test_the_numbers_depend_on_the_seed_alone() -> None:
    one, three = (quick(small(), effect=2, workers=workers) for workers in (1, 3))
    assert replace(one, seconds=0) == replace(three, seconds=0)
    assert quick(small(), effect=2, seed=2).standard_error != one.standard_error


@pytest.mark.parametrize("metric", METRICS)
def test_an_effect_has_the_size_and_the_direction_asked_for(metric: str) -> None:
    gate = small(metric=metric, resamples=200)
    better, worse = (quick(gate, effect=effect, retrains=4) for effect in (8, -8))
    assert better.true_difference == pytest.approx(0.08, abs=0.002)
    assert worse.true_difference == pytest.approx(-0.08, abs=0.002)
    assert better.promoted == better.naive_promoted == 4
    assert worse.promoted == worse.naive_promoted == 0


def test_a_verdict_that_stands_without_the_slices_is_not_another_with_them(flights: Predictions) -> None:
    """Why the simulation looks at slices last: they are drawn with the same rows and only ever object."""
    gate = GATE.model_copy(update={"resamples": 250})
    assert gate.slices is not None
    whole, quickly = (compare(flights, gate, seed=3, with_slices=slices) for slices in (True, False))
    assert whole.metrics == quickly.metrics
    assert whole.slices
    assert not quickly.slices


def test_slices_may_stand_in_the_way_of_what_would_be_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def all_worse(rows: Predictions, gate: GateConfig, *, seed: int, with_slices: bool = True) -> Comparison:
        asked.append(with_slices)
        found = compare(rows, gate, seed=seed, with_slices=with_slices)
        return replace(found, slices=tuple(replace(each, regressed=True) for each in found.slices))

    monkeypatch.setattr(simulation, "compare", all_worse)
    gate = small(slices={"columns": ["carrier"], "min_rows": 50})
    assert quick(gate, effect=8).promoted == 0
    assert asked.count(True) == asked.count(False) == 12
    asked.clear()
    assert quick(gate, effect=-8).promoted == 0
    assert asked == [False] * 12


def test_rows_that_hang_together_are_drawn_together() -> None:
    """Five copies of each row are no more to go by than the row, if the gate knows that they are copies."""
    rows = holdout(300)
    copies = replace(
        rows.take(np.repeat(np.arange(300), 5)),
        slices={"plane": np.repeat(np.arange(300), 5).astype(str)},
    )
    plain = simulate(copies, small(min_effect=0), retrains=60)
    apart = simulate(copies, small(min_effect=0, resampling="clustered", cluster="plane"), retrains=60)
    assert apart.standard_error > 1.6 * plain.standard_error
    assert apart.promoted <= binomial_bound(60, 0.05)


def test_whole_days_can_be_drawn() -> None:
    found = simulate(holdout(900, days=12), small(resampling="clustered"), retrains=6)
    assert found.retrains == 6
    with pytest.raises(ConfigError, match="clusters"):
        simulate(holdout(900, days=5), small(resampling="clustered"), retrains=6)


def test_limits_signatures_and_who_promotes_are_left_out() -> None:
    gate = small(limits={"latency_ms": 1}, promote="ask")
    assert quick(gate, effect=8).promoted == quick(small(), effect=8).promoted == 12


def test_floors_are_part_of_the_gate() -> None:
    assert quick(small(floors={"roc_auc": 0.999}), effect=8).promoted == 0


@pytest.mark.parametrize("tries", [1, 20, 100, 200, 5000])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_the_bound_is_the_binomial_one(tries: int, share: float) -> None:
    bound = binomial_bound(tries, share)
    assert binom.sf(bound, tries, share) < 0.01
    assert bound == 0 or binom.sf(bound - 1, tries, share) >= 0.01


@pytest.mark.parametrize(
    ("rows", "gate", "changes", "said"),
    [
        (replace(holdout(50), champion=None), small(), {}, "no champion's scores"),
        (holdout(50), small(), {"retrains": 0}, "ask for one at least"),
        (holdout(50), small(min_effect=0), {"effect": 2}, "try one with --min-effect"),
        (holdout(50), small(), {"effect": 100}, "cannot be better by 1"),
        (holdout(50), small(), {"effect": -100}, "cannot be worse by 1"),
    ],
    ids=["no champion", "no retrain", "no margin", "too good", "too bad"],
)
def test_what_cannot_be_simulated_is_said(
    rows: Predictions, gate: GateConfig, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        simulate(rows, gate, **changes)
