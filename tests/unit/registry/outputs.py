"""Output folders as the jobs write them, small enough to store in MLflow in a moment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MANIFESTS", "write_bare_training", "write_evaluation", "write_training", "write_tuning"]

MANIFESTS: dict[str, dict[str, Any]] = {
    "clean": {
        "table": "clean",
        "uri": "file:///lake/flight_delays/clean",
        "version": 7,
        "partitions": ["2013-01-01", "2013-01-02"],
        "files": [],
        "rows": 1785,
        "bytes": 90_000,
        "sha256": "ab" * 32,
    },
    "planes": {
        "table": "planes",
        "uri": "file:///lake/flight_delays/planes",
        "version": 0,
        "partitions": [],
        "files": [],
        "rows": 3322,
        "bytes": 50_000,
        "sha256": "cd" * 32,
    },
}
METRICS = {"train_rows": 1500, "holdout_average_precision": 0.4375, "holdout_roc_auc": 0.71}
# the smallest real picture: one white pixel
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f"
    "0005fe02fe0def46b80000000049454e44ae426082"
)


def write_training(folder: Path) -> Path:
    """A train job's output with a real scikit-learn model in it."""
    import mlflow.sklearn
    import numpy as np
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    frame = pd.DataFrame({"distance": np.linspace(0.0, 1.0, 20)})
    model = LogisticRegression().fit(frame, frame["distance"] > 0.5)
    mlflow.sklearn.save_model(
        model,
        str(folder / "model"),
        signature=infer_signature(frame, model.predict(frame)),
        pip_requirements=["scikit-learn"],
    )
    _write(folder / "metrics.json", METRICS)
    _write(folder / "params.json", {"learning_rate": 0.06, "model": "logistic", "early_stopping": True})
    _picture(folder / "pictures" / "roc.png")
    frame.to_parquet(folder / "holdout_predictions.parquet")
    return folder


def write_bare_training(folder: Path) -> Path:
    """A train job's output whose model is whole, as MLflow counts, and can do nothing."""
    model = folder / "model"
    model.mkdir()
    (model / "model.bin").write_bytes(bytes(4096))
    (model / "MLmodel").write_text("flavors: {}\nmodel_size_bytes: 4096\n")
    _write(folder / "metrics.json", METRICS)
    _write(folder / "params.json", {})
    return folder


def write_tuning(folder: Path, trials: int = 4) -> Path:
    """A tune job's output: the last trial is pruned, the one before failed."""
    states = ["COMPLETE"] * (trials - 2) + ["FAIL", "PRUNED"]
    documents = [
        {
            "number": number,
            "state": state,
            "params": {"learning_rate": 0.01 * (number + 1), "max_leaf_nodes": 8 + number},
            "value": None if state == "FAIL" else round(0.4 + number / 100, 2),
            "seconds": None if state == "FAIL" else 1.5,
            "intermediate": [] if state == "FAIL" else [[0, 0.3], [1, 0.35]],
        }
        for number, state in enumerate(states)
    ]
    best = documents[trials - 3]
    _write(folder / "trials.json", documents)
    _write(folder / "best.json", {key: best[key] for key in ("number", "value", "params")})
    _write(folder / "metrics.json", {"trials": trials, "completed": trials - 2})
    _picture(folder / "pictures" / "parameter_importance.png")
    return folder


def write_evaluation(folder: Path) -> Path:
    """An evaluate job's output: challenger and champion on the same rows."""
    models = {
        "challenger": {"metrics": {"average_precision": 0.44, "roc_auc": 0.71}},
        "champion": {"metrics": {"average_precision": 0.41, "roc_auc": 0.70}},
    }
    _write(folder / "evaluation.json", {"partitions": ["2013-01-02"], "rows": 900, "models": models})
    return folder


def _write(file: Path, document: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


def _picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_PNG)
