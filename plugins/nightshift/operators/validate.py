"""Validates a partition: good rows go on, bad rows are set apart, a bad partition stops the night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.notifiers import metrics
from nightshift.notifiers.messages import report_url
from nightshift.operators.base import PipelineOperator, ValidationReportLink
from nightshift.operators.catalog import show_in_catalog

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["ValidateOperator"]


class ValidateOperator(PipelineOperator):
    """Runs the suite of the pipeline file on one partition and splits its rows."""

    operator_extra_links = (ValidationReportLink(),)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        :returns: the ``ValidationSummary`` as a dict, under 4 KB; pushed even when the partition is blocked.
        :raises ValidationFailed: when the partition is blocked.
        """
        from nightshift.backfill.notes import clear_failure, note_failure
        from nightshift.validation.run import validate_partition

        partition, settings, lake = self.partition(context), self.settings, self.lake()
        summary = validate_partition(
            self.pipeline,
            partition,
            lake=lake,
            suite_file=settings.expectations_dir / self.pipeline.validation.suite,
            staging=settings.staging,
        )
        url = report_url(settings.ui_url, self.pipeline.pipeline, partition)
        self.links[ValidationReportLink.name] = url
        found = {**summary.to_dict(), "report_url": url}
        self.log.info("Partition %s %s: %s. Report: %s", partition, summary.status, found["rows"], url)
        metrics.partition_validated(self.pipeline.pipeline, summary.clean, summary.quarantined)
        show_in_catalog(settings, lake, ("clean", "quarantine"))
        if summary.status == "blocked":
            note_failure(lake, "validate", partition, f"blocked: {summary.reason}", context["ti"].run_id)
            context["ti"].xcom_push(key="return_value", value=found)
        summary.raise_if_blocked()
        clear_failure(lake, "validate", partition)
        return found
