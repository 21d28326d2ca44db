"""The evaluation job: challenger and champion on the same frozen holdout rows, by the same code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobs import contract, features, metrics, models
from jobs.contract import BadInput, Job, say
from jobs.train import labelled

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd

__all__ = ["run"]

_NAMES = ("challenger", "champion")


def run(job: Job) -> None:
    """Score ``splits.holdout`` with ``models/challenger`` and, where there is one, ``models/champion``.

    :raises BadInput: when the challenger or labelled rows are missing, or a model wants other columns.
    """
    spec, days = job.spec, job.spec.splits.holdout
    folders = {name: job.input / "models" / name for name in _NAMES}
    if not folders["challenger"].is_dir():
        raise BadInput(f"there is no challenger: {folders['challenger']} is not there")
    if not days:
        raise BadInput("job.json: splits.holdout is empty")
    rows = labelled(features.build(spec, job.input, days), spec.target)
    if rows.empty:
        raise BadInput(f"the holdout {days[0]} .. {days[-1]} has no row with a label")
    scores = {name: _scores(name, path, rows) for name, path in folders.items() if path.is_dir()}
    if "champion" not in scores:
        say("no champion yet: the challenger is judged alone")
    _write(job, rows, scores)


def _scores(name: str, folder: Path, rows: pd.DataFrame) -> np.ndarray:
    scorer = models.load(folder)
    try:
        return scorer.predict_proba(rows)
    except KeyError as error:
        raise BadInput(f"the {name} was fitted on columns that are no features any more: {error}") from error


def _write(job: Job, rows: pd.DataFrame, scores: dict[str, np.ndarray]) -> None:
    import pyarrow as pa

    labels, results = rows[job.spec.target].to_numpy(), {}
    for name, values in scores.items():
        found = metrics.compute(labels, values)
        results[name] = {"metrics": found}
        for metric, value in found.items():
            contract.metric(f"{name}_{metric}", value)
    columns: dict[str, Any] = {
        "partition": pa.array(rows["partition"], pa.string()),
        "row_id": rows["row_id"],
    }
    nothing = pa.nulls(len(rows), pa.float64())
    columns |= {"label": labels, **{name: scores.get(name, nothing) for name in _NAMES}}
    contract.write_parquet(job.output / "predictions.parquet", pa.table(columns))
    document = {"partitions": list(job.spec.splits.holdout), "rows": len(rows), "models": results}
    contract.write_json(job.output / "evaluation.json", document)
