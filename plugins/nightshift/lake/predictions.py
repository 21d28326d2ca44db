"""Publishes a partition's predictions, when they are exactly its rows."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from nightshift.errors import AccountingError

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.lake.tables import Lake

__all__ = ["SCHEMA", "publish_predictions"]

SCHEMA = pa.schema(
    [
        ("row_id", pa.int64()),
        ("prediction", pa.float64()),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("scored_at", pa.timestamp("us", tz="UTC")),
        ("partition", pa.string()),
    ]
)


def publish_predictions(
    lake: Lake,
    partition: str,
    folder: Path,
    *,
    clean_version: int,
    model_name: str,
    model_version: str,
) -> dict[str, int]:
    """Replace the partition's predictions by those in ``folder``, in one commit.

    Memory: 16 bytes a row, for the row ids and the predictions.

    :param folder: Parquet files with ``row_id`` and ``prediction``.
    :param clean_version: version of ``clean`` that was scored.
    :returns: ``{rows_in, rows_out, version}``.
    :raises AccountingError: when a row has no prediction, or two, or none has that row id.
    """
    scored = ds.dataset(folder, format="parquet").to_table(columns=["row_id", "prediction"])
    scored = scored.sort_by("row_id")
    rows = lake.table("clean").read([partition], version=clean_version, columns=["row_id"])
    _reconcile(partition, rows["row_id"].combine_chunks().sort(), scored)
    stamp = [model_name, model_version, dt.datetime.now(dt.UTC), partition]
    columns = [
        pa.repeat(pa.scalar(value, field.type), len(scored))
        for field, value in zip(list(SCHEMA)[2:], stamp, strict=True)
    ]
    table = pa.table([scored["row_id"], scored["prediction"], *columns], schema=SCHEMA)
    version = lake.table("predictions").replace_partition(partition, table)
    return {"rows_in": len(rows), "rows_out": len(table), "version": version}


def _reconcile(partition: str, rows: pa.Array, scored: pa.Table) -> None:
    """Both are sorted by row id."""
    found = scored["row_id"].combine_chunks()
    if rows.equals(found):
        if scored["prediction"].null_count:
            raise AccountingError(f"{scored['prediction'].null_count} predictions of {partition} are null")
        return
    twice = len(found) - len(pc.unique(found))
    missing = pc.sum(pc.invert(pc.is_in(rows, found))).as_py() or 0
    unknown = pc.sum(pc.invert(pc.is_in(found, rows))).as_py() or 0
    raise AccountingError(
        f"predictions of {partition} are not its rows: {len(rows)} rows, {len(found)} predictions, {missing} "
        f"rows without one, {twice} rows with more than one, {unknown} of no row; nothing was published",
        fix="look at the score job's log; clear the score task to run it again",
    )
