"""The score job: the champion's probability for every clean row of its partitions, in bounded memory."""

from __future__ import annotations

import shutil
import time
from functools import cache
from typing import TYPE_CHECKING

from jobs.contract import BadInput, atomic, metric, say, write_json
from jobs.features import batches
from jobs.models import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from jobs.contract import Job, JobSpec
    from jobs.models import Scorer

__all__ = ["CHAMPION", "Seen", "each_day", "predict", "rows_to_score", "run", "score_frames"]

CHANNEL, CHAMPION = "clean", "champion"


def run(job: Job) -> None:
    """Write predictions/<partition>/part-*.parquet (row_id, prediction) and counts.json.

    The partitions are the days of ``splits.holdout``, or the job's own where there are none. One that
    cannot be scored is named in counts.json and does not stop the others.

    :raises BadInput: when no partition has rows, or the input no champion.
    :raises RuntimeError: when predictions and rows of none match one to one.
    """
    started = time.perf_counter()
    champion = cache(lambda: load(job.input / "models" / CHAMPION))
    shutil.rmtree(job.output / "predictions", ignore_errors=True)  # of an earlier try
    scored, failed = each_day(job.spec, lambda day: _score(job, champion, day))
    seconds = time.perf_counter() - started
    rows = {key: sum(counts[key] for counts in scored.values()) for key in ("rows_in", "rows_out")}
    write_json(
        job.output / "counts.json", {**rows, "seconds": seconds, "partitions": scored, "failed": failed}
    )
    metric("rows_scored", rows["rows_out"])
    metric("rows_per_s", rows["rows_out"] / seconds)


def each_day(
    spec: JobSpec, work: Callable[[str], dict[str, int]]
) -> tuple[dict[str, dict[str, int]], dict[str, str]]:
    """Do the work for each partition to score: its counts by day, and why a day has none.

    :raises BadInput: of the only day, or
    :raises RuntimeError: when none of several could be done.
    """
    days = spec.splits.holdout or (spec.partition,)
    done: dict[str, dict[str, int]] = {}
    failed: dict[str, str] = {}
    for day in days:
        try:
            done[day] = work(day)
        except (BadInput, RuntimeError) as error:
            if len(days) == 1:
                raise
            say(f"{day} cannot be scored: {error}")
            failed[day] = f"{type(error).__name__}: {error}"
    if not done:
        raise RuntimeError(f"no partition could be scored; the last one: {failed.popitem()[1]}")
    return done, failed


def _score(job: Job, champion: Callable[[], Scorer], day: str) -> dict[str, int]:
    """One partition; how many rows it has and how many predictions."""
    row_ids = rows_to_score(job, day)
    frames = batches(job.spec, job.input, [day], job.spec.scoring.batch_rows)
    rows = score_frames(champion(), frames, row_ids, job.output / "predictions" / day)
    return {"rows_in": len(row_ids), "rows_out": rows}


def score_frames(scorer: Scorer, frames: Iterable[pd.DataFrame], row_ids: np.ndarray, folder: Path) -> int:
    """Write a part file for each feature frame and return the number of rows: one for each of ``row_ids``.

    :param row_ids: sorted and unique.
    :raises RuntimeError: when predictions and rows do not match one to one.
    """
    folder.mkdir(parents=True)
    seen, rows = Seen(row_ids), 0
    for number, frame in enumerate(frames):
        seen.add(frame["row_id"].to_numpy())
        write_part(folder / f"part-{number:05d}.parquet", frame, predict(scorer, frame))
        rows += len(frame)
        say(f"scored {rows}/{len(row_ids)} rows")
    seen.check_all()
    return rows


def rows_to_score(job: Job, partition: str) -> np.ndarray:
    """The ids of a partition's rows, read from the input itself and not through the features, sorted."""
    import numpy as np
    import pyarrow.parquet as pq

    folder = job.input / CHANNEL / f"partition={partition}"
    files = sorted(folder.glob("*.parquet"))
    ids = [pq.read_table(file, columns=["row_id"], partitioning=None)["row_id"].to_numpy() for file in files]
    found = np.sort(np.concatenate(ids)) if ids else np.empty(0, dtype=np.int64)
    if not len(found):
        raise BadInput(f"there are no clean rows of {partition} to score")
    twice = found[1:][found[1:] == found[:-1]]
    if len(twice):
        raise BadInput(f"row_id {twice[0]} of {partition} is there more than once: ids must be unique")
    return found


def predict(scorer: Scorer, frame: pd.DataFrame, row_ids: Sequence[object] | None = None) -> np.ndarray:
    """One probability a row.

    :param row_ids: what an error calls the rows; the frame's own where it is left out.
    :raises RuntimeError: when the model gives another number of values, or one that is no probability.
    """
    predictions = scorer.predict_proba(frame)
    if predictions.shape != (len(frame),):
        raise RuntimeError(f"the model gave {predictions.shape} values for {len(frame)} rows")
    wrong = ~((predictions >= 0.0) & (predictions <= 1.0))
    if wrong.any():
        names = frame["row_id"].tolist() if row_ids is None else row_ids
        first = names[int(wrong.argmax())]
        raise RuntimeError(f"{wrong.sum()} predictions are no probabilities, the first for row_id {first}")
    return predictions


def write_part(path: Path, frame: pd.DataFrame, predictions: np.ndarray) -> None:
    """Write one batch of predictions; whole, or not at all."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "row_id": pa.array(frame["row_id"].to_numpy().astype(np.int64)),
        "prediction": pa.array(predictions.astype(np.float64)),
    }
    with atomic(path) as partial:
        pq.write_table(pa.table(columns), partial, compression="zstd")


class Seen:
    """Keeps account: every id of ``wanted`` (sorted, unique) once. One byte a row beside the ids."""

    def __init__(self, wanted: np.ndarray) -> None:
        import numpy as np

        self._wanted = wanted
        self._done = np.zeros(len(wanted), dtype=bool)

    def add(self, ids: np.ndarray) -> None:
        """Count a batch.

        :raises RuntimeError: at an id that was not asked for, or that came before.
        """
        import numpy as np

        places = np.searchsorted(self._wanted, ids).clip(max=len(self._wanted) - 1)
        strange = ids[self._wanted[places] != ids]
        if len(strange):
            raise RuntimeError(f"{len(strange)} rows are not of the input, the first has row_id {strange[0]}")
        if self._done[places].any() or len(np.unique(places)) != len(places):
            raise RuntimeError("the features gave a row twice: it would have been scored twice")
        self._done[places] = True

    def check_all(self) -> None:
        """Assert that nothing is missing.

        :raises RuntimeError: naming how many rows, and the first, have no prediction.
        """
        missing = self._wanted[~self._done]
        if len(missing):
            raise RuntimeError(f"{len(missing)} rows got no prediction, the first is row_id {missing[0]}")
