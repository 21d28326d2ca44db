"""A year of ingest and validate: our backfill against a run per partition, and against the plain loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nightshift.embedded.airflow_api import AirflowApi

__all__ = ["measure"]

YEAR = ("2013-01-01", "2013-12-31")
MEASURED_STOCK = ("2013-01-01", "2013-01-30")
"""Days that the run per partition is measured on; the year is extrapolated from it, and said to be."""

PLAIN = """
import json, sys, time
from pathlib import Path
from nightshift.config.loader import load_pipeline
from nightshift.config.partitions import days
from nightshift.config.settings import Settings
from nightshift.hooks.storage import landing_zone, open_lake
from nightshift.lake.ingest import ingest_partition
import nightshift.validation.run
settings = Settings.from_lookup({"home": sys.argv[1]}.get)
pipeline = load_pipeline(settings.pipelines_dir / "flight_delays.yaml")
lake, landing = open_lake(settings, pipeline), landing_zone(settings)
suite = settings.expectations_dir / pipeline.validation.suite
begun = time.monotonic()
for day in days(sys.argv[2], sys.argv[3]):
    ingest_partition(pipeline, day, landing=landing, lake=lake, staging=settings.staging)
    nightshift.validation.run.validate_partition(
        pipeline, day, lake=lake, suite_file=suite, staging=settings.staging
    )
print("RESULT" + json.dumps({"seconds": time.monotonic() - begun}))
"""


def measure(scratch: Path) -> dict[str, Any]:
    """Wall seconds of the year three ways, each into an empty lake.

    *stock* is ``airflow backfill`` of the DAG ``flight_delays_ingest`` on Airflow's own LocalExecutor: a run
    for every partition, a process and its imports for every task. It has our faster scheduler settings.

    :returns: ``{"ratios": {"backfill_stock_over_ours", "backfill_ours_over_plain"}, "details"}``.
    """
    from nightshift.config.partitions import days
    from nightshift.embedded.sample_data import seed_landing

    for name in ("ours", "plain", "stock"):
        seed_landing(scratch / name / "landing", *YEAR)
    ours = _ours(scratch / "ours")
    plain = _plain(scratch / "plain")
    measured = _stock(scratch / "stock")
    year, month = len(days(*YEAR)), len(days(*MEASURED_STOCK))
    stock = measured / month * year
    return {
        "ratios": {
            "backfill_stock_over_ours": round(stock / ours["seconds"], 1),
            "backfill_ours_over_plain": round(ours["seconds"] / plain, 2),
        },
        "details": {
            "partitions": year,
            "ours": ours,
            "plain_seconds": round(plain, 1),
            "stock_seconds_measured": round(measured, 1),
            "stock_partitions_measured": month,
            "stock_seconds_extrapolated": round(stock, 1),
        },
    }


def _ours(home: Path) -> dict[str, Any]:
    with _stack(home, warm=True) as api:
        form = {"from": YEAR[0], "to": YEAR[1], "steps": ["ingest", "validate"], "announce": False}
        body = {"logical_date": None, "conf": form}
        begun = time.monotonic()
        made = api.call("POST", "dags/flight_delays_backfill/dagRuns", json=body).json()
        run = api.run(made["dag_id"], made["dag_run_id"])
        while not run.is_over:
            time.sleep(0.25)
            run = api.run(run.dag_id, run.run_id)
        seconds = time.monotonic() - begun
        if run.state != "success":
            raise RuntimeError(f"{run.run_id} ended as {run.state}")
        tasks = [{"task": task.name, "seconds": task.seconds} for task in api.tasks(run) if task.seconds]
    return {"seconds": round(seconds, 1), "tasks": tasks}


def _plain(home: Path) -> float:
    command = [sys.executable, "-c", PLAIN, str(home), *YEAR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return float(json.loads(done.stdout.rpartition("RESULT")[2])["seconds"])


def _stock(home: Path) -> float:
    with _stack(home, warm=False) as api:
        body = {
            "dag_id": "flight_delays_ingest",
            "from_date": f"{MEASURED_STOCK[0]}T00:00:00Z",
            "to_date": f"{MEASURED_STOCK[1]}T23:59:59Z",
            "max_active_runs": 10,
            "dag_run_conf": {},
        }
        begun = time.monotonic()
        made = api.call("POST", "backfills", json=body).json()["id"]
        while api.call("GET", f"backfills/{made}").json()["completed_at"] is None:
            time.sleep(0.5)
        seconds = time.monotonic() - begun
        query = {"limit": 100, "run_type": "backfill"}
        runs = api.call("GET", "dags/flight_delays_ingest/dagRuns", params=query).json()["dag_runs"]
        bad = [run["partition_key"] for run in runs if run["state"] != "success"]
        if bad or not runs:
            raise RuntimeError(f"{len(runs)} runs, these did not end well: {bad}")
    return seconds


@contextmanager
def _stack(home: Path, *, warm: bool) -> Iterator[AirflowApi]:
    """A stack of our own on ``home``; without ``warm`` its workers are Airflow's LocalExecutor's."""
    from nightshift.config.settings import Settings
    from nightshift.embedded.airflow_api import AirflowApi
    from nightshift.embedded.night import prepare
    from nightshift.embedded.ports import Ports, free_port
    from nightshift.embedded.stack import Stack

    before = os.environ.get("NIGHTSHIFT_WARM")
    os.environ["NIGHTSHIFT_WARM"] = "1" if warm else "0"
    stack = Stack(Settings.from_lookup({"home": str(home)}.get), Ports(free_port(), free_port()))
    try:
        stack.start()
        api = AirflowApi(stack.airflow_url)
        prepare(api, "flight_delays")
        yield api
    finally:
        stack.stop()
        if before is None:
            del os.environ["NIGHTSHIFT_WARM"]
        else:
            os.environ["NIGHTSHIFT_WARM"] = before
