"""``python -m tests.fakes.deployable INPUTS FOLDER``: two small models that differ, and the probes of each.

A process of its own: saving a model looks at every module that is imported, and Airflow has thousands.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from jobs import probe
from jobs.contract import Job, JobSpec
from jobs.features import build
from jobs.models import module
from tests.fakes.job_inputs import PARTITIONS, job_json

__all__ = ["VERSIONS", "make"]

VERSIONS = {"1": 5, "2": 25}
"""Rounds of boosting, by version."""


def make(inputs: Path, folder: Path) -> None:
    """Below ``folder``: ``<version>/models/champion`` and ``probes/<version>/probe.jsonl``."""
    words = [sys.executable, "-m", "tests.fakes.deployable", str(inputs), str(folder)]
    done = subprocess.run(
        words, cwd=Path(__file__).parents[2], env=_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _main(inputs: Path, folder: Path) -> None:
    spec = JobSpec.from_dict(job_json("score"))
    frame = build(spec, inputs, PARTITIONS[8:12])
    days = frame["partition"] < PARTITIONS[11]
    for version, rounds in VERSIONS.items():
        fitted = module("hist_gradient_boosting").fit(
            frame[days], frame[~days], target="late", hyperparameters={"max_iter": rounds}, seed=1
        )
        here, output = folder / version, folder / "probes" / version
        (here / "models").mkdir(parents=True)
        output.mkdir(parents=True)
        for channel in ("clean", "weather", "planes"):
            (here / channel).symlink_to(inputs / channel)
        fitted.save(here / "models" / "champion", frame.head(5))
        document = job_json("probe", scoring={"batch_rows": 20}) | {"splits": {"holdout": [PARTITIONS[-1]]}}
        probe.run(Job(JobSpec.from_dict(document), here, output, output))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
