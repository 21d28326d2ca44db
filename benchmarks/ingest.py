"""Ingestion against a plain obstore download of the same object from the same S3 server.

Three stages, each in a process of its own so that its peak memory is its own:

- ``plain``: obstore streams the object into a file, and nothing else;
- ``fetch``: our copy into staging: concurrent ranged GETs, if-match, size and sha256 checked;
- ``ingest``: everything, from the listing to the commit of typed rows in a Delta table.

Run: ``python -m benchmarks.ingest [SCRATCH] [--mib 1024]``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import obstore

from nightshift.config.loader import load_pipeline
from nightshift.embedded import sample_data
from nightshift.lake.fetch import fetch
from nightshift.lake.ingest import ingest_partition
from nightshift.lake.storage import Location, list_objects
from nightshift.lake.tables import Lake
from tests.fakes.s3 import new_bucket, s3_running

__all__ = ["measure"]

ROOT = Path(__file__).resolve().parents[1]
DAY = "2013-01-05"
FOLDER = f"flights/dt={DAY}"
# The stages take turns, so that whatever else the machine does falls on all of them.
TURNS = (*("plain", "fetch") * 3, "ingest")
MIB = 1 << 20


def measure(scratch: Path, mib: int = 1024) -> dict[str, Any]:
    """The ratio and what it is made of; everything is kept below ``scratch``."""
    scratch.mkdir(parents=True, exist_ok=True)
    with s3_running(scratch) as options:
        # The plain download is one request for all of the object: no time limit of a request may end it.
        place = new_bucket({**options, "timeout": "30m"})
        size = _land(place, scratch, mib * MIB)
        runs: dict[str, list[dict[str, float]]] = {stage: [] for stage in TURNS}
        for stage in TURNS:
            runs[stage].append(_run(stage, place, scratch / stage))
    stages = {stage: _summary(results, size) for stage, results in runs.items()}
    pairs = [p["seconds"] / f["seconds"] for p, f in zip(runs["plain"], runs["fetch"], strict=True)]
    plain = stages["plain"]["mib_per_s"]
    return {
        "ratios": {"ingest_over_obstore": round(statistics.median(pairs), 3)},
        "details": {
            "object_mib": round(size / MIB),
            "runs": {stage: len(results) for stage, results in runs.items()},
            "stages": stages,
            "fetch_over_obstore_by_pair": [round(pair, 3) for pair in pairs],
            "typed_load_over_obstore": round(stages["ingest"]["mib_per_s"] / plain, 3),
            "note": "ingest_over_obstore is the verified copy (median of the pairs); typed_load_over_obstore "
            "adds CSV parsing, type checks, Parquet and the Delta commit",
        },
    }


def _land(place: Location, scratch: Path, size: int) -> int:
    """A day of ``size`` bytes, made of the year's real rows over and over, and its references."""
    sample_data.seed_landing(place, DAY, DAY)
    header, rows = sample_data.year_of_flights()
    big = scratch / "flights.csv"
    with big.open("wb") as out:
        out.write(header)
        for _ in range(max(1, size // len(rows))):
            out.write(rows)
    obstore.put(place.child(FOLDER).store(), "flights.csv", big)
    written = big.stat().st_size
    big.unlink()
    return written


def _run(stage: str, place: Location, scratch: Path) -> dict[str, float]:
    scratch.mkdir()
    job = json.dumps(
        {"stage": stage, "uri": place.uri, "options": dict(place.options), "scratch": str(scratch)}
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ingest", "--job"],
        input=job,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    shutil.rmtree(scratch)
    return dict(json.loads(done.stdout))


def _summary(results: list[dict[str, float]], size: int) -> dict[str, float]:
    seconds = statistics.median(result["seconds"] for result in results)
    return {
        "seconds": round(seconds, 3),
        "mib_per_s": round(size / MIB / seconds, 1),
        "peak_rss_mib": round(max(result["peak_rss_mib"] for result in results)),
        "idle_rss_mib": round(max(result["idle_rss_mib"] for result in results)),
    }


def _plain(place: Location, scratch: Path) -> None:
    source = place.child(FOLDER).store()
    with (scratch / "flights.csv").open("wb") as out:
        for chunk in obstore.get(source, "flights.csv"):
            out.write(chunk)


def _fetch(place: Location, scratch: Path) -> None:
    source = place.child(FOLDER)
    fetch(source, [each for each in list_objects(source) if each.path == "flights.csv"], scratch)


def _ingest(place: Location, scratch: Path) -> None:
    ingest_partition(
        load_pipeline(ROOT / "include" / "pipelines" / "flight_delays.yaml"),
        DAY,
        landing=place,
        lake=Lake(Location((scratch / "lake").as_uri()), "flight_delays"),
        staging=scratch / "staging",
    )


def _job(job: dict[str, Any]) -> dict[str, float]:
    """Run one stage in this process."""
    place, scratch = Location(job["uri"], job["options"]), Path(job["scratch"])
    idle = _peak_rss_mib()
    started = time.perf_counter()
    {"plain": _plain, "fetch": _fetch, "ingest": _ingest}[job["stage"]](place, scratch)
    return {
        "seconds": time.perf_counter() - started,
        "peak_rss_mib": _peak_rss_mib(),
        "idle_rss_mib": idle,
    }


def _peak_rss_mib() -> float:
    """Peak memory of this program; getrusage would count what its parent held before the exec."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    """Measure, or run the one stage that standard input describes."""
    parser = argparse.ArgumentParser(description="Ingestion against a plain obstore download.")
    parser.add_argument("scratch", nargs="?", type=Path, help="default: a temporary folder")
    parser.add_argument("--mib", type=int, default=1024, help="size of the object")
    parser.add_argument("--job", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        print(json.dumps(_job(json.load(sys.stdin))))
        return
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as folder:
        print(json.dumps(measure(arguments.scratch or Path(folder), arguments.mib), indent=2))


if __name__ == "__main__":
    main()
