"""From the landing zone into the lake: wait for a partition, ingest it, tell who listens."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from nightshift.errors import PartitionIncomplete
from nightshift.hooks.storage import landing_zone
from nightshift.operators.base import PipelineOperator, is_backfill
from nightshift.operators.catalog import show_in_catalog
from nightshift.triggers.landing import LandingTrigger

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

__all__ = ["AnnounceOperator", "IngestOperator", "WaitForLandingOperator"]


class WaitForLandingOperator(PipelineOperator):
    """Waits, without holding a worker, until a partition's writers are done.

    :param patience_s: seconds until a partition that has not landed is an error.
    :param poll_s: seconds between two looks.
    """

    def __init__(self, *, patience_s: float = 6 * 3600, poll_s: float = 30.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patience_s = patience_s
        self.poll_s = poll_s

    def execute(self, context: Context) -> None:
        """Go on at once where everything has landed; else hand over to the triggerer."""
        from nightshift.lake.landing import markers_of, missing_markers

        partition = self.partition(context)
        markers = markers_of(self.pipeline, partition)
        missing = missing_markers(markers, landing_zone(self.settings))
        if not missing:
            self.log.info("Partition %s of %s has landed", partition, self.pipeline.pipeline)
            return
        self.log.info("Partition %s is not complete yet: waiting for %s", partition, ", ".join(missing))
        started = getattr(context["dag_run"], "start_date", None)  # of the run: a retry waits no longer
        begun = started.timestamp() if started else time.time()
        trigger = LandingTrigger(markers=markers, deadline=begun + self.patience_s, poll_s=self.poll_s)
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Context, event: dict[str, Any]) -> None:
        """
        :raises PartitionIncomplete: when the deadline came first; names what is missing.
        """
        if event["missing"]:
            raise PartitionIncomplete(
                f"partition {self.partition(context)} of {self.pipeline.pipeline} has not landed: "
                f"{', '.join(event['missing'])} missing after {self.patience_s:.0f} s",
                fix="deliver it with its marker, then clear this task",
            )


class IngestOperator(PipelineOperator):
    """Copies one partition from the landing zone into the lake; the same source changes nothing."""

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: the ``IngestResult`` as a dict: rows, files, bytes, version, changed, sha256.
        """
        from nightshift.backfill.notes import clear_failure
        from nightshift.lake.ingest import ingest_partition

        partition, settings, lake = self.partition(context), self.settings, self.lake()
        result = ingest_partition(
            self.pipeline,
            partition,
            landing=landing_zone(settings),
            lake=lake,
            staging=settings.staging,
        )
        clear_failure(lake, "ingest", partition)
        show_in_catalog(settings, lake, ("raw", *self.pipeline.references))
        done = "ingested" if result.changed else "unchanged since the last ingestion"
        self.log.info("Partition %s: %d rows, %s", partition, result.rows, done)
        return result.to_dict()


class AnnounceOperator(PipelineOperator):
    """Tells the DAGs that wait for ``asset`` that a partition of it is there.

    A run of ``airflow backfill`` tells nobody: re-reading a year must not start a year of retrains.
    """

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        super().__init__(outlets=[asset], **kwargs)
        self.asset = asset

    def execute(self, context: Context) -> None:
        """
        :raises AirflowSkipException: in a backfill.
        """
        partition = self.partition(context)
        if is_backfill(context):
            raise AirflowSkipException(f"backfill of {partition}: nothing downstream is started")
        context["outlet_events"][self.asset].add_partitions(partition)
        self.log.info("Partition %s of %s is ready", partition, self.asset.name)
