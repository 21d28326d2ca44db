"""Executors of ours, and the name they share with who starts them (importing this imports no Airflow)."""

from __future__ import annotations

__all__ = ["WARM_FILE"]

WARM_FILE = "NIGHTSHIFT_WARM_FILE"
"""Environment variable with a file that the warm executor writes once its workers are forked."""
