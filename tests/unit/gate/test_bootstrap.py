"""What is drawn, and what bounds and p-values say of it."""

from __future__ import annotations

import numpy as np
import pytest

from nightshift.gate.bootstrap import Units, bounds, each_block, holm, p_not_above

DAYS = np.array(["b", "a", "b", "c", "a", "b"])


def test_rows_are_drawn_within_their_stratum() -> None:
    counts = Units.rows(DAYS).draw(np.random.default_rng(0), 300)
    for day in "abc":
        assert set(counts[:, day == DAYS].sum(axis=1)) == {(day == DAYS).sum()}
    assert counts[:, DAYS == "b"].max() > 1


def test_whole_days_are_drawn_when_they_are_the_clusters() -> None:
    counts = Units.clusters(DAYS, None).draw(np.random.default_rng(0), 50)
    for day in "abc":
        mine = counts[:, day == DAYS]
        assert (mine == mine[:, :1]).all()
    assert set(counts[:, [1, 0, 3]].sum(axis=1)) == {3}


def test_clusters_of_a_column_are_drawn_within_their_day() -> None:
    hours = np.array(["7", "7", "8", "7", "8", "7"])
    counts = Units.clusters(DAYS, hours).draw(np.random.default_rng(0), 50)
    assert (counts[:, 0] == counts[:, 5]).all()  # day b, hour 7
    assert set(counts[:, [0, 2]].sum(axis=1)) == {2}
    assert set(counts[:, 3]) == {1}  # the only cluster of its day


def test_every_row_is_drawn_once_on_average() -> None:
    counts = Units.rows(np.repeat(["a", "b"], 50)).draw(np.random.default_rng(0), 4000)
    assert counts.mean(axis=0) == pytest.approx(1.0, abs=0.08)


def test_the_draws_depend_on_the_seed_alone_and_come_in_bounded_blocks() -> None:
    units = Units.rows(np.repeat("a", 100_000))
    sizes = list(each_block(units, 100_000, 7, 3, lambda weights: weights.shape))
    assert sizes == [(3, 100_000), (3, 100_000), (1, 100_000)]
    first, again, other = (
        np.concatenate(list(each_block(units, 100_000, 7, seed, lambda weights: weights[:, :50])))
        for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_bounds_of_a_normal_sample_are_its_quantiles() -> None:
    sample = np.random.default_rng(0).normal(2.0, 1.0, 200_000)
    assert bounds(sample, 0.05) == pytest.approx((2 - 1.645, 2 + 1.645), abs=0.02)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_a_p_value_is_at_most_alpha_just_where_the_bound_is_above_the_threshold(alpha: float) -> None:
    sample = np.random.default_rng(5).normal(1.0, 0.5, 2000)
    low, _ = bounds(sample, alpha)
    assert p_not_above(sample, low - 0.02) < alpha < p_not_above(sample, low + 0.02)


def test_a_p_value_is_never_nothing() -> None:
    assert p_not_above(np.ones(199), 0.0) == 1 / 200


def test_equal_models_are_not_better() -> None:
    nothing = np.zeros(500)
    assert bounds(nothing, 0.05) == (0.0, 0.0)
    assert p_not_above(nothing, 0.0) == 1.0


def test_holms_adjustment_is_that_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
