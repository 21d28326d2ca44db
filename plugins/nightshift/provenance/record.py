"""The provenance record: what is known of a training when its model is registered, kept with its run.

Two artifacts of the training run in MLflow. ``record.json``::

    {"format": 1, "written_at": ISO UTC,
     "pipeline", "partition", "fingerprint", "code_sha256": of include/jobs, "" where it is not known,
     "splits": {"train": [days], "validation": [days], "holdout": [days]},
     "manifests": {table: manifest}, as nightshift.lake.manifest writes it: version, files, rows, sha256,
     "validation": {day: {"used", "status", "ingested", "clean", "quarantined", "suite",
                          "failed": [{"what", "severity", "rows"}]}}, of every day of `clean` that was read:
                   "used" are the rows of the manifest; a day without a report has only these,
     "reports": {day: address of its validation report},
     "parameters": {...}, "metrics": {...}, "environment": {...}, as the training job wrote them,
     "tuning": {"job", "run_id", "trials", "metric", "best": {"number", "value", "params"}} or null,
     "jobs": [{"verb", "name", "seconds", "billable_seconds", "cost_usd"}],
     "compared_with": the champion's version on the same holdout, "" for none,
     "dag_run": {"dag", "run", "url"}}

and ``job.json``, the training job as :class:`~nightshift.platforms.base.JobSpec` holds it, without anything
to sign in with: what ``nightshift reproduce`` runs again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.errors import RegistryError
from nightshift.registry.artifacts import Artifacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.registry.models import Models, ModelVersion
    from nightshift.registry.tracking import Tracking

__all__ = ["FORMAT", "JOB", "RECORD", "SPLITS", "days_seen_by", "read_record", "seen_days"]

FORMAT = 1
RECORD = "record.json"
JOB = "job.json"
SPLITS = ("train", "validation", "holdout")
_SEEN = SPLITS[:2]


def seen_days(record: Mapping[str, Any]) -> list[str]:
    """The days that a model has learned from or was chosen by: of training and validation, oldest first."""
    return sorted({day for name in _SEEN for day in record["splits"].get(name, ())})


def read_record(mlflow_uri: str, run_id: str) -> dict[str, Any] | None:
    """The record of a training run, None where it was registered before there were records.

    :raises RegistryError: when MLflow cannot be reached, or the record cannot be read.
    """
    found: dict[str, Any] | None = Artifacts(mlflow_uri).read_json(run_id, RECORD) if run_id else None
    if found is not None and found["format"] > FORMAT:
        raise RegistryError(
            f"the record of run {run_id} is of format {found['format']}, this version reads up to {FORMAT}",
            fix="use the version of Nightshift that wrote it",
        )
    return found


def days_seen_by(registry: Models | Tracking, version: ModelVersion) -> list[str] | None:
    """:func:`seen_days` of a model version; None where it has no record."""
    record = read_record(registry.uri, version.run_id)
    return None if record is None else seen_days(record)
