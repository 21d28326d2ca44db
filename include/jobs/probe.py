"""The probe job: real rows as requests, with what a batch of the model says of each.

Whoever deploys the model asks the endpoint these rows: its answers have to be the same numbers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from jobs import features, models
from jobs.contract import BadInput, atomic, metric
from jobs.feature_rows import columns_read, lines_of
from jobs.score import CHAMPION, predict

if TYPE_CHECKING:
    from jobs.contract import Job

__all__ = ["run"]


def run(job: Job) -> None:
    """Write probe.jsonl: ``{"row": {...}, "prediction": p}`` for the first ``scoring.batch_rows`` rows.

    :raises BadInput: when the days of ``splits.holdout`` have no row, or the input has no champion.
    """
    days = list(job.spec.splits.holdout or (job.spec.partition,))
    wanted = job.spec.scoring.batch_rows
    frame = next(iter(features.batches(job.spec, job.input, days, wanted)), None)
    if frame is None or frame.empty:
        raise BadInput(f"there are no clean rows of {', '.join(days)} to probe with")
    frame = frame.head(wanted)
    predictions = predict(models.load(job.input / "models" / CHAMPION), frame).tolist()
    lines = lines_of(frame, columns_read(job))
    with atomic(job.output / "probe.jsonl") as partial, partial.open("w", encoding="utf-8") as file:
        for line, prediction in zip(lines, predictions, strict=True):
            file.write(json.dumps({"row": json.loads(line), "prediction": prediction}) + "\n")
    metric("probe_rows", len(frame))
