"""What a model was trained with, beyond its data and code: Python, packages, processor, GPU."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["describe"]

_FEATURES = ("duckdb", "ibis-framework", "mlflow", "numpy", "pandas", "pyarrow", "scikit-learn")
"""What every job computes with; a model's own packages are in its requirements."""
_NAME = re.compile(r"^([A-Za-z0-9._-]+)\s*==")


def describe(model: Path) -> dict[str, Any]:
    """The environment of this process, and of the model that it saved to ``model``.

    :returns: ``{python, platform, processor, cpus, threads, processes, gpu, requirements, packages}``;
        ``threads`` is what numerical libraries were told, "" for nothing; ``gpu`` is "" where none was used.
    """
    requirements = _lines(model / "requirements.txt")
    named = {found[1] for line in requirements if (found := _NAME.match(line))}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "gpu": _gpu() if "torch" in named else "",
        "requirements": requirements,
        "packages": {name: _version(name) for name in sorted({*_FEATURES, *named})},
    }


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _gpu() -> str:
    torch = sys.modules.get("torch")  # a model of it was trained here: it is imported
    return str(torch.cuda.get_device_name()) if torch and torch.cuda.is_available() else ""
