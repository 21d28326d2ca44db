"""The entry point in a SageMaker container, run as the image runs it, around toy jobs and a real fit."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jobs.models import load
from tests.contract.platform_contract import is_alive, wait_for
from tests.fakes.job_inputs import JobInputs, job_json
from tests.fakes.opt_ml import OptMl
from tests.fakes.process import free_port
from tests.fakes.toy_jobs import make_toy_jobs, starts

if TYPE_CHECKING:
    from pathlib import Path

SPACE = {
    "learning_rate": {"type": "float", "low": 0.01, "high": 0.3, "log": True},
    "leaves": {"type": "int", "low": 4, "high": 15},
    "loss": {"type": "categorical", "choices": ["a", "b"]},
    "bf16": {"type": "categorical", "choices": [True, False]},
}
TUNED = {
    "_tuning_objective_metric": "validation_average_precision",
    "learning_rate": "0.125",
    "leaves": "7",
    "loss": "b",
    "bf16": "false",
}


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    return tmp_path / "starts"


@pytest.fixture
def toy(tmp_path: Path, counter: Path) -> Any:
    """A container whose job is the toy that the document describes."""

    def make(document: dict[str, Any], **more: Any) -> OptMl:
        jobs_dir = make_toy_jobs(tmp_path / "code")
        return OptMl.make(tmp_path / "ml", {"counter": str(counter), **document}, jobs_dir=jobs_dir, **more)

    return make


def test_a_job_runs_and_the_log_is_its_own(toy: Any) -> None:
    container = toy({})
    assert container.train() == (0, "started train\ndone\n")
    assert container.left("metrics.json") == {"answer": 42}
    assert container.failure == ""


def test_the_kind_is_what_the_environment_or_the_job_says(toy: Any) -> None:
    container = toy({"kind": "evaluate"})
    assert container.train()[1].startswith("started evaluate\n")
    assert container.train(NIGHTSHIFT_KIND="features")[1].startswith("started features\n")


def test_channels_become_the_input_folder(toy: Any, tmp_path: Path) -> None:
    for name in ("clean/partition=1/a.txt", "champion/MLmodel"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    channels = {"clean": tmp_path / "clean", "models.champion": tmp_path / "champion"}
    container = toy({"echo_inputs": True}, channels=channels)
    assert container.train()[0] == 0
    assert container.left("inputs.json") == {
        "clean/partition=1/a.txt": "clean/partition=1/a.txt",
        "models/champion/MLmodel": "champion/MLmodel",
    }


@pytest.mark.parametrize("code", [1, 2])
def test_a_failure_keeps_its_exit_code_and_leaves_its_reason(toy: Any, code: int) -> None:
    container = toy({"error": "no such column", "code": code})
    assert container.train()[0] == code
    assert container.failure == "ValueError: no such column"


def test_a_job_that_was_killed_is_told_as_that(toy: Any, counter: Path) -> None:
    container = toy({"seconds": 60})
    with container.start() as process:
        (pid,) = wait_for(lambda: starts(counter))
        os.kill(pid, signal.SIGKILL)
        assert process.wait(20) == 137
    assert container.failure == "the job was killed by SIGKILL, perhaps for memory"


def test_sigterm_reaches_the_whole_group_of_the_job(toy: Any, counter: Path) -> None:
    container = toy({"seconds": 60, "child": True})
    with container.start() as process:
        (pid,) = wait_for(lambda: starts(counter))
        child = wait_for(lambda: pid_in(container.base / "model" / "child.pid"))
        process.terminate()
        assert process.wait(20) == 143
    wait_for(lambda: not is_alive(pid) and not is_alive(child))


def test_a_job_does_not_outlive_its_killed_container(toy: Any, counter: Path) -> None:
    with toy({"seconds": 60, "ignore_term": True}).start() as process:
        (pid,) = wait_for(lambda: starts(counter))
        process.kill()
    wait_for(lambda: not is_alive(pid))


def pid_in(path: Path) -> int:
    return int(path.read_text() or 0) if path.exists() else 0


def test_what_a_job_leaves_running_is_ended(toy: Any) -> None:
    container = toy({"child": True})
    assert container.train()[0] == 0
    wait_for(lambda: not is_alive(pid_in(container.base / "model" / "child.pid")))


def test_another_host_starts_no_job_that_is_for_one(toy: Any, counter: Path) -> None:
    hosts = {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]}
    container = toy({"kind": "evaluate"}, resources=hosts)
    assert container.train() == (0, "")
    assert not starts(counter)


def test_a_container_without_a_specification_says_so(toy: Any) -> None:
    container = toy({})
    (container.base / "input" / "data" / "spec" / "job.json").unlink()
    code, log = container.train()
    assert code == 2
    assert "job.json cannot be read" in log
    assert container.failure.startswith("BadInput: ")


def test_tuned_values_get_the_types_of_the_search_space(tmp_path: Path) -> None:
    document = {"kind": "tune", "hyperparameters": {"max_iter": 9}, "tuning": {"search_space": SPACE}}
    code, derived = run_spy(tmp_path, document, TUNED)
    assert code == 0
    assert derived["kind"] == "trial"
    wanted = {"max_iter": 9, "learning_rate": 0.125, "leaves": 7, "loss": "b", "bf16": False}
    assert derived["hyperparameters"] == wanted
    assert [type(value) for value in derived["hyperparameters"].values()] == [int, float, int, str, bool]
    assert derived["tuning"] == document["tuning"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"leaves": "7.5"}, "gave leaves the value '7.5'", id="no whole number"),
        pytest.param({"loss": "c"}, "gave loss the value 'c'", id="no choice"),
        pytest.param({"learning_rate": "fast"}, "gave learning_rate the value 'fast'", id="no number"),
    ],
)
def test_a_tuned_value_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    document = {"kind": "tune", "tuning": {"search_space": SPACE}}
    container = spy(tmp_path, document, TUNED | change)
    assert container.train()[0] == 2
    assert message in container.failure


def spy(tmp_path: Path, document: dict[str, Any], hyperparameters: dict[str, str]) -> OptMl:
    """A container whose job leaves its own specification behind."""
    jobs_dir = make_toy_jobs(tmp_path / "code")
    main = (
        "import shutil, sys; a = sys.argv; shutil.copy(a[a.index('--spec') + 1], a[a.index('--output') + 1])"
    )
    (jobs_dir / "jobs" / "__main__.py").write_text(main)
    return OptMl.make(tmp_path / "ml", document, jobs_dir=jobs_dir, hyperparameters=hyperparameters)


def run_spy(tmp_path: Path, document: dict[str, Any], hyperparameters: dict[str, str]) -> tuple[int, Any]:
    container = spy(tmp_path, document, hyperparameters)
    return container.train()[0], container.left("job.json")


def test_several_processes_end_with_the_exit_code_of_the_one_that_failed(tmp_path: Path) -> None:
    container = OptMl.make(tmp_path, job_json("train"))
    assert container.train(SM_NUM_GPUS="2")[0] == 2
    assert container.failure.startswith("BadInput: the input has no channel 'clean'")


def test_two_hosts_train_one_model(tmp_path: Path, job_inputs: JobInputs) -> None:
    options = {"max_epochs": 1, "batch_size": 256}
    job = job_json("train", model="torch_mlp", hyperparameters=options)
    channels = {name: job_inputs.folder / name for name in ("clean", "weather", "planes")}
    hosts = {"hosts": ["algo-1", "algo-2"], "network_interface_name": "lo"}
    containers = [
        OptMl.make(tmp_path / name, job, channels=channels, resources=hosts | {"current_host": name})
        for name in hosts["hosts"]
    ]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "SM_NUM_GPUS": "0"}
    running = [container.start(**meeting) for container in containers]
    logs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], logs
    first, second = containers
    assert first.left("environment.json")["processes"] == 2
    assert list((second.base / "model").iterdir()) == []
    assert logs[0].count("[metric] holdout_roc_auc=") == 1
    assert "[metric]" not in logs[1]
    assert np.isfinite(load(first.base / "model" / "model").network.mean.numpy()).all()  # type: ignore[attr-defined]
