"""A warm night in Airflow against the same steps in one plain Python process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["measure"]

HISTORY = ("2013-01-01", "2013-01-28")
NIGHTS = ("2013-01-29", "2013-01-30", "2013-01-31")
"""The first makes the first champion and warms caches; the others are measured."""


def measure(scratch: Path) -> dict[str, Any]:
    """Wall seconds of nights in Airflow and of plain nights over the same partitions, in turn.

    :returns: ``{"ratios": {"night_over_plain"}, "details"}``. The ratio leaves the plain process' imports
        out, as the warm workers' imports are; the details give it with them too.
    """
    from nightshift.backfill.days import ingest_days
    from nightshift.config.loader import load_pipeline
    from nightshift.config.partitions import days
    from nightshift.config.settings import Settings
    from nightshift.embedded.airflow_api import AirflowApi
    from nightshift.embedded.night import follow, prepare
    from nightshift.embedded.ports import Ports, free_port
    from nightshift.embedded.sample_data import seed_landing
    from nightshift.embedded.stack import Stack

    homes = {name: scratch / name for name in ("airflow", "plain")}
    for home in homes.values():
        settings = Settings.from_lookup({"home": str(home)}.get)
        pipeline = load_pipeline(settings.pipelines_dir / "flight_delays.yaml")
        seed_landing(home / "landing", HISTORY[0], NIGHTS[-1])
        ingest_days(pipeline, days(*HISTORY), settings)
    settings = Settings.from_lookup({"home": str(homes["airflow"])}.get)
    stack = Stack(settings, Ports(free_port(), free_port()))
    stack.start()
    try:
        api = AirflowApi(stack.airflow_url)
        prepare(api, "flight_delays")
        in_airflow, plain = [], []
        for partition in NIGHTS:
            night = follow(api, "flight_delays", partition, lambda _: None, poll_s=0.25)
            in_airflow.append({"seconds": night.seconds, "by_task": night.seconds_by_task})
            plain.append(_plain(homes["plain"], partition, stack.mlflow_url))
    finally:
        stack.stop()
    return _summary(in_airflow, plain)


def _plain(home: Path, partition: str, mlflow_uri: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plain_night", str(home), partition, mlflow_uri]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return found


def _summary(in_airflow: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, Any]:
    nights = sum(night["seconds"] for night in in_airflow[1:])
    steps = sum(night["night"] for night in plain[1:])
    imports = sum(night["imports"] for night in plain[1:])
    return {
        "ratios": {"night_over_plain": round(nights / steps, 2)},
        "details": {
            "airflow": in_airflow,
            "plain": plain,
            "night_over_plain_with_its_imports": round(nights / (steps + imports), 2),
        },
    }
