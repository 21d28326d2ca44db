"""The replay of a range of partitions, with all that this deployment remembers of them put right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightshift.backfill.notes import clear_failure
from nightshift.backfill.state import verdict_path
from nightshift.config.partitions import check_key, days
from nightshift.hooks.storage import landing_zone, open_lake
from nightshift.validation.replay import replay

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings
    from nightshift.validation.replayed import Replay

__all__ = ["replay_range"]


def replay_range(
    pipeline: Pipeline,
    first: str,
    last: str,
    settings: Settings,
    *,
    ingest_again: bool = False,
    dry_run: bool = False,
) -> Replay:
    """Replay the quarantine of ``first``..``last``; see :func:`~nightshift.validation.replay.replay`.

    :raises PartitionKeyError: when the range is none of the pipeline's.
    """
    partitions = days(check_key(pipeline, first), check_key(pipeline, last))
    lake = open_lake(settings, pipeline)
    done = replay(
        pipeline,
        partitions,
        lake=lake,
        suite_file=settings.expectations_dir / pipeline.validation.suite,
        staging=settings.staging,
        landing=landing_zone(settings) if ingest_again else None,
        dry_run=dry_run,
    )
    if not dry_run:
        for each in done.partitions:
            if each.changed:
                lake.remove_file(verdict_path(each.partition))  # a bulk validation judges it anew
            if each.is_good:
                clear_failure(lake, "validate", each.partition)
    return done
