"""The script MLflow runs to build a saved ``torch_mlp`` (models from code)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.models
import mlflow.pyfunc
import numpy as np  # noqa: TC002 - MLflow evaluates the annotations
import pandas as pd  # noqa: TC002

__all__ = ["TorchMlpPyfunc"]


class TorchMlpPyfunc(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]  # MLflow is untyped
    """Probability of the positive class, shape (rows,)."""

    def load_context(self, context: Any) -> None:
        """Load the weights that lie beside this script."""
        from jobs.models.torch_mlp import load_files

        self._model = load_files(Path(context.artifacts["weights"]), Path(context.artifacts["encoder"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> np.ndarray:
        """Score the rows of a feature frame."""
        return self._model.predict_proba(model_input)


mlflow.models.set_model(TorchMlpPyfunc())
