"""The gate's bootstrap against the same resamples drawn one by one with scikit-learn's metric."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["measure"]

ROWS = 300_000
LOOPED = 20
"""Resamples of the plain loop that are measured; the rest is extrapolated."""


def measure(scratch: Path) -> dict[str, Any]:
    """Seconds of 2,000 paired resamples of 300,000 rows, all five metrics; each in a process of its own.

    :returns: ``{"ratios": {"gate_loop_over_ours"}, "details"}``; the loop computes average precision alone.
    """
    ours, sliced, loop = (_one(kind) for kind in ("ours", "sliced", "loop"))
    per_resample = loop["seconds"] / LOOPED
    return {
        "ratios": {"gate_loop_over_ours": round(per_resample * 2000 / ours["seconds"], 1)},
        "details": {"ours": ours, "with 19 slices": sliced, f"loop of {LOOPED}": loop, "rows": ROWS},
    }


def _one(kind: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gate", kind], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _holdout() -> Any:
    import numpy as np

    from nightshift.gate.predictions import Predictions

    rng = np.random.default_rng(0)
    labels = (rng.random(ROWS) < 0.23).astype(float)
    truth = rng.normal(size=ROWS) + labels
    scores = [1 / (1 + np.exp(1 - truth - 0.3 * rng.normal(size=ROWS))) for _ in range(2)]
    return Predictions(
        partition=np.repeat([f"2013-01-{day:02d}" for day in range(1, 31)], ROWS // 30),
        labels=labels,
        challenger=scores[0],
        champion=scores[1],
        slices={name: rng.integers(0, n, ROWS).astype(str) for name, n in (("carrier", 16), ("origin", 3))},
    )


def _ours(predictions: Any, *, sliced: bool) -> None:
    from nightshift.config.pipeline import GateConfig
    from nightshift.gate.comparison import compare

    slices = {"slices": {"columns": ["carrier", "origin"]}} if sliced else {}
    compare(predictions, GateConfig.model_validate({"resamples": 2000, **slices}), seed=1)


def _loop(predictions: Any) -> None:
    import numpy as np
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(1)
    for _ in range(LOOPED):
        rows = rng.integers(0, ROWS, ROWS)
        labels = predictions.labels[rows]
        for scores in (predictions.challenger, predictions.champion):
            average_precision_score(labels, scores[rows])


def main(kind: str) -> None:
    """Measure one kind in this process and print its seconds and peak memory."""
    import resource

    predictions = _holdout()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    if kind == "loop":
        _loop(predictions)
    else:
        _ours(predictions, sliced=kind == "sliced")
    seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": round(seconds, 2), "mib_before": before // 1024, "mib_peak": peak // 1024}))


if __name__ == "__main__":
    main(sys.argv[1])
