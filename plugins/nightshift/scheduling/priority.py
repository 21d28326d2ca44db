"""Who goes first when there are more tasks than slots: a night before a backfill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.task.priority_strategy import PriorityWeightStrategy

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

__all__ = ["NightFirst"]

_BACKFILL_RUN = "backfill__"
"""How the id of every run begins that ``airflow backfill create`` made."""


class NightFirst(PriorityWeightStrategy):
    """The task's own weight, or 1 in a run of ``airflow backfill create``."""

    def get_weight(self, ti: TaskInstance) -> int:
        """Higher goes first."""
        if ti.run_id.startswith(_BACKFILL_RUN):
            return 1
        return int(ti.task.priority_weight)  # type: ignore[union-attr]  # Airflow sets it before it asks
