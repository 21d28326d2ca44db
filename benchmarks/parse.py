"""How long Airflow takes to read the DAG files of 1, 10 and 100 pipelines."""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["measure"]

COUNTS = (1, 10, 100)
PROGRAM = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
began = time.monotonic()
bag = DagBag(dag_folder=sys.argv[1])
of_pipelines = [dag_id for dag_id in bag.dags if dag_id.startswith("flight_delays_")]
assert len(of_pipelines) == 6 * int(sys.argv[2]) and not bag.import_errors, bag.import_errors
print("RESULT", time.monotonic() - began)
"""


def measure(scratch: Path) -> dict[str, Any]:
    """Median of three reads, each in a fresh process, Airflow's own import left out."""
    from nightshift.config.settings import PROJECT

    seconds = {}
    for count in COUNTS:
        folder = scratch / f"pipelines-{count}"
        _write(PROJECT / "include" / "pipelines" / "flight_delays.yaml", folder, count)
        seconds[count] = round(median(_parse(PROJECT, scratch, folder, count) for _ in range(3)), 3)
    return {"ratios": {"parse_100_s": seconds[100]}, "details": {"seconds_by_pipelines": seconds}}


def _write(source: Path, folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    document = yaml.safe_load(source.read_text())
    for number in range(count):
        name = f"flight_delays_{number}"
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**document, "pipeline": name}))


def _parse(project: Path, scratch: Path, folder: Path, count: int) -> float:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(project / "plugins"),
        "AIRFLOW__NIGHTSHIFT__PIPELINES_DIR": str(folder),
    }
    command = [sys.executable, "-c", PROGRAM, str(project / "dags"), str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if "RESULT" not in done.stdout:
        raise RuntimeError(done.stderr[-2000:])
    return float(done.stdout.rpartition("RESULT")[2])
