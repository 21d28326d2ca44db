"""SageMaker's own training toolkit runs our entry point unchanged, in a ``/opt/ml`` of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.job_inputs import PARTITIONS, JobInputs, job_inputs, job_json
from tests.fakes.opt_ml import INCLUDE, OptMl
from tests.fakes.toy_jobs import make_toy_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["job_inputs"]

REQUIREMENTS = Path(__file__).parents[1] / "toolkit" / "requirements.txt"
UNREACHABLE = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ProxyError|NameResolutionError|Connection (refused|reset)"
)
ENTRY = "from jobs.sagemaker import main\n\nraise SystemExit(main())\n"
TWO_LINES_OF_ONES_OWN = "from jobs.__main__ import main\n\nraise SystemExit(main(['features']))\n"


@pytest.fixture(scope="session")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toolkit's command ``train``, installed into an environment of its own (3 s, 9 MB).

    What it needs and we have too comes from this environment, and so does what real jobs import.
    """
    folder = tmp_path_factory.mktemp("toolkit")
    venv.create(folder, with_pip=False, symlinks=True)
    words = ["--python", str(folder / "bin" / "python"), "install", "--quiet", "--retries", "1", "--no-deps"]
    pip = [sys.executable, "-m", "pip", *words, "--disable-pip-version-check", "-r", str(REQUIREMENTS)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip("the package index cannot be reached, so the sagemaker-training toolkit is not here")
    assert done.returncode == 0, done.stderr
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "ours.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    return folder / "bin" / "train"


def container(
    folder: Path,
    job: Mapping[str, Any],
    *,
    entry: str = ENTRY,
    jobs_dir: Path | None = None,
    packed: bool = False,
    hyperparameters: Mapping[str, str] | None = None,
    channels: Mapping[str, Path] | None = None,
) -> OptMl:
    """A container in script mode, as a framework image finds it."""
    source = folder / "source"
    shutil.copytree((jobs_dir or make_toy_jobs(folder / "toy")) / "jobs", source / "jobs")
    (source / "sagemaker_entry.py").write_text(entry)
    if packed:
        with tarfile.open(folder / "sourcedir.tar.gz", "w:gz") as tar:
            for path in source.iterdir():
                tar.add(path, path.name)
    told = {
        "sagemaker_program": "sagemaker_entry.py",
        "sagemaker_submit_directory": str(folder / "sourcedir.tar.gz" if packed else source),
        "sagemaker_region": "eu-central-1",
        **(hyperparameters or {}),
    }
    hosts = {"current_host": "localhost", "hosts": ["localhost"], "network_interface_name": "lo"}
    return OptMl.make(
        folder / "ml", job, jobs_dir=source, hyperparameters=told, resources=hosts, channels=channels
    )


@pytest.mark.parametrize("packed", [False, True], ids=["a folder", "a tarball"])
def test_the_toolkit_runs_a_job_with_its_channels(toolkit: Path, tmp_path: Path, packed: bool) -> None:
    (tmp_path / "champion").mkdir()
    (tmp_path / "champion" / "MLmodel").write_text("m")
    job = {"counter": str(tmp_path / "starts"), "echo_inputs": True}
    made = container(tmp_path, job, packed=packed, channels={"models.champion": tmp_path / "champion"})
    code, log = made.train(toolkit)
    assert code == 0, log
    assert "\nstarted train\ndone\n" in log
    assert made.left("metrics.json") == {"answer": 42}
    assert made.left("inputs.json") == {"models/champion/MLmodel": "m"}
    assert made.left("environment.json")["SM_MODEL_DIR"] == str(made.base / "model")
    assert (made.base / "output" / "success").exists()


def test_the_toolkit_leaves_our_reason_for_a_failure(toolkit: Path, tmp_path: Path) -> None:
    job = {"counter": str(tmp_path / "starts"), "error": "no such column", "code": 2}
    made = container(tmp_path, job)
    code, log = made.train(toolkit)
    assert code == 1, "the toolkit gives no other"
    assert "ExitCode 2" in log
    assert made.failure == "ValueError: no such column"
    assert not (made.base / "output" / "success").exists()


def test_the_toolkits_tuned_values_make_a_trial(toolkit: Path, tmp_path: Path) -> None:
    space = {"learning_rate": {"type": "float", "low": 0.01, "high": 1.0}}
    job = {"counter": str(tmp_path / "starts"), "kind": "tune", "tuning": {"search_space": space}}
    values = {"learning_rate": "0.25", "_tuning_objective_metric": "validation_average_precision"}
    code, log = container(tmp_path, job, hyperparameters=values).train(toolkit)
    assert code == 0, log
    assert "\nstarted trial\n" in log


def test_a_script_of_ones_own_finds_the_job_by_the_toolkits_variables(
    toolkit: Path, tmp_path: Path, job_inputs: JobInputs
) -> None:
    job = job_json("features", splits={"holdout": [PARTITIONS[-1]]})
    channels = {name: job_inputs.folder / name for name in ("clean", "weather", "planes")}
    made = container(tmp_path, job, entry=TWO_LINES_OF_ONES_OWN, jobs_dir=INCLUDE, channels=channels)
    code, log = made.train(toolkit)
    assert code == 0, log
    assert made.left("counts.json")["rows_in"] > 0
