"""What a job's image is given: the packages that jobs import, as pinned as here, and quiet commands."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fakes.opt_ml import BIN, INCLUDE

if TYPE_CHECKING:
    from pathlib import Path

ROOT = INCLUDE.parent
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==(\S+)", re.MULTILINE)
ELSEWHERE = {"torch": "the image's own", "pyspark": "an extra: pip install 'nightshift[spark]'"}
NAMES = {"sklearn": "scikit-learn", "ibis": "ibis-framework", "yaml": "pyyaml"}


def pins(path: Path) -> dict[str, str]:
    return {name.lower(): version for name, version in PIN.findall(path.read_text())}


def imported(path: Path) -> set[str]:
    """Packages of others that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return {NAMES.get(name, name) for name in found - sys.stdlib_module_names - {"jobs"}}


def test_a_jobs_packages_are_pinned_as_the_projects() -> None:
    ours = pins(INCLUDE / "containers" / "requirements.txt")
    project = {**pins(ROOT / "constraints.txt"), **pins(ROOT / "requirements.txt")}
    assert ours == {name: project[name] for name in ours}


def test_a_jobs_packages_are_those_that_jobs_import() -> None:
    wanted = set().union(*(imported(path) for path in (INCLUDE / "jobs").rglob("*.py")))
    through = {"duckdb"}  # ibis imports it
    assert set(pins(INCLUDE / "containers" / "requirements.txt")) == (wanted - set(ELSEWHERE)) | through


def test_the_entry_point_needs_nothing_but_python() -> None:
    assert imported(INCLUDE / "jobs" / "sagemaker.py") == set()


@pytest.mark.parametrize("name", ["train", "serve"])
def test_a_command_of_the_image_is_a_short_program(name: str) -> None:
    assert os.access(BIN / name, os.X_OK)
    text = (BIN / name).read_text()
    assert text.startswith("#!/bin/sh\n")
    assert len(text.splitlines()) < 20
    assert "exec " in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("environment", "host"),
    [
        pytest.param({}, "0.0.0.0", id="a container"),
        pytest.param({"SAGEMAKER_BASE_DIR": "/nowhere"}, "", id="a folder on this machine"),
        pytest.param({"SAGEMAKER_BIND_TO_HOST": "10.0.0.1"}, "10.0.0.1", id="told"),
    ],
)
def test_only_a_container_serves_to_others(tmp_path: Path, environment: dict[str, str], host: str) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$2 on $SAGEMAKER_BIND_TO_HOST"\n')
    python.chmod(0o755)
    told = {"PATH": os.environ["PATH"], "NIGHTSHIFT_PYTHON": str(python), **environment}
    done = subprocess.run([BIN / "serve"], env=told, capture_output=True, text=True, check=True)
    assert done.stdout == f"jobs.serve on {host}\n"


def test_the_image_takes_the_projects_torch() -> None:
    text = (INCLUDE / "containers" / "Dockerfile").read_text()
    assert f"ARG TORCH={pins(ROOT / 'requirements.txt')['torch']}\n" in text
