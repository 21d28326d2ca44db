"""What the gate writes, small."""

from __future__ import annotations

from typing import Any

__all__ = ["evidence_of"]


def evidence_of(challenger: str, champion: str) -> dict[str, Any]:
    """A promotion by a hundredth, with one slice that got worse."""
    gain = {"gain": 0.01, "low": 0.002, "high": 0.018}
    measured = {"higher_is_better": True, "challenger": 0.45, "champion": 0.44, **gain, "p": 0.01}
    airport = {
        "column": "origin",
        "value": "<EWR>",
        "rows": 300,
        "positives": 60,
        "challenger": 0.40,
        "champion": 0.43,
        "gain": -0.03,
        "low": -0.05,
        "high": -0.01,
        "p_worse": 0.001,
        "p_adjusted": 0.003,
        "regressed": True,
        "note": "",
    }
    return {
        "id": "e1",
        "made_at": "2026-11-22T02:00:00+00:00",
        "challenger": challenger,
        "champion": champion,
        "holdout": {
            "partitions": ["2013-01-11", "2013-01-12"],
            "rows": 1500,
            "left_out": ["2013-01-10"],
            "why_left_out": "the champion was fitted or tuned on them",
        },
        "method": {"resampling": "stratified by partition", "resamples": 2000, "seed": 1, "alpha": 0.05},
        "metrics": [
            {"metric": "roc_auc", **measured, "gain": 0.02},
            {"metric": "average_precision", **measured},
        ],
        "slices": [airport],
        "histogram": {"edges": [], "counts": []},
        "limits": [{"what": "latency_ms", "value": 3.1, "limit": 20.0, "holds": True}],
        "signature": {"compatible": True, "differences": []},
        "verdict": "promote",
        "reasons": ["average_precision is better by 0.01000"],
        "gate": {"metric": "average_precision"},
    }
