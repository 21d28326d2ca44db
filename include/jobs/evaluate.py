"""The evaluation job: challenger and champion on the same frozen holdout rows, by the same code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from jobs import contract, features, metrics, models
from jobs.contract import BadInput, Job, say
from jobs.train import labelled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from jobs.models import Scorer

__all__ = ["run"]

_NAMES = ("challenger", "champion")
_CALLS, _CALLS_S = 50, 0.5
"""Calls with one row that latency is taken from: so many, or as many as fit into so many seconds."""


def run(job: Job) -> None:
    """Score ``splits.holdout`` with ``models/challenger`` and, where there is one, ``models/champion``.

    Leaves ``predictions.parquet`` (partition, row_id, label, challenger, champion and ``slice_<column>`` for
    every one of ``evaluation.columns``) and ``evaluation.json`` (per model: metrics, latency, size,
    signature).

    :raises BadInput: when the challenger, a column or labelled rows are missing, or a model wants other
        columns.
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
    scores, results = {}, {}
    for name, folder in folders.items():
        if folder.is_dir():
            scores[name], results[name] = _judge(name, folder, rows, spec.target)
    if "champion" not in scores:
        say("no champion yet: the challenger is judged alone")
    columns = {f"slice_{name}": _column(job, name, rows) for name in spec.evaluation.columns}
    _write(job, rows, scores, columns)
    document = {"partitions": list(days), "rows": len(rows), "models": results}
    contract.write_json(job.output / "evaluation.json", document)


def _judge(name: str, folder: Path, rows: pd.DataFrame, target: str) -> tuple[np.ndarray, dict[str, Any]]:
    """A model's probabilities, and what is said of it."""
    scorer = models.load(folder)
    try:
        values = scorer.predict_proba(rows)
    except KeyError as error:
        raise BadInput(f"the {name} was fitted on columns that are no features any more: {error}") from error
    found = metrics.compute(rows[target].to_numpy(), values)
    latency = _latency_ms(scorer, rows)
    for metric, value in {**found, "latency_ms": latency}.items():
        contract.metric(f"{name}_{metric}", value)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    signature = models.signature(folder)
    return values, {"metrics": found, "latency_ms": latency, "size_bytes": size, "signature": signature}


def _latency_ms(scorer: Scorer, rows: pd.DataFrame) -> float:
    """Milliseconds that 95 of 100 calls with one row take, on this machine, after one that warms up."""
    import numpy as np

    one = rows.head(1)
    scorer.predict_proba(one)
    took: list[float] = []
    begun = time.perf_counter()
    while len(took) < _CALLS and (not took or time.perf_counter() - begun < _CALLS_S):
        started = time.perf_counter()
        scorer.predict_proba(one)
        took.append(time.perf_counter() - started)
    return float(np.quantile(took, 0.95) * 1000)


def _column(job: Job, name: str, rows: pd.DataFrame) -> Sequence[str]:
    """A column of the rows, as words: of the features, else of the rows that they were made from."""
    if name in rows:
        return [str(value) for value in rows[name]]
    found = features.source_columns(job.spec, job.input, job.spec.splits.holdout, [name])
    keys = rows[list(models.KEYS)].merge(found, on=list(models.KEYS), how="left", validate="one_to_one")
    return [str(value) for value in keys[name]]


def _write(
    job: Job, rows: pd.DataFrame, scores: dict[str, np.ndarray], columns: dict[str, Sequence[str]]
) -> None:
    import pyarrow as pa

    nothing = pa.nulls(len(rows), pa.float64())
    table: dict[str, Any] = {
        "partition": pa.array(rows["partition"], pa.string()),
        "row_id": rows["row_id"],
        "label": rows[job.spec.target].to_numpy(),
        **{name: scores.get(name, nothing) for name in _NAMES},
        **{name: pa.array(values, pa.string()).dictionary_encode() for name, values in columns.items()},
    }
    contract.write_parquet(job.output / "predictions.parquet", pa.table(table))
