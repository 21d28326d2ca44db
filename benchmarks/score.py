"""Batch scoring: the score job's loop against the bare model, and the whole job on a million rows.

``score_over_raw`` compares, on the same feature rows in memory, the job's loop (batches, checks, row
account, part files on disk) with one call of the model's ``predict_proba``. Reading and building the
features is not in it: their cost is in ``features_rows_per_s``, and everything together, start and imports
included, in ``job``, with the peak memory of that process. The model has 60 trees, a usual night's number.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

__all__ = ["measure"]

ROWS = 1_000_000
BATCH_ROWS = 65_536
ROUNDS = 5
TREES = 60
DAY = "2013-01-20"
PROJECT = Path(__file__).resolve().parents[1]


def measure(scratch: Path, rows: int = ROWS) -> dict[str, Any]:
    """Score ``rows`` rows of real flights (a day of January 2013, repeated) with the default model."""
    inputs = scratch / "input"
    spec = _prepare(inputs)
    frame = _frame(spec, inputs, rows)
    _save_model(spec, inputs)
    result = _compare(frame, inputs / "models" / "champion", scratch / "parts")
    _repeat_day(inputs, rows)
    result |= {"rows": rows, "batch_rows": BATCH_ROWS, "features_rows_per_s": _features(spec, inputs, rows)}
    result["job"] = {str(size): _job(inputs, scratch / f"job-{size}", size) for size in (rows // 10, rows)}
    return {"ratios": {"score_over_raw": result.pop("score_over_raw")}, "details": result}


def _prepare(inputs: Path) -> Any:
    from jobs.contract import JobSpec
    from tests.fakes.job_inputs import job_json, write_inputs

    shutil.rmtree(inputs, ignore_errors=True)
    write_inputs(inputs)
    return JobSpec.from_dict(job_json("score", partition=DAY, scoring={"batch_rows": BATCH_ROWS}))


def _save_model(spec: Any, inputs: Path) -> None:
    from jobs.features import build
    from jobs.models import module

    days = build(spec, inputs, [*spec.splits.train, *spec.splits.validation])
    none = days.head(0)  # without validation rows every tree is kept
    fitted = module(spec.model).fit(
        days, none, target=spec.target, hyperparameters={"max_iter": TREES}, seed=spec.seed
    )
    (inputs / "models").mkdir()
    fitted.save(inputs / "models" / "champion", days.head(5))


def _frame(spec: Any, inputs: Path, rows: int) -> pd.DataFrame:
    """Feature rows of twelve real days, repeated to ``rows``, with ids of their own."""
    import numpy as np
    import pandas as pd

    from jobs.features import build

    days = build(spec, inputs, [*spec.splits.train, *spec.splits.validation])
    frame = pd.concat([days] * (rows // len(days) + 1), ignore_index=True).head(rows)
    return frame.assign(row_id=np.arange(rows))


def _compare(frame: pd.DataFrame, model: Path, folder: Path) -> dict[str, float]:
    from jobs.models import load
    from jobs.score import score_frames

    scorer, ids = load(model), frame["row_id"].to_numpy()

    def job() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        score_frames(scorer, _pieces(frame), ids, folder)

    def raw() -> None:
        scorer.predict_proba(frame)

    raw()  # once for warmth
    seconds = [(_seconds(raw), _seconds(job)) for _ in range(ROUNDS)]
    return {
        "score_over_raw": round(median(alone / ours for alone, ours in seconds), 3),
        "raw_rows_per_s": round(len(frame) / median(alone for alone, _ in seconds)),
        "score_rows_per_s": round(len(frame) / median(ours for _, ours in seconds)),
    }


def _pieces(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    return (frame.iloc[start : start + BATCH_ROWS] for start in range(0, len(frame), BATCH_ROWS))


def _seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _repeat_day(inputs: Path, rows: int) -> None:
    """Make the day's clean rows ``rows`` many: the same flights again and again, with new ids."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = inputs / "clean" / f"partition={DAY}" / "part-0.parquet"
    day = pq.read_table(file)
    many = pa.concat_tables([day] * (rows // day.num_rows + 1)).slice(0, rows)
    place = many.schema.get_field_index("row_id")
    pq.write_table(many.set_column(place, "row_id", pa.array(np.arange(rows))), file)


def _features(spec: Any, inputs: Path, rows: int) -> int:
    from jobs.features import batches

    started = time.perf_counter()
    made = sum(len(frame) for frame in batches(spec, inputs, [DAY], BATCH_ROWS))
    assert made == rows
    return round(rows / (time.perf_counter() - started))


def _job(inputs: Path, folder: Path, rows: int) -> dict[str, float]:
    """Run the job as a process of its own; its wall time and peak memory, imports and features included."""
    from tests.fakes.job_inputs import job_json, write_job

    _repeat_day(inputs, rows)
    shutil.rmtree(folder, ignore_errors=True)
    spec = write_job(folder, job_json("score", partition=DAY, scoring={"batch_rows": BATCH_ROWS}))
    places = {"spec": spec, "input": inputs, "output": folder / "output", "checkpoints": folder / "kept"}
    words = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "include")}
    started = time.perf_counter()
    command = [sys.executable, "-c", _JOB, "score", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    assert json.loads((folder / "output" / "counts.json").read_text())["rows_out"] == rows
    peak = int(done.stdout.split("VmHWM:")[1].split()[0]) / 1024
    return {"seconds": round(seconds, 1), "rows_per_s": round(rows / seconds), "peak_rss_mib": round(peak)}


# The process tells its own peak: what wait4 says of a child starts with the memory of its parent.
_JOB = """
import sys
from pathlib import Path
from jobs.__main__ import main
code = main(sys.argv[1:])
print(Path("/proc/self/status").read_text())
sys.exit(code)
"""


if __name__ == "__main__":
    import tempfile

    for path in (PROJECT, PROJECT / "include"):
        sys.path.insert(0, str(path))
    with tempfile.TemporaryDirectory(prefix="nightshift-score-") as folder:
        print(json.dumps(measure(Path(folder)), indent=2))
