"""What lies in quarantine: partitions with their counts and reasons, and the rows themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.lake.tables import Lake, LakeTable

__all__ = ["Held", "held_partitions", "held_rows"]


@dataclass(frozen=True, slots=True)
class Held:
    """A partition with rows in quarantine; ``reasons`` counts rows by reason, the most frequent first."""

    partition: str
    ingested: int
    clean: int
    quarantined: int
    reasons: Mapping[str, int]

    @property
    def share(self) -> float:
        """Of the ingested rows, those in quarantine."""
        return self.quarantined / self.ingested if self.ingested else 1.0

    @property
    def adds_up(self) -> bool:
        """Whether every ingested row is in one table, and in one only."""
        return self.clean + self.quarantined == self.ingested

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {**asdict(self), "reasons": dict(self.reasons), "share": self.share, "adds_up": self.adds_up}


def held_partitions(lake: Lake, first: str | None = None, last: str | None = None) -> list[Held]:
    """The partitions from ``first`` to ``last`` (None: without an end) that have rows in quarantine."""
    raw, clean, table = (lake.table(name) for name in ("raw", "clean", "quarantine"))
    ingested, passed = raw.partitions(), clean.partitions()
    return [
        Held(
            partition=key,
            ingested=ingested[key].rows if key in ingested else 0,
            clean=passed[key].rows if key in passed else 0,
            quarantined=stats.rows,
            reasons=_reasons(table, key),
        )
        for key, stats in table.partitions().items()
        if (first is None or first <= key) and (last is None or key <= last)
    ]


def held_rows(lake: Lake, partition: str, limit: int) -> list[dict[str, Any]]:
    """The first ``limit`` quarantined rows of a partition as they came, each with its ``reasons``."""
    table = lake.table("quarantine")
    found: list[dict[str, Any]] = []
    if limit > 0 and partition in table.partitions():
        for batch in table.batches([partition]):
            found += batch.slice(0, limit - len(found)).to_pylist()
            if len(found) >= limit:
                break
    return found


def _reasons(table: LakeTable, key: str) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for batch in table.batches([key], columns=["reasons"]):
        for each in pc.value_counts(pc.list_flatten(batch.column("reasons"))).to_pylist():
            counted[each["values"]] += each["counts"]
    return dict(counted.most_common())
