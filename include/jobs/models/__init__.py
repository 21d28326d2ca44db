"""The models a pipeline file may name, and how a saved one is loaded again."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, cast

import yaml

from jobs.contract import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd

__all__ = [
    "KEYS",
    "MODELS",
    "Fitted",
    "ModelModule",
    "Pruned",
    "Report",
    "Scorer",
    "feature_columns",
    "load",
    "module",
    "signature",
]

MODELS: Mapping[str, str] = MappingProxyType(
    {
        "hist_gradient_boosting": "jobs.models.hist_gradient_boosting",
        "torch_mlp": "jobs.models.torch_mlp",
    }
)
KEYS = ("partition", "row_id")
"""Columns of a feature frame that name a row and are no features."""

Report = Callable[[int, float], bool]
"""``report(step, validation metric)``; True asks the fit to stop by raising :class:`Pruned`."""


class Pruned(Exception):
    """A trial was given up because the others do better."""


class Scorer(Protocol):
    """A model that gives probabilities."""

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        """Probability of the positive class, shape (rows,), float64. Other columns are ignored."""


class Fitted(Scorer, Protocol):
    """A model just fitted, that can be saved and looked into."""

    def save(self, folder: Path, example: pd.DataFrame) -> None:
        """Write an MLflow model folder. ``example``: a few rows of the feature frame."""

    def importances(self, frame: pd.DataFrame, labels: np.ndarray) -> dict[str, float]:
        """What each feature is worth on these rows: loss of average precision when it is shuffled."""


class ModelModule(Protocol):
    """What each module of :data:`MODELS` offers."""

    DEFAULTS: Mapping[str, Any]
    """Hyperparameters where the pipeline file says nothing."""

    def fit(
        self,
        train: pd.DataFrame,
        validation: pd.DataFrame,
        *,
        target: str,
        hyperparameters: Mapping[str, Any],
        seed: int,
        checkpoints: Path | None = None,
        report: Report | None = None,
        metric: str = "average_precision",
    ) -> Fitted:
        """Fit on labelled rows (rows without a label are dropped), stop early on ``validation``.

        ``metric`` is what ``report`` is told.

        :raises Pruned: when ``report`` returned True.
        """

    def load(self, folder: Path) -> Scorer:
        """Load what :meth:`Fitted.save` wrote, without MLflow."""


def module(name: str) -> ModelModule:
    """Return the module of a model by the name the pipeline file uses."""
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"there is no model {name!r} (there are {', '.join(MODELS)}){hint}")
    return cast("ModelModule", import_module(MODELS[name]))


def feature_columns(frame: pd.DataFrame, target: str) -> list[str]:
    """Return the columns of a feature frame that a model may see."""
    return [name for name in frame.columns if name not in KEYS and name != target]


def load(folder: Path) -> Scorer:
    """Load an MLflow model folder: ours without importing MLflow, any other through its pyfunc."""
    description = folder / "MLmodel"
    if not description.is_file():
        raise BadInput(f"{folder} is no MLflow model folder: it has no MLmodel file")
    metadata = (yaml.safe_load(description.read_text()) or {}).get("metadata") or {}
    name = metadata.get("nightshift_model")
    if name is not None:
        return module(name).load(folder)
    return _PyfuncScorer(folder)


def signature(folder: Path) -> dict[str, dict[str, str]]:
    """What a saved model takes and gives: ``{inputs: {column: type}, outputs: ...}``; {} if unsaid."""
    said = (yaml.safe_load((folder / "MLmodel").read_text()) or {}).get("signature") or {}
    return {side: _schema(said[side]) for side in ("inputs", "outputs") if said.get(side)}


def _schema(text: str) -> dict[str, str]:
    """MLflow's schema as column -> type; columns without a name go by their position."""
    columns = json.loads(text)
    return {
        str(column.get("name", place)): str(column.get("tensor-spec") or column["type"])
        for place, column in enumerate(columns)
    }


class _PyfuncScorer:
    """A model of another make: its pyfunc must give one probability (or a pair) a row."""

    def __init__(self, folder: Path) -> None:
        from jobs.models.mlflow_folder import quiet_mlflow

        with quiet_mlflow():
            import mlflow.pyfunc

            self._model = mlflow.pyfunc.load_model(str(folder))

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        import numpy as np

        schema = self._model.metadata.get_input_schema()
        if schema is not None and schema.has_input_names():
            frame = frame[schema.input_names()]
        scores = np.asarray(self._model.predict(frame), dtype=np.float64)
        return scores[:, -1] if scores.ndim == 2 else scores
