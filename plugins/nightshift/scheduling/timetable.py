"""When nights begin: by cron, for the day before, until the last partition of a pipeline whose data end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.timetables.trigger import CronPartitionTimetable

if TYPE_CHECKING:
    from airflow.timetables.base import DagRunInfo, TimeRestriction

    from nightshift.config.pipeline import PartitionsConfig

__all__ = ["NightTimetable"]

_KEY = "%Y-%m-%d"


class NightTimetable(CronPartitionTimetable):
    """Airflow's partitioned cron, a day back, that comes to an end.

    A DAG's ``end_date`` would end more than the schedule: Airflow also refuses every task of a manual run
    whose logical date, which the UI's form sets to now, lies after it.

    :param last: the last partition that is due; empty when there is none.
    """

    def __init__(self, cron: str, *, timezone: Any, last: str = "") -> None:
        super().__init__(cron, timezone=timezone, run_offset=-1, key_format=_KEY)
        self._last = last

    @classmethod
    def of(cls, partitions: PartitionsConfig) -> NightTimetable:
        """The timetable of a pipeline."""
        last = partitions.end.isoformat() if partitions.end else ""
        return cls(partitions.cron, timezone=partitions.timezone, last=last)

    def serialize(self) -> dict[str, Any]:
        """As the scheduler reads it."""
        return {**super().serialize(), "last": self._last}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> NightTimetable:
        """The opposite."""
        cron: Any = CronPartitionTimetable.deserialize(data)
        return cls(data["expression"], timezone=cron._timezone, last=data["last"])

    def next_dagrun_info_v2(
        self, *, last_dagrun_info: DagRunInfo | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next night, None after the last."""
        info = super().next_dagrun_info_v2(last_dagrun_info=last_dagrun_info, restriction=restriction)
        if info is not None and self._last and (info.partition_key or "") > self._last:
            return None
        return info
