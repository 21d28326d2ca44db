"""The training job: features of all splits at once, a fit, its measure on the holdout, all outputs."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from jobs import contract, environment, features, metrics, models
from jobs.contract import BadInput, Job, JobSpec, say

if TYPE_CHECKING:
    import pandas as pd

    from jobs.models import Fitted

__all__ = ["labelled", "run"]

_EXAMPLE_ROWS = 5


def run(job: Job) -> None:
    """Fit on ``splits.train``, stop early on ``splits.validation``, judge on ``splits.holdout``.

    :raises BadInput: when a split is empty or not in order, or has no labelled rows.
    """
    spec, started = job.spec, time.perf_counter()
    splits = _splits(spec)
    frame = features.build(spec, job.input, [day for days in splits.values() for day in days])
    rows = {
        name: labelled(frame[frame["partition"].isin(days)], spec.target) for name, days in splits.items()
    }
    for name, part in rows.items():
        if splits[name] and part.empty:
            raise BadInput(f"{name} {splits[name][0]} .. {splits[name][-1]} has no row with a label")
    module, fit_started = models.module(spec.model), time.perf_counter()
    fitted = module.fit(
        rows["train"],
        rows["validation"],
        target=spec.target,
        hyperparameters=spec.hyperparameters,
        seed=spec.seed,
        checkpoints=job.checkpoints,
    )
    if os.environ.get("RANK", "0") != "0":
        return  # one of torchrun's others: the first one writes
    say(f"fit: {time.perf_counter() - fit_started:.1f} s")
    params = dict(module.DEFAULTS) | dict(spec.hyperparameters)
    _save(job, fitted, rows, params | _described(spec))
    say(f"done in {time.perf_counter() - started:.1f} s")


def labelled(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """Return the rows whose outcome is known."""
    return frame[frame[target].notna()].reset_index(drop=True)


def _splits(spec: JobSpec) -> dict[str, tuple[str, ...]]:
    """The splits, which must follow one another in time: training on the future is no training."""
    splits = {name: getattr(spec.splits, name) for name in ("train", "validation", "holdout")}
    if not splits["train"]:
        raise BadInput("job.json: splits.train is empty")
    used = [(name, days) for name, days in splits.items() if days]
    for (earlier, first), (later, second) in itertools.pairwise(used):
        if max(first) >= min(second):
            raise BadInput(f"job.json: {earlier} ends on {max(first)}, but {later} begins on {min(second)}")
    return splits


def _described(spec: JobSpec) -> dict[str, Any]:
    days = {
        f"{name}_days": f"{chosen[0]} .. {chosen[-1]} ({len(chosen)})"
        for name in ("train", "validation", "holdout")
        if (chosen := getattr(spec.splits, name))
    }
    return {
        "model": spec.model,
        "seed": spec.seed,
        "features": spec.features.module,
        "features_engine": spec.features.engine,
        "features_lookback_days": spec.features.lookback,
        **days,
    }


def _save(job: Job, fitted: Fitted, rows: dict[str, pd.DataFrame], params: dict[str, Any]) -> None:
    target = job.spec.target
    values: dict[str, float] = {}
    scores = {name: fitted.predict_proba(part) for name, part in rows.items() if len(part)}
    for name, part in rows.items():
        values[f"{name}_rows"] = len(part)
        if len(part):
            values[f"{name}_positive_rate"] = float(part[target].mean())
            found = metrics.compute(part[target].to_numpy(), scores[name])
            values |= {f"{name}_{metric}": value for metric, value in found.items()}
    for name, value in values.items():
        contract.metric(name, value)
    _save_model(job, fitted, rows["train"])
    if len(rows["holdout"]):
        _save_holdout(job, fitted, rows["holdout"], scores["holdout"])
    contract.write_json(job.output / "environment.json", environment.describe(job.output / "model"))
    contract.write_json(job.output / "params.json", params)
    contract.write_json(job.output / "metrics.json", values)


def _save_model(job: Job, fitted: Fitted, rows: pd.DataFrame) -> None:
    """Replace what an earlier try left; the folder appears whole."""
    started = time.perf_counter()
    partial, folder = job.output / ".model.partial", job.output / "model"
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    fitted.save(partial, rows.head(_EXAMPLE_ROWS))
    partial.rename(folder)
    say(f"model saved: {time.perf_counter() - started:.1f} s")


def _save_holdout(job: Job, fitted: Fitted, rows: pd.DataFrame, scores: Any) -> None:
    import pyarrow as pa

    from jobs.pictures import draw_all

    started, labels = time.perf_counter(), rows[job.spec.target].to_numpy()
    table = {"partition": pa.array(rows["partition"], pa.string()), "row_id": pa.array(rows["row_id"])}
    table |= {"label": pa.array(labels), "prediction": pa.array(scores)}
    contract.write_parquet(job.output / "holdout_predictions.parquet", pa.table(table))
    days = job.spec.splits.holdout
    title = f"{job.spec.pipeline} {job.spec.partition}, holdout {days[0]} .. {days[-1]}, {len(rows):,} rows"
    importances = fitted.importances(rows, labels)
    draw_all(job.output / "pictures", title, labels, scores, importances, job.spec.target)
    say(f"pictures: {time.perf_counter() - started:.1f} s")
