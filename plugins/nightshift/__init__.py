"""Nightshift: nightly retraining on Airflow that can be killed, cleared, backfilled and trusted."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
