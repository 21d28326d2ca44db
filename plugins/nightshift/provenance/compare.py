"""Whether a model that was made again is the same: its metrics, and its holdout predictions row by row."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

__all__ = ["TOLERANCES", "Compared", "compare", "tolerance_of"]

TOLERANCES: Mapping[str, float] = MappingProxyType({"torch_mlp": 1e-4})
"""How far a prediction, or a metric, may be from the recorded one; every other kind of model must give the
same bits. docs/promises/why.md says how the number was found."""
_KEYS = ["partition", "row_id"]


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison; ``equal`` is the verdict, ``bit_equal`` says that not one bit differs.

    :param rows: of the holdout; -1 where the rows or their labels are not the recorded ones.
    :param differing: rows whose predictions are not the same bits; ``largest`` the largest difference.
    :param metrics: ``{name: {"then", "now"}}`` of those that differ.
    """

    equal: bool
    bit_equal: bool
    tolerance: float
    rows: int
    differing: int
    largest: float
    metrics: Mapping[str, Mapping[str, float | None]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form: a difference that is no number is null."""
        return {**asdict(self), "largest": self.largest if math.isfinite(self.largest) else None}


def tolerance_of(model: str) -> float:
    """0 for bit-equal."""
    return TOLERANCES.get(model, 0.0)


def compare(
    metrics: Mapping[str, Mapping[str, float | None]], then: Path | None, now: Path, tolerance: float
) -> Compared:
    """Compare two trainings.

    :param metrics: ``{"then": ..., "now": ...}``, as the jobs wrote them.
    :param then, now: Parquet with partition, row_id, label and prediction; None or absent where a training
        had no holdout.
    """
    names = sorted({*metrics["then"], *metrics["now"]})
    pairs = {name: {when: metrics[when].get(name) for when in ("then", "now")} for name in names}
    off = {name: pair for name, pair in pairs.items() if _distance(pair["then"], pair["now"]) > 0}
    furthest = max((_distance(pair["then"], pair["now"]) for pair in off.values()), default=0.0)
    rows, differing, largest = _rows(then, now)
    return Compared(
        equal=rows >= 0 and max(furthest, largest) <= tolerance,
        bit_equal=rows >= 0 and not off and not differing,
        tolerance=tolerance,
        rows=rows,
        differing=differing,
        largest=largest,
        metrics=off,
    )


def _distance(one: float | None, other: float | None) -> float:
    """Infinite where one of them is not there, or not defined."""
    if one is None or other is None:
        return 0.0 if one is other else math.inf
    return abs(one - other)


def _rows(then: Path | None, now: Path) -> tuple[int, int, float]:
    """Rows, how many of them differ, and by how much at most; -1 rows when they are not the same ones."""
    import numpy as np
    import pyarrow.parquet as pq

    if then is None or not now.is_file():
        return (0, 0, 0.0) if then is None and not now.is_file() else (-1, 0, math.inf)
    before, after = (pq.read_table(file, partitioning=None) for file in (then, now))
    before, after = (_sorted(table) for table in (before, after))
    if any(not before[name].equals(after[name]) for name in (*_KEYS, "label")):
        return -1, 0, math.inf
    old, new = (table["prediction"].to_numpy() for table in (before, after))
    apart: Any = old != new
    largest = float(np.abs(old - new).max(initial=0.0))
    return len(old), int(apart.sum()), math.inf if math.isnan(largest) else largest


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in _KEYS]).combine_chunks()
