"""What a partition looks like beside the recent ones: null shares, histograms, categories, as pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nightshift.validation import pictures
from nightshift.validation.batch import ROW_ID
from nightshift.validation.predicates import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.lake.tables import Lake
    from nightshift.validation.batch import Batch

__all__ = ["Picture", "draw"]

_BINS = 28
_CATEGORIES = 10
_DEFAULT_COLUMNS = 6
_SAMPLE = 200_000  # rows a picture is drawn from, at most
_PAST = 400_000  # rows of recent partitions it is compared with, at most


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure of the report."""

    title: str
    caption: str
    svg: str


def draw(
    batch: Batch, lake: Lake, partition: str, recent: Mapping[str, int], wanted: Sequence[str]
) -> list[Picture]:
    """The figures of a partition: row counts, null shares, and one for each of the ``wanted`` columns.

    :param recent: rows of the recent partitions of ``raw``, oldest first.
    """
    columns = [name for name in wanted if name in batch.columns] or _some(batch)
    nulls = _nulls(batch)
    past = _past(lake, recent, sorted({*columns, *nulls} & set(batch.columns)))
    now = _sample(batch, columns)
    usual = f"marked: the {len(recent)} before" if recent else "none before"
    figures = [
        Picture("Rows", "this partition and those before", pictures.row_counts(recent, partition, batch.rows))
    ]
    if nulls:
        rows = [(name, share, _null_share(past, name)) for name, share in nulls.items()]
        figures.append(Picture("Missing values", usual, pictures.compared_bars(rows, "Share of nulls")))
    for name in columns:
        svg = _distribution(name, now.column(name), past.column(name) if past is not None else None)
        if svg:
            figures.append(Picture(name, usual, svg))
    return figures


def _some(batch: Batch) -> list[str]:
    return [name for name in batch.columns if name != ROW_ID][:_DEFAULT_COLUMNS]


def _nulls(batch: Batch) -> dict[str, float]:
    """Columns that miss values, and the share they miss."""
    listed = ", ".join(f"1 - count({quote(name)}) / count(*) AS {quote(name)}" for name in batch.columns)
    shares = batch.one(f"SELECT {listed} FROM batch")
    return {name: share for name, share in shares.items() if share}


def _sample(batch: Batch, columns: Sequence[str]) -> pa.Table:
    listed = ", ".join(quote(name) for name in columns)
    sampled = f" USING SAMPLE reservoir({_SAMPLE} ROWS) REPEATABLE (1)" if batch.rows > _SAMPLE else ""
    return batch.stream(f"SELECT {listed} FROM batch{sampled}").read_all()


def _past(lake: Lake, recent: Mapping[str, int], columns: Sequence[str]) -> pa.Table | None:
    """As many of the newest recent partitions as are cheap to hold."""
    chosen: list[str] = []
    total = 0
    for key in sorted(recent, reverse=True):
        total += recent[key]
        if total > _PAST:
            break
        chosen.append(key)
    if not chosen:
        return None
    table = lake.table("raw")
    there = table.schema().names
    known = [name for name in columns if name in there]
    rows = table.read(chosen, columns=known)
    missing = [name for name in columns if name not in known]
    for name in missing:
        rows = rows.append_column(name, pa.nulls(rows.num_rows, pa.float64()))
    return rows


def _null_share(past: pa.Table | None, name: str) -> float | None:
    if past is None or not past.num_rows:
        return None
    return float(past.column(name).null_count / past.num_rows)


def _distribution(name: str, now: Any, past: Any) -> str:
    if pa.types.is_integer(now.type) or pa.types.is_floating(now.type):
        return _numbers(name, _floats(now), _floats(past) if past is not None else np.empty(0))
    if pa.types.is_string(now.type) or pa.types.is_boolean(now.type) or pa.types.is_large_string(now.type):
        return _categories(name, now, past)
    return ""


def _floats(column: Any) -> np.ndarray[Any, Any]:
    values = column.drop_null().cast(pa.float64()).to_numpy()
    finite: np.ndarray[Any, Any] = values[np.isfinite(values)]
    return finite


def _numbers(name: str, now: np.ndarray[Any, Any], past: np.ndarray[Any, Any]) -> str:
    """Between the 1st and the 99th percentile of both; what lies outside is in the end bins."""
    both = np.concatenate([now, past])
    if not both.size:
        return ""
    low, high = np.quantile(both, [0.01, 0.99])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    return pictures.histogram(
        [float(f"{edge:.4g}") for edge in edges], _shares(now, edges), _shares(past, edges), name
    )


def _shares(values: np.ndarray[Any, Any], edges: np.ndarray[Any, Any]) -> list[float]:
    if not values.size:
        return []
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return [float(share) for share in counts / values.size]


def _categories(name: str, now: Any, past: Any) -> str:
    shares = _category_shares(now)
    usual = _category_shares(past) if past is not None else {}
    top = sorted(shares, key=lambda each: (-shares[each], each))[:_CATEGORIES]
    rows = [(each, shares[each], usual.get(each, 0.0) if usual else None) for each in top]
    return pictures.compared_bars(rows, f"Shares of {name}") if rows else ""


def _category_shares(column: Any) -> dict[str, float]:
    counted = pc.value_counts(column.drop_null()).to_pylist()
    total = sum(each["counts"] for each in counted)
    return {str(each["values"]): each["counts"] / total for each in counted}
