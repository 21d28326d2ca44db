"""What one night reads: the splits, the pinned tables and the documents of its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.config.partitions import Splits, back, days, splits
from nightshift.errors import PartitionAbsent
from nightshift.platforms.base import JobInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.manifest import Manifest
    from nightshift.lake.tables import Lake

__all__ = ["job_document", "manifests", "pin_versions", "plan_splits", "table_inputs"]


def plan_splits(pipeline: Pipeline, partition: str, lake: Lake) -> tuple[Splits, list[str]]:
    """The splits of a night as far as the lake has them, and the days that it lacks.

    :raises PartitionAbsent: when the night's own partition is not there, or a whole split is empty.
    """
    have = set(lake.table("clean").partitions())
    if partition not in have:
        raise PartitionAbsent(
            f"the lake has no clean rows of {partition}",
            fix=f"run {pipeline.pipeline}_ingest for {partition}",
        )
    wanted = splits(pipeline.training.window, partition)
    found = {name: [day for day in wanted[name] if day in have] for name in wanted}
    for name, present in found.items():
        if not present:
            raise PartitionAbsent(
                f"none of the {name} days {wanted[name][0]}..{wanted[name][-1]} is in the lake",
                fix=f"ingest them: nightshift ingest {pipeline.pipeline} --from {wanted[name][0]} "
                f"--to {wanted[name][-1]}",
            )
    missing = [day for name in wanted for day in wanted[name] if day not in have]
    return found, missing


def pin_versions(pipeline: Pipeline, lake: Lake) -> dict[str, int]:
    """The versions of all tables that jobs read, so that every job of a night reads the same rows."""
    return {name: lake.table(name).version() for name in ("clean", *pipeline.references)}


def manifests(
    pipeline: Pipeline, lake: Lake, versions: Mapping[str, int], first: str, last: str
) -> dict[str, Manifest]:
    """Manifests of all that the features of ``first``..``last`` need: these days and their lookback."""
    wanted = days(back(first, pipeline.features.lookback), last)
    found = {}
    for name, version in versions.items():
        table = lake.table(name)
        snapshot = name in pipeline.references and not pipeline.references[name].is_daily
        have = table.partitions(version=version) if not snapshot else {}
        only = None if snapshot else [day for day in wanted if day in have]
        found[name] = table.manifest(only, version=version)
    return found


def table_inputs(lake: Lake, found: Mapping[str, Manifest]) -> tuple[JobInput, ...]:
    """The files of the manifests, as a job's inputs."""
    return tuple(
        JobInput(
            channel=name,
            uri=lake.table(name).location.uri,
            identity=manifest.sha256,
            files=tuple(file.path for file in manifest.files),
            options=dict(lake.location.options),
        )
        for name, manifest in found.items()
    )


def job_document(
    pipeline: Pipeline,
    kind: str,
    partition: str,
    *,
    days_by_split: Mapping[str, list[str]],
    found: Mapping[str, Manifest],
    hyperparameters: Mapping[str, Any],
) -> dict[str, Any]:
    """The JSON document of a job, as ``include/jobs/contract.py`` reads it."""
    document = {
        "kind": kind,
        "pipeline": pipeline.pipeline,
        "partition": partition,
        "seed": pipeline.training.seed,
        "features": pipeline.features.model_dump(mode="json"),
        "target": pipeline.training.target,
        "model": pipeline.training.model,
        "hyperparameters": dict(hyperparameters),
        "splits": dict(days_by_split),
        "manifests": {name: manifest.to_dict() for name, manifest in found.items()},
    }
    if kind == "tune" and pipeline.tuning is not None:
        document["tuning"] = pipeline.tuning.model_dump(mode="json", exclude={"resources", "every"})
    if kind == "evaluate":
        document["evaluation"] = {"columns": list(pipeline.gate.columns)}
    if kind == "score":
        document["scoring"] = {"batch_rows": pipeline.scoring.batch_rows}
    return document
