"""Metrics under row weights: those of scikit-learn on the rows repeated, and of the evaluation job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from jobs import metrics as job_metrics
from nightshift.gate.metrics import METRICS, Ranking, compute, higher_is_better

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS, GROUPS = 400, 4
Arrays = tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.int64]"]


@pytest.fixture(params=[False, True], ids=["all scores differ", "equal scores"])
def arrays(request: pytest.FixtureRequest) -> Arrays:
    rng = np.random.default_rng(7)
    labels = (rng.random(ROWS) < 0.25).astype(float)
    scores = np.clip(0.6 * rng.random(ROWS) + 0.25 * labels, 0.001, 0.999)
    return labels, np.round(scores, 1) if request.param else scores, rng.integers(0, GROUPS, ROWS)


def test_ranked_metrics_are_scikit_learns_on_the_rows_repeated(arrays: Arrays) -> None:
    labels, scores, groups = arrays
    weights = np.random.default_rng(1).integers(0, 4, (6, ROWS)).astype(np.int32)
    found = Ranking.of(labels, scores, groups, GROUPS).values(("roc_auc", "average_precision"), weights)
    for draw in range(len(weights)):
        for group in range(GROUPS):
            mine = groups == group
            rows = np.repeat(np.flatnonzero(mine), weights[draw][mine])
            auc, precision = found["roc_auc"][draw, group], found["average_precision"][draw, group]
            assert auc == pytest.approx(roc_auc_score(labels[rows], scores[rows]), abs=1e-12)
            assert precision == pytest.approx(average_precision_score(labels[rows], scores[rows]), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_the_evaluation_jobs(metric: str, arrays: Arrays) -> None:
    labels, scores, _ = arrays
    (known,) = job_metrics.compute(labels, scores, [metric]).values()
    assert compute(metric, labels, scores) == pytest.approx(known, abs=1e-12)
    assert higher_is_better(metric) is job_metrics.HIGHER_IS_BETTER[metric]


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_alone_has_no_rank(metric: str, label: float) -> None:
    assert np.isnan(compute(metric, np.full(5, label), np.linspace(0.1, 0.9, 5)))


def test_a_group_without_a_positive_row_is_not_a_number_and_disturbs_no_other() -> None:
    labels, scores = np.array([0.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.1, 0.8, 0.2])
    ranking = Ranking.of(labels, scores, np.array([0, 0, 1, 1]), 2)
    found = ranking.values(("average_precision", "roc_auc"), np.ones((1, 4), dtype=np.int32))
    assert np.isnan(found["average_precision"][0, 0])
    assert np.isnan(found["roc_auc"][0, 0])
    assert found["average_precision"][0, 1] == found["roc_auc"][0, 1] == 1.0


def test_a_resample_that_draws_no_positive_row_is_not_a_number() -> None:
    ranking = Ranking.of(np.array([1.0, 0.0]), np.array([0.9, 0.1]), np.zeros(2, dtype=int), 1)
    found = ranking.values(("average_precision", "roc_auc"), np.array([[0, 2]], dtype=np.int32))
    assert np.isnan(found["average_precision"][0, 0])
    assert np.isnan(found["roc_auc"][0, 0])
