"""Plans a night: which days, which versions of the tables, and whether to tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightshift.config.partitions import is_due
from nightshift.operators.base import PipelineOperator
from nightshift.operators.night import pin_versions, plan_splits

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["PlanOperator"]


class PlanOperator(PipelineOperator):
    """Decides once what all jobs of the night read; every try of every task then reads the same."""

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Leaves the view of the night in the lake (:mod:`nightshift.lake.views`).

        :returns: ``{partition, splits, versions, tune, missing}``, JSON-safe.
        :raises PartitionAbsent: when the night's partition or a whole split is not in the lake.
        """
        from nightshift.lake.views import write_view

        partition, lake = self.partition(context), self.lake()
        found, missing = plan_splits(self.pipeline, partition, lake)
        for name, present in found.items():
            self.log.info("%s: %d days, %s..%s", name, len(present), present[0], present[-1])
        if missing:
            self.log.warning(
                "%d days of the window are not in the lake: %s", len(missing), ", ".join(missing)
            )
        versions = pin_versions(self.pipeline, lake)
        write_view(lake, partition, found, versions)
        return {
            "partition": partition,
            "splits": found,
            "versions": versions,
            "tune": self._tune(context, partition),
            "missing": missing,
        }

    def _tune(self, context: Context, partition: str) -> bool:
        asked = context["params"].get("tune", "when due")
        if self.pipeline.tuning is None or asked == "no":
            return False
        return asked == "yes" or is_due(self.pipeline, partition, self.pipeline.tuning.every)
