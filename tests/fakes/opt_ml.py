"""A SageMaker container's ``/opt/ml`` in a folder of its own, and what the container runs in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BIN", "INCLUDE", "OptMl"]

INCLUDE = Path(__file__).parents[2] / "include"
BIN = INCLUDE / "containers" / "bin"
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class OptMl:
    """The folder, filled as SageMaker fills it."""

    base: Path

    @classmethod
    def make(
        cls,
        base: Path,
        job: Mapping[str, Any],
        *,
        jobs_dir: Path = INCLUDE,
        channels: Mapping[str, Path] | None = None,
        hyperparameters: Mapping[str, str] | None = None,
        resources: Mapping[str, Any] | None = None,
    ) -> OptMl:
        """Lay out ``base``; ``channels`` are folders that are linked to, channel ``code`` is ``jobs_dir``."""
        config, data = base / "input" / "config", base / "input" / "data"
        for folder in (config, data / "spec", data / "code", base / "model", base / "output" / "data"):
            folder.mkdir(parents=True)
        (data / "spec" / "job.json").write_text(json.dumps(job))
        (data / "code" / "jobs").symlink_to(jobs_dir / "jobs")
        for name, folder in (channels or {}).items():
            (data / name).symlink_to(folder)
        (config / "hyperparameters.json").write_text(json.dumps(hyperparameters or {}))
        told = {name: {"TrainingInputMode": "File"} for name in ("spec", "code", *(channels or {}))}
        (config / "inputdataconfig.json").write_text(json.dumps(told))
        alone = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}
        (config / "resourceconfig.json").write_text(json.dumps({**alone, **(resources or {})}))
        return cls(base)

    def environment(self, **more: str) -> dict[str, str]:
        """What a container has: nothing of this process but what a program needs."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        ours = {"SAGEMAKER_BASE_DIR": str(self.base), "NIGHTSHIFT_PYTHON": sys.executable}
        return {**kept, **ours, **more}

    def start(self, command: Path = BIN / "train", **environment: str) -> subprocess.Popen[str]:
        """Start the image's ``train``, or another command of a container."""
        return subprocess.Popen(
            [str(command)],
            cwd=self.base,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def train(self, command: Path = BIN / "train", **environment: str) -> tuple[int, str]:
        """Run ``train`` to its end; the exit code and the log."""
        with self.start(command, **environment) as process:
            log, _ = process.communicate(timeout=120)
        return process.returncode, log

    @property
    def failure(self) -> str:
        """The reason left for DescribeTrainingJob; "" where there is none."""
        path = self.base / "output" / "failure"
        return path.read_text() if path.exists() else ""

    def left(self, name: str) -> Any:
        """A JSON file of the model folder."""
        return json.loads((self.base / "model" / name).read_text())
