"""The gradient boosting model: early stopping, pruning, determinism, safe saving."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mlflow.pyfunc
import numpy as np
import pytest

from jobs import models
from jobs.contract import BadInput
from jobs.metrics import compute
from jobs.models import hist_gradient_boosting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from jobs.models import Report
    from jobs.models.hist_gradient_boosting import HistGradientBoosting
    from tests.unit.jobs.conftest import Splits


def fit(splits: Splits, report: Report | None = None, **hyperparameters: object) -> HistGradientBoosting:
    options: Mapping[str, object] = {"max_iter": 60} | hyperparameters
    return hist_gradient_boosting.fit(
        splits.train, splits.validation, target="late", hyperparameters=options, seed=1, report=report
    )


@pytest.fixture(scope="module")
def fitted(splits: Splits) -> HistGradientBoosting:
    return fit(splits)


def test_it_finds_late_flights(fitted: HistGradientBoosting, splits: Splits) -> None:
    found = compute(splits.holdout["late"].to_numpy(), fitted.predict_proba(splits.holdout))
    assert found["roc_auc"] > 0.6
    assert found["average_precision"] > 1.3 * splits.holdout["late"].mean()


def test_the_same_seed_gives_the_same_bytes(fitted: HistGradientBoosting, splits: Splits) -> None:
    again = fit(splits).predict_proba(splits.holdout)
    assert again.tobytes() == fitted.predict_proba(splits.holdout).tobytes()


def test_it_keeps_the_trees_that_were_best_on_the_validation_days(splits: Splits) -> None:
    told: list[tuple[int, float]] = []
    model = fit(
        splits, lambda step, value: told.append((step, value)) or False, max_iter=300, learning_rate=0.5
    )
    trees = model.pipeline.named_steps["boost"].n_iter_
    steps = [step for step, _ in told]
    assert trees in steps
    assert steps[-1] == trees + 2 * 20 < 300
    score = compute(
        splits.validation["late"].to_numpy(), model.predict_proba(splits.validation), ("average_precision",)
    )
    assert score["average_precision"] == dict(told)[trees]


def test_a_trial_that_is_given_up_is_pruned(splits: Splits) -> None:
    with pytest.raises(models.Pruned, match="after 40 trees"):
        fit(splits, lambda step, value: step == 40)


def test_a_value_never_seen_and_a_missing_one_are_scored(
    fitted: HistGradientBoosting, splits: Splits
) -> None:
    rows = splits.holdout.head(3).copy()
    rows["carrier"] = ["ZZ", None, rows["carrier"].iloc[2]]
    rows["temp"] = np.nan
    assert np.isfinite(fitted.predict_proba(rows)).all()


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [({"leaves": 3}, "no hyperparameter 'leaves'")],
    ids=["unknown"],
)
def test_a_wrong_hyperparameter_is_refused(
    hyperparameters: dict[str, object], message: str, splits: Splits
) -> None:
    with pytest.raises(BadInput, match=message):
        fit(splits, None, **hyperparameters)


def test_rows_of_one_class_are_nothing_to_learn(splits: Splits) -> None:
    one: pd.DataFrame = splits.train[splits.train["late"] == 1.0]
    with pytest.raises(BadInput, match="nothing to learn"):
        hist_gradient_boosting.fit(one, one, target="late", hyperparameters={}, seed=1)


def test_a_saved_model_scores_the_same_by_our_loader_and_by_mlflow(
    fitted: HistGradientBoosting, splits: Splits, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    fitted.save(folder, splits.train.head())
    expected = fitted.predict_proba(splits.holdout)
    np.testing.assert_array_equal(models.load(folder).predict_proba(splits.holdout), expected)
    pyfunc = mlflow.pyfunc.load_model(str(folder))
    rows = splits.holdout[list(fitted.features)]
    np.testing.assert_array_equal(pyfunc.predict(rows)[:, 1], expected)
    assert pyfunc.metadata.signature is not None
    assert not any(
        column.required for column in pyfunc.metadata.get_input_schema() if column.type.name == "double"
    )


def test_a_saved_model_is_pinned_has_an_example_and_no_pickle(
    fitted: HistGradientBoosting, splits: Splits, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "model", splits.train.head())
    files = {path.name for path in (tmp_path / "model").rglob("*")}
    assert {"model.skops", "input_example.json", "requirements.txt"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))]
    assert all("==" in line for line in (tmp_path / "model" / "requirements.txt").read_text().split())


def test_importances_name_every_feature(fitted: HistGradientBoosting, splits: Splits) -> None:
    found = fitted.importances(splits.holdout, splits.holdout["late"].to_numpy())
    assert set(found) == set(fitted.features)
    assert max(found.values()) > 0
