"""What a recommendation starts from: the pipeline file, what the lake shows, and what only a person knows."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from nightshift.lake.spend import recent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.tables import Lake
    from nightshift.platforms.sagemaker.prices import PriceTable

__all__ = ["Seen", "Situation", "Team", "look_at"]

Team = Literal["small", "platform"]
_KINDS = ("train", "evaluate", "tune", "score")
_FEW_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What a lake shows of a pipeline; nothing of it where there is no lake yet.

    :param days: partitions that ``rows_per_day`` and ``bytes_per_day`` are the mean of.
    :param seconds: median wall time of the last jobs, by kind, wherever they ran.
    """

    days: int = 0
    rows_per_day: float = 0.0
    bytes_per_day: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)


def look_at(lake: Lake) -> Seen:
    """Read the log of the table ``raw`` and the records of what jobs have cost; no rows."""
    stats = list(lake.table("raw").partitions().values())
    jobs = {kind: recent(lake, kind) for kind in _KINDS}
    return Seen(
        days=len(stats),
        rows_per_day=statistics.fmean(each.rows for each in stats) if stats else 0.0,
        bytes_per_day=statistics.fmean(each.bytes for each in stats) if stats else 0.0,
        seconds={
            kind: statistics.median(job.seconds for job in found) for kind, found in jobs.items() if found
        },
    )


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that the rules ask.

    :param prices: the price table of the region.
    :param asked_rows: rows a day as a person says; wins over what the lake shows.
    :param latency_ms: how soon after its row a prediction is wanted; None: after the night.
    :param team: ``small`` has no time to run servers, ``platform`` does that for others.
    :param budget_usd: a month; None: what ``alerts.budget_usd_per_month`` says.
    :param has_catalog: whether ``[nightshift] glue_database`` is set.
    """

    pipeline: Pipeline
    prices: PriceTable
    seen: Seen = Seen()
    asked_rows: float | None = None
    latency_ms: float | None = None
    team: Team = "small"
    budget_usd: float | None = None
    has_catalog: bool = False

    @property
    def on_sagemaker(self) -> bool:
        """Whether the file has decided that jobs run there."""
        return self.pipeline.platform == "sagemaker"

    @property
    def budget(self) -> float | None:
        """US dollars a month that it may cost."""
        return self.budget_usd or self.pipeline.alerts.budget_usd_per_month

    @property
    def rows(self) -> float | None:
        """Rows a day, None where nobody knows."""
        return self.asked_rows or self.seen.rows_per_day or None

    @property
    def gib(self) -> float:
        """GiB a day, as the lake stores them; grows with the rows that a person says."""
        if self.asked_rows and self.seen.rows_per_day:
            return self.asked_rows / self.seen.rows_per_day * self.seen.bytes_per_day / 2**30
        return self.seen.bytes_per_day / 2**30

    @property
    def window_rows(self) -> float | None:
        """Rows of a training window with the history that features read."""
        days = self.pipeline.training.window.days + self.pipeline.features.lookback
        return None if self.rows is None else self.rows * days

    @property
    def rows_words(self) -> str:
        """Rows a day and where that is known from."""
        if self.asked_rows:
            return f"{self.asked_rows:,.0f} rows a day, as you say"
        if self.seen.days:
            return f"{self.seen.rows_per_day:,.0f} rows a day (mean of {self.seen.days} days in the lake)"
        return "rows a day are not known (no lake yet; say --rows-per-day)"

    def seconds(self, kind: str) -> float | None:
        """What a job of that kind takes, as measured; None before the first, or where the rows are others."""
        if self.asked_rows and abs(self.asked_rows - self.seen.rows_per_day) > self.asked_rows / 2:
            return None
        return self.seen.seconds.get(kind)

    def is_short(self, seconds: float | None, limit_s: float) -> bool:
        """Whether a job is over sooner than its machine would be there; by its rows where nobody measured."""
        if seconds is not None:
            return seconds < limit_s
        return self.window_rows is not None and self.window_rows < _FEW_ROWS
