"""Writes the provenance record of a training, from what the night's tasks returned and the lake holds."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightshift.errors import RegistryError
from nightshift.lake.manifest import Manifest
from nightshift.provenance.record import FORMAT, JOB, RECORD, read_record
from nightshift.registry.artifacts import Artifacts
from nightshift.validation.summary import report_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nightshift.lake.tables import Lake
    from nightshift.platforms.base import JobSpec

__all__ = ["Night", "write_record"]

_JOB_FACTS = ("seconds", "billable_seconds", "cost_usd")
_OF_THEIR_TIME = ("written_at", "manifests", "validation", "environment")
"""Fields that keep their first words: a partition may be validated again, and this would change them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What the tasks of a night returned, and what they ran on.

    :param tuned: None when tuning was not due.
    :param tuning_run: MLflow's run of the tuning job, "" for none.
    :param spec: the training job as its platform keeps it, None where it does not any more.
    :param output: folder that the training job wrote.
    :param dag_run: ``{"dag", "run", "url"}``.
    :param report_of: partition -> address of its validation report.
    """

    pipeline: str
    plan: Mapping[str, Any]
    tuned: Mapping[str, Any] | None
    trained: Mapping[str, Any]
    evaluated: Mapping[str, Any]
    manifests: Mapping[str, Mapping[str, Any]]
    tuning_run: str
    spec: JobSpec | None
    output: Path
    dag_run: Mapping[str, str]
    report_of: Callable[[str], str]


def write_record(mlflow_uri: str, run_id: str, night: Night, lake: Lake) -> dict[str, Any]:
    """Leave ``record.json`` and ``job.json`` with the training run; the record.

    May be called again: what is known of the data stays as it was written first.

    :raises RegistryError: when MLflow cannot be reached, or an output of the job cannot be read.
    :raises StorageUnavailable: when the lake cannot be reached.
    """
    before = read_record(mlflow_uri, run_id) or {}
    record = _record(night, lake) | {name: before[name] for name in _OF_THEIR_TIME if name in before}
    files = {RECORD: record}
    if night.spec is not None:
        files[JOB] = night.spec.to_dict()
    Artifacts(mlflow_uri).write(run_id, {name: _bytes(data) for name, data in files.items()})
    return record


def _record(night: Night, lake: Lake) -> dict[str, Any]:
    clean = Manifest.from_dict(night.manifests["clean"])
    environment = _read(night.output / "environment.json")
    return {
        "format": FORMAT,
        "written_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "pipeline": night.pipeline,
        "partition": night.plan["partition"],
        "fingerprint": night.trained["fingerprint"],
        "code_sha256": night.spec.code_sha256 if night.spec else "",
        "splits": dict(night.plan["splits"]),
        "manifests": {
            name: lake.table(name).pinned(Manifest.from_dict(manifest)).to_dict()
            for name, manifest in night.manifests.items()
        },
        "validation": _validation(lake, clean),
        "reports": {day: night.report_of(day) for day in clean.partitions},
        "parameters": _read(night.output / "params.json"),
        "metrics": _read(night.output / "metrics.json"),
        "environment": environment,
        "tuning": _tuning(night),
        "jobs": _jobs(night),
        "compared_with": night.evaluated["champion_version"],
        "dag_run": dict(night.dag_run),
    }


def _validation(lake: Lake, clean: Manifest) -> dict[str, dict[str, Any]]:
    """What validation said of each day of ``clean``, beside the rows of it that were read."""
    reports = lake.read_files([report_path(day, "json") for day in clean.partitions])
    return {
        day: {"used": rows, **_verdict(reports.get(report_path(day, "json")))}
        for day, rows in clean.rows_by_partition().items()
    }


def _verdict(report: bytes | None) -> dict[str, Any]:
    if report is None:
        return {}
    said = json.loads(report)
    failed = [
        {"what": each["label"], "severity": each["severity"], "rows": each["unexpected"]}
        for each in said["expectations"]
        if not each["success"]
    ]
    return {"status": said["status"], **said["rows"], "suite": said["suite"], "failed": failed}


def _tuning(night: Night) -> dict[str, Any] | None:
    if not night.tuned:
        return None
    best = {key: night.tuned["best"][key] for key in ("number", "value", "params")}
    return {
        "job": night.tuned["job"],
        "run_id": night.tuning_run,
        "trials": night.tuned["trials"],
        "metric": night.tuned["best"].get("metric", ""),
        "best": best,
    }


def _jobs(night: Night) -> list[dict[str, Any]]:
    done = {"tune": night.tuned, "train": night.trained, "evaluate": night.evaluated}
    return [
        {"verb": verb, "name": job["job"], **{fact: job[fact] for fact in _JOB_FACTS}}
        for verb, job in done.items()
        if job
    ]


def _read(file: Path) -> dict[str, Any]:
    """A document of the job; {} where its version of the job wrote none."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"the job's {file.name} cannot be read: {error}", fix="look into the job's output folder"
        ) from error
    return found


def _bytes(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, sort_keys=True).encode()
