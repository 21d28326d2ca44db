"""scikit-learn's HistGradientBoostingClassifier, grown in steps and stopped on our own validation days."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs import contract
from jobs.contract import BadInput, say
from jobs.metrics import compute
from jobs.models import Pruned, feature_columns
from jobs.models.importances import permutation_importances
from jobs.models.mlflow_folder import nullable, pinned, quiet_mlflow

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    from jobs.models import Report

__all__ = ["DEFAULTS", "HistGradientBoosting", "fit", "load"]

DEFAULTS: Mapping[str, Any] = {
    "learning_rate": 0.06,
    "max_iter": 300,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 100,
    "l2_regularization": 5.0,
    "max_features": 0.3,
}
"""Chosen on nine windows of the year; ``early_stopping_steps`` (below) is ours, the rest scikit-learn's."""
_STEP = 20
"""Trees between two looks at the validation days."""
_PATIENCE = 2
"""Steps without a better log loss until growing stops; hyperparameter ``early_stopping_steps``, 0: never."""
_ONE_THREAD_BELOW = 5_000_000
"""Values (rows x features) below which one thread grows trees as fast as two, and far faster than two
that wait for each other on a busy machine."""
_PREDICT_ONE_THREAD_BELOW = 3_000_000
_FILE = "model.skops"
_TRUSTED = (
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
)
"""Types beyond skops' own list that this kind of model is made of: a file with any other is refused."""


def fit(
    train: pd.DataFrame,
    validation: pd.DataFrame,
    *,
    target: str,
    hyperparameters: Mapping[str, Any],
    seed: int,
    checkpoints: Path | None = None,
    report: Report | None = None,
    metric: str = "average_precision",
) -> HistGradientBoosting:
    """Fit on ``train``; the number of trees is the one with the least log loss on ``validation``.

    ``checkpoints`` is not used: a fit takes seconds.

    :raises Pruned: when ``report`` returned True.
    :raises BadInput: when ``train`` has one class only, or a hyperparameter is unknown.
    """
    from sklearn.pipeline import Pipeline

    rows, held = train[train[target].notna()], validation[validation[target].notna()]
    if rows[target].nunique() < 2:
        raise BadInput(f"{target!r} is the same in all {len(rows)} training rows: nothing to learn")
    features = feature_columns(train, target)
    text = [name for name in features if not _is_number(train[name])]
    encoder = _encoder(text).fit(rows[features])
    booster, patience = _booster(dict(hyperparameters), seed, len(text))
    with _threads(len(rows) * len(features) < _ONE_THREAD_BELOW):
        fitted = _grow(
            booster,
            (encoder.transform(rows[features]), rows[target].to_numpy(dtype=float)),
            (encoder.transform(held[features]) if len(held) else None, held[target].to_numpy(dtype=float)),
            patience=patience,
            metric=metric,
            report=report,
        )
    return HistGradientBoosting(Pipeline([("encode", encoder), ("boost", fitted)]), tuple(features))


def _threads(one: bool) -> contextlib.AbstractContextManager[object]:
    from threadpoolctl import threadpool_limits

    limits: contextlib.AbstractContextManager[object]
    limits = threadpool_limits(1 if one else None, user_api="openmp")
    return limits


def _is_number(column: pd.Series) -> bool:
    return column.dtype.kind in "biuf"


def _encoder(text: Sequence[str]) -> Any:
    """Text columns first, as codes; what was never seen, and nothing at all, are missing values."""
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OrdinalEncoder

    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=254,  # the booster takes 255 values of a category
    )
    return ColumnTransformer(
        [("codes", codes, list(text))], remainder="passthrough", verbose_feature_names_out=False
    )


def _booster(
    hyperparameters: dict[str, Any], seed: int, text: int
) -> tuple[HistGradientBoostingClassifier, int]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    patience = int(hyperparameters.pop("early_stopping_steps", _PATIENCE))
    known = set(HistGradientBoostingClassifier().get_params())
    for name in hyperparameters:
        if name not in known:
            raise BadInput(f"hist_gradient_boosting has no hyperparameter {name!r}")
    booster = HistGradientBoostingClassifier(
        **(dict(DEFAULTS) | hyperparameters),
        categorical_features=list(range(text)),
        early_stopping=False,
        warm_start=True,
        random_state=seed,
    )
    return booster, patience


def _grow(
    booster: HistGradientBoostingClassifier,
    train: tuple[Any, np.ndarray],
    validation: tuple[Any, np.ndarray],
    *,
    patience: int,
    metric: str,
    report: Report | None,
) -> HistGradientBoostingClassifier:
    """Add trees step by step and return the booster as it was at its best."""
    most, (held, labels) = int(booster.max_iter), validation
    if held is None or len(set(labels)) < 2:
        say("no validation rows of both classes: no early stopping")
        return booster.fit(*train)
    best, best_loss, best_trees = booster, float("inf"), 0
    for trees in [*range(_STEP, most, _STEP), most]:
        booster.set_params(max_iter=trees).fit(*train)
        values = compute(labels, booster.predict_proba(held)[:, 1], ("log_loss", metric))
        contract.metric(f"validation_{metric}", values[metric], trees)
        if report is not None and report(trees, values[metric]):
            raise Pruned(f"given up after {trees} trees with {metric} {values[metric]:.4f}")
        if values["log_loss"] < best_loss:
            best, best_loss, best_trees = copy.deepcopy(booster), values["log_loss"], trees
        elif patience and trees - best_trees >= patience * _STEP:
            break
    say(f"best after {best_trees} trees: validation log loss {best_loss:.4f}")
    return best


@dataclass(frozen=True, slots=True)
class HistGradientBoosting:
    """A fitted pipeline: codes for text columns, then the trees."""

    pipeline: Pipeline
    features: tuple[str, ...]

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        """Probability of the positive class, shape (rows,)."""
        rows = frame[list(self.features)]
        with _threads(rows.size < _PREDICT_ONE_THREAD_BELOW):
            scores: np.ndarray = self.pipeline.predict_proba(rows)[:, 1]
        return scores

    def importances(self, frame: pd.DataFrame, labels: np.ndarray) -> dict[str, float]:
        """Loss of average precision when a feature is shuffled."""
        return permutation_importances(self.predict_proba, frame, labels, self.features)

    def save(self, folder: Path, example: pd.DataFrame) -> None:
        """Write an MLflow model folder in skops format; its pyfunc gives both classes' probabilities."""
        with quiet_mlflow():
            self._save(folder, example)

    def _save(self, folder: Path, example: pd.DataFrame) -> None:
        import mlflow.sklearn
        from mlflow.models import infer_signature
        from skops.io import dumps, get_untrusted_types

        rows = example[list(self.features)]
        schema = nullable(rows, [name for name in rows if _is_number(rows[name])])
        mlflow.sklearn.save_model(
            self.pipeline,
            str(folder),
            serialization_format="skops",
            skops_trusted_types=get_untrusted_types(data=dumps(self.pipeline)),
            pip_requirements=pinned("mlflow", "scikit-learn", "skops", "pandas", "numpy"),
            signature=infer_signature(schema, self.pipeline.predict_proba(rows)),
            input_example=rows,
            pyfunc_predict_fn="predict_proba",
            metadata={"nightshift_model": "hist_gradient_boosting"},
        )


def load(folder: Path) -> HistGradientBoosting:
    """Load a saved model; skops builds only types it knows and :data:`_TRUSTED`."""
    from skops.io import load as load_skops

    pipeline = load_skops(folder / _FILE, trusted=_TRUSTED)
    return HistGradientBoosting(pipeline, tuple(pipeline.feature_names_in_))
