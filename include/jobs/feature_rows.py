"""The features job: partitions as JSON lines of what a model reads, for a cloud's batch transform.

One line is one row: ``row_id`` and the columns of the champion's signature. A number is written so that
reading gives the same number; nothing, and not a number, are null.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from typing import TYPE_CHECKING

from jobs import features, models
from jobs.contract import BadInput, atomic, metric, say, write_json
from jobs.score import CHAMPION, Seen, each_day, rows_to_score

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

    from jobs.contract import Job

__all__ = ["columns_read", "lines_of", "run"]


def run(job: Job) -> None:
    """Write features/<partition>/<partition>.part-*.jsonl and counts.json, for what ``score`` would score.

    The partition is in a file's name too: a cloud that answers file by file may leave the folders out.

    :raises BadInput: when no partition has rows, or the features are not what the champion reads.
    :raises RuntimeError: when the features' rows and the partition's do not match one to one.
    """
    started, columns = time.perf_counter(), columns_read(job)
    shutil.rmtree(job.output / "features", ignore_errors=True)  # of an earlier try
    written, failed = each_day(job.spec, lambda day: _write(job, columns, day))
    seconds = time.perf_counter() - started
    rows = sum(counts["rows_in"] for counts in written.values())
    document = {"rows_in": rows, "seconds": seconds, "partitions": written, "failed": failed}
    write_json(job.output / "counts.json", document)
    metric("feature_rows", rows)
    metric("rows_per_s", rows / seconds)


def columns_read(job: Job) -> list[str]:
    """The features that the champion reads; all of them where the input has no champion."""
    there = features.columns(job.spec)
    champion = job.input / "models" / CHAMPION
    if not champion.is_dir():
        return there
    wanted = list(models.signature(champion).get("inputs", there))
    if strange := [name for name in wanted if name not in there]:
        raise BadInput(f"the champion was fitted on columns that are no features any more: {strange}")
    return wanted


def _write(job: Job, columns: Sequence[str], day: str) -> dict[str, int]:
    """One partition; how many rows it has."""
    row_ids, folder = rows_to_score(job, day), job.output / "features" / day
    seen = Seen(row_ids)
    for number, frame in enumerate(_accounted(job, seen, day)):
        with (
            atomic(folder / f"{day}.part-{number:05d}.jsonl") as partial,
            partial.open("w", encoding="utf-8") as file,
        ):
            file.writelines(lines_of(frame, columns))
    seen.check_all()
    say(f"{day}: {len(row_ids)} rows")
    return {"rows_in": len(row_ids)}


def _accounted(job: Job, seen: Seen, day: str) -> Iterator[pd.DataFrame]:
    for frame in features.batches(job.spec, job.input, [day], job.spec.scoring.batch_rows):
        seen.add(frame["row_id"].to_numpy())
        yield frame


def lines_of(frame: pd.DataFrame, columns: Sequence[str]) -> Iterator[str]:
    """One line of JSON a row, as ``serve`` reads it."""
    names = ["row_id", *columns]
    for row in zip(*(_values(frame[name]) for name in names), strict=True):
        yield json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) + "\n"


def _values(column: pd.Series) -> Iterable[object]:
    """Plain values.

    :raises RuntimeError: at an infinite number, which JSON cannot say.
    """
    values: list[object] = column.tolist()
    if any(isinstance(value, float) and math.isinf(value) for value in values):
        raise RuntimeError(f"feature {column.name!r} is infinite in some row")
    return (None if value != value else value for value in values)
