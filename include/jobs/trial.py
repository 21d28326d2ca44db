"""The trial job: one fit of a search that a cloud's tuner drives, judged as the tune job judges its own."""

from __future__ import annotations

import hashlib
import json
import os
import time

from jobs.contract import BadInput, Job, metric, write_json
from jobs.tune import objective

__all__ = ["run"]


def run(job: Job) -> None:
    """Fit with the job's hyperparameters and leave trial.json and metrics.json.

    The fit prints ``validation_<metric>`` at every step, for a tuner that stops early; the last line
    of that name, without a step, is the trial's value.

    :raises BadInput: when the specification has no search, or the days have no labelled rows.
    :raises RuntimeError: when the metric is not a number.
    """
    started, spec = time.perf_counter(), job.spec
    if spec.tuning is None:
        raise BadInput("job.json: a trial needs the field tuning")
    params = {name: spec.hyperparameters.get(name) for name in spec.tuning.search_space}
    points: list[tuple[int, float]] = []

    def report(step: int, value: float) -> bool:
        points.append((step, value))
        return False  # who stops trials early is the tuner

    # A tuner's trials share one checkpoint location, and each may only go on with its own.
    own = hashlib.sha256(json.dumps(params, sort_keys=True, default=str).encode()).hexdigest()[:16]
    value = objective(job, spec.tuning, job.checkpoints / own)({}, report)
    if os.environ.get("RANK", "0") != "0":
        return  # one of torchrun's others: the first one writes
    if value != value:
        raise RuntimeError(f"the validation {spec.tuning.metric} is not a number")
    name, seconds = f"validation_{spec.tuning.metric}", time.perf_counter() - started
    document = {"params": params, "value": value, "metric": spec.tuning.metric, "seconds": seconds}
    write_json(job.output / "trial.json", document | {"intermediate": points})
    write_json(job.output / "metrics.json", {name: value, "seconds": seconds})
    metric(name, value)
