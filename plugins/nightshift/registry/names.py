"""The tags and aliases we find our own things by in MLflow."""

from __future__ import annotations

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "FAILURE",
    "FINGERPRINT",
    "JOB",
    "LOGGED",
    "METRIC_PREFIX",
    "PARTITION",
    "TRIAL",
]

CHAMPION = "champion"
CHALLENGER = "challenger"

JOB = "nightshift.job"
PARTITION = "nightshift.partition"
FINGERPRINT = "nightshift.fingerprint"
METRIC_PREFIX = "nightshift.metric."
TRIAL = "nightshift.trial"
LOGGED = "nightshift.logged"
FAILURE = "nightshift.failure"
