"""Made-up holdouts of known truth."""

from __future__ import annotations

import numpy as np

from nightshift.gate.predictions import Predictions

__all__ = ["holdout"]


def holdout(
    rows: int = 2000, *, better: float = 0.0, noise: float = 0.4, days: int = 5, seed: int = 0
) -> Predictions:
    """Two models that see the truth through as much noise; ``better`` takes some off the challenger's."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.25).astype(float)
    truth = rng.normal(size=rows) + labels
    challenger = truth + (noise - better) * rng.normal(size=rows)
    champion = truth + noise * rng.normal(size=rows)
    day = np.sort(rng.integers(1, days + 1, rows))
    return Predictions(
        partition=np.array([f"2013-01-{each:02d}" for each in day]),
        labels=labels,
        challenger=1 / (1 + np.exp(1 - challenger)),
        champion=1 / (1 + np.exp(1 - champion)),
        slices={
            "carrier": np.array(["AA", "UA", "WN"])[rng.integers(0, 3, rows)],
            "hour": rng.integers(5, 23, rows).astype(str),
        },
    )
