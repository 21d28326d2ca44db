"""Where a partition lands, and whether its writers are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightshift.lake.ingest import landing_location
from nightshift.lake.storage import object_exists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.storage import Location
    from nightshift.lake.typed import DatasetConfig

__all__ = ["markers_of", "missing_markers"]


def markers_of(pipeline: Pipeline, partition: str) -> list[list[str]]:
    """``[uri template, partition, marker]`` of every source that a partition needs and that has a marker."""
    sources: list[DatasetConfig] = [pipeline.source, *pipeline.references.values()]
    return [[source.uri, partition, source.marker] for source in sources if source.marker]


def missing_markers(markers: Sequence[Sequence[str]], landing: Location) -> list[str]:
    """The markers that are not there, as URIs.

    :param landing: what ``{landing}`` stands for.
    """
    missing = []
    for template, partition, marker in markers:
        folder = landing_location(template, partition, landing)
        if not object_exists(folder, marker):
            missing.append(f"{folder.uri}/{marker}")
    return missing
