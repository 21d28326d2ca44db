"""The metrics and their directions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jobs.metrics import HIGHER_IS_BETTER, METRICS, best, better, compute

LABELS, SCORES = np.array([0, 0, 1, 1.0]), np.array([0.1, 0.4, 0.35, 0.8])


def test_the_metrics_are_those_of_the_textbook() -> None:
    found = compute(LABELS, SCORES)
    assert found["roc_auc"] == pytest.approx(0.75)
    assert found["average_precision"] == pytest.approx(0.8333333)
    assert found["brier"] == pytest.approx(np.mean((SCORES - LABELS) ** 2))
    assert found["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.6, 0.35, 0.8])))
    assert found["accuracy"] == 0.75


def test_every_metric_has_a_direction() -> None:
    assert set(HIGHER_IS_BETTER) == set(METRICS)


def test_a_ranking_of_one_class_is_nan_and_the_rest_is_defined() -> None:
    found = compute(np.zeros(3), np.array([0.0, 0.5, 0.0]))
    assert math.isnan(found["roc_auc"])
    assert math.isnan(found["average_precision"])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["brier"] == pytest.approx(0.25 / 3)


def test_no_rows_are_nan_everywhere() -> None:
    assert all(math.isnan(value) for value in compute(np.zeros(0), np.zeros(0)).values())


def test_a_sure_mistake_costs_much_but_not_everything() -> None:
    assert 30 < compute(np.ones(1), np.zeros(1), ("log_loss",))["log_loss"] < 40


@pytest.mark.parametrize(
    ("labels", "scores", "names", "message"),
    [
        (np.array([np.nan]), np.array([0.5]), METRICS, "NaN"),
        (np.array([1.0]), np.array([np.nan]), METRICS, "NaN"),
        (np.ones(2), np.ones(1), METRICS, "2 labels but 1 scores"),
        (np.ones(1), np.ones(1), ("auc",), "no metric 'auc'"),
    ],
    ids=["label", "score", "length", "name"],
)
def test_nonsense_is_refused(
    labels: np.ndarray, scores: np.ndarray, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compute(labels, scores, names)


def test_better_knows_the_direction_and_nan_beats_nothing() -> None:
    nan = float("nan")
    assert better("roc_auc", 0.7, 0.6)
    assert better("log_loss", 0.4, 0.5)
    assert not better("roc_auc", 0.6, 0.6)
    assert not better("roc_auc", nan, 0.1)
    assert better("roc_auc", 0.1, nan)


def test_best_is_the_first_of_equals_and_none_of_nothing() -> None:
    assert best("brier", [float("nan"), 0.2, 0.1, 0.1]) == 2
    assert best("brier", [float("nan")]) is None
