"""Replays the quarantine of a range, and tells who listens, once, when the form asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from nightshift.operators.base import PipelineOperator
from nightshift.operators.catalog import show_in_catalog

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

__all__ = ["AnnounceReplayOperator", "ReplayOperator"]


class ReplayOperator(PipelineOperator):
    """Judges the quarantined partitions of the form's range again; what passes joins ``clean``."""

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: counts, sums and the newest partition that changed, under 4 KB; pushed also when it fails.
        :raises SourceError: when a partition could not be ingested again; the others are done.
        """
        from nightshift.backfill.replay import replay_range

        form = context["params"]
        done = replay_range(
            self.pipeline,
            form["from"],
            form["to"],
            self.settings,
            ingest_again=form["ingest_again"],
            dry_run=form["dry_run"],
        )
        found = done.brief()
        if not done.dry_run:
            show_in_catalog(self.settings, self.lake(), ("raw", "clean", "quarantine"))
        self.log.info(
            "%s%s of %s partitions changed: %s",
            "A dry run, nothing was written: " if done.dry_run else "",
            len(done.changed),
            len(done.partitions),
            found["rows"],
        )
        if any(each.status == "failed" for each in done.partitions):
            context["ti"].xcom_push(key="return_value", value=found)
        done.raise_if_failed()
        return found


class AnnounceReplayOperator(PipelineOperator):
    """Tells the DAGs that wait for ``asset`` about the newest partition whose clean rows changed.

    :param replayed: what :class:`ReplayOperator` returned.
    """

    template_fields = ("replayed",)

    def __init__(self, *, asset: Asset, replayed: Any, **kwargs: Any) -> None:
        super().__init__(outlets=[asset], **kwargs)
        self.asset = asset
        self.replayed = replayed

    def execute(self, context: Context) -> str:
        """
        :returns: the partition.
        :raises AirflowSkipException: when the form does not ask for it, or no clean rows changed.
        """
        if not context["params"]["announce"]:
            raise AirflowSkipException("the form asks to start nothing downstream")
        newest: str | None = self.replayed["newest"]
        if newest is None:
            raise AirflowSkipException("no good partition has other clean rows than before")
        context["outlet_events"][self.asset].add_partitions(newest)
        self.log.info("Partition %s of %s is ready", newest, self.asset.name)
        return newest
