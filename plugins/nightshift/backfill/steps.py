"""What a backfill can be asked for; light enough for a DAG file."""

from __future__ import annotations

__all__ = ["CHUNK_SIZE", "NEEDS", "REPROCESS", "STEPS"]

STEPS = ("ingest", "validate", "retrain", "score")
"""The steps, in the order in which they run."""

NEEDS = {"validate": "ingest", "retrain": "validate", "score": "validate"}
"""The step whose result each step works on."""

REPROCESS = {
    "missing": "what is missing or failed",
    "failed": "only what failed",
    "all": "everything again",
}
"""Which partitions to do, and in words."""

CHUNK_SIZE = 30
"""Partitions of a chunk, where nobody says otherwise."""
