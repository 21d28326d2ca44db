"""Feature frames for training and scoring: one expression per pipeline, on the engine the job asks for."""

from __future__ import annotations

import datetime as dt
import difflib
import time
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from jobs.contract import BadInput, JobSpec, say
from jobs.features.engines import Engine, open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import ibis.expr.types as ir
    import pandas as pd

__all__ = ["MODULES", "FeatureModule", "batches", "build", "columns", "source_columns"]

MODULES: Mapping[str, str] = MappingProxyType({"flight_delays": "jobs.features.flight_delays"})


class FeatureModule(Protocol):
    """What each module of :data:`MODULES` offers."""

    ROWS: str
    """The channel whose rows are the rows of the result."""
    DAILY: Mapping[str, int]
    """Partitioned channels, and how many days before the first one are read at least."""
    SNAPSHOTS: tuple[str, ...]
    """Channels without partitions."""
    FEATURES: tuple[str, ...]
    """Feature columns of the result, in order."""

    def expression(self, tables: Mapping[str, ir.Table], lookback: int, target: str) -> ir.Table:
        """Columns partition, row_id, the features, the target: one row per row of :attr:`ROWS`."""


def columns(spec: JobSpec) -> list[str]:
    """Return the names of the feature columns, in order."""
    return list(_module(spec).FEATURES)


def build(spec: JobSpec, input_dir: Path, partitions: Sequence[str]) -> pd.DataFrame:
    """Return partition, row_id, the features and the target (nullable), ordered by (partition, row_id).

    :raises BadInput: when none of the partitions has rows.
    """
    started = time.perf_counter()
    with open_engine(spec) as engine:
        expression, expected = _plan(spec, engine, input_dir, partitions)
        frame = engine.frame(expression)
    _check_count(len(frame), expected)
    say(f"features: {len(frame)} rows x {len(columns(spec))} in {time.perf_counter() - started:.1f} s")
    return frame


def batches(
    spec: JobSpec, input_dir: Path, partitions: Sequence[str], batch_rows: int
) -> Iterator[pd.DataFrame]:
    """Yield what :func:`build` returns in pieces of at most ``batch_rows`` rows, in bounded memory."""
    rows = 0
    with open_engine(spec) as engine:
        expression, expected = _plan(spec, engine, input_dir, partitions)
        for frame in engine.batches(expression, batch_rows):
            rows += len(frame)
            yield frame
    _check_count(rows, expected)


def source_columns(
    spec: JobSpec, input_dir: Path, partitions: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """Return partition, row_id and these columns of the rows that the features are made from.

    :raises BadInput: when they have no such column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = _module(spec).ROWS
    parts = []
    for day, files in _files(input_dir / rows, partitions).items():
        for file in files:
            known = pq.read_schema(file).names
            if absent := [name for name in names if name not in known]:
                raise BadInput(f"the rows of {rows!r} have no column {', '.join(absent)}")
            found = pq.ParquetFile(file).read(columns=["row_id", *names])
            parts.append(found.append_column("partition", pa.array([day] * len(found), pa.string())))
    return pa.concat_tables(parts).to_pandas()


def _plan(spec: JobSpec, engine: Engine, input_dir: Path, partitions: Sequence[str]) -> tuple[ir.Table, int]:
    module = _module(spec)
    wanted = sorted(set(partitions))
    tables, expected = {}, 0
    for channel, least in module.DAILY.items():
        files = _files(input_dir / channel, _with_history(wanted, max(spec.features.lookback, least)))
        tables[channel] = engine.daily(channel, files)
        if channel == module.ROWS:
            expected = _row_count(files, wanted)
    for channel in module.SNAPSHOTS:
        tables[channel] = engine.snapshot(channel, _snapshot(input_dir / channel))
    result = module.expression(tables, spec.features.lookback, spec.target)
    return result.filter(result.partition.isin(wanted)).order_by("partition", "row_id"), expected


def _module(spec: JobSpec) -> FeatureModule:
    name = spec.features.module
    if name not in MODULES:
        near = difflib.get_close_matches(name, MODULES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"there is no feature module {name!r} (there are {', '.join(MODULES)}){hint}")
    return cast("FeatureModule", import_module(MODULES[name]))


def _with_history(wanted: Sequence[str], lookback: int) -> list[str]:
    days = {dt.date.fromisoformat(day) for day in wanted}
    history = {day - dt.timedelta(days=n) for day in days for n in range(lookback + 1)}
    return [day.isoformat() for day in sorted(history)]


def _files(channel: Path, partitions: Sequence[str]) -> dict[str, list[Path]]:
    """Files per partition; a day without rows has no folder."""
    if not channel.is_dir():
        raise BadInput(f"the input has no channel {channel.name!r}: {channel} is not there")
    found = {day: sorted((channel / f"partition={day}").glob("*.parquet")) for day in partitions}
    found = {day: files for day, files in found.items() if files}
    if not found:
        raise BadInput(f"channel {channel.name!r} has none of {partitions[0]} .. {partitions[-1]}")
    return found


def _snapshot(channel: Path) -> list[Path]:
    files = sorted(channel.glob("*.parquet"))
    if not files:
        raise BadInput(f"the input has no Parquet file in {channel}")
    return files


def _row_count(files: Mapping[str, Sequence[Path]], wanted: Sequence[str]) -> int:
    import pyarrow.parquet as pq

    absent = [day for day in wanted if day not in files]
    if len(absent) == len(wanted):
        raise BadInput(f"no clean rows in any of {', '.join(wanted)}")
    if absent:
        say(f"no clean rows on {', '.join(absent)}: left out")
    paths = [path for day in wanted for path in files.get(day, ())]
    return sum(pq.read_metadata(path).num_rows for path in paths)


def _check_count(rows: int, expected: int) -> None:
    if rows != expected:
        raise RuntimeError(
            f"the feature expression made {rows} rows of {expected}: a join repeats or loses rows"
        )
