"""The tune job as a process of its own, on real flights."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.job_inputs import JobInputs, job_json, write_job

if TYPE_CHECKING:
    from collections.abc import Iterator

INCLUDE = Path(__file__).parents[3] / "include"
TUNING = {
    "search_space": {
        "learning_rate": {"type": "float", "low": 0.02, "high": 0.3, "log": True},
        "max_leaf_nodes": {"type": "int", "low": 4, "high": 15},
    },
    "metric": "average_precision",
    "trials": 6,
    "parallelism": 2,
    "pruning": True,
}


def command(folder: Path, inputs: JobInputs, output: str, **changes: Any) -> list[str]:
    document = job_json("tune", tuning={**TUNING, **changes}, hyperparameters={"max_iter": 30})
    path = write_job(folder, document)
    places = {"spec": path, "input": inputs.folder, "output": folder / output, "checkpoints": folder / "kept"}
    flags = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    return [sys.executable, "-m", "jobs", "tune", *flags]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(INCLUDE)}


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def read(file: Path) -> Any:
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def finished(job_inputs: JobInputs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The output folder and the log of a tune job that went well."""
    folder = tmp_path_factory.mktemp("tune")
    done = run(command(folder, job_inputs, "output"))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "output", done.stdout


def test_every_trial_asked_for_is_in_the_output(finished: tuple[Path, str]) -> None:
    output, log = finished
    trials = read(output / "trials.json")
    assert [trial["number"] for trial in trials] == list(range(6))
    assert {trial["state"] for trial in trials} <= {"COMPLETE", "PRUNED"}
    assert all(trial["intermediate"] for trial in trials)
    assert all(f"trial {count}/6 " in log for count in range(1, 7))


def test_the_best_trial_is_the_best_of_the_completed(finished: tuple[Path, str]) -> None:
    output, log = finished
    best, trials = read(output / "best.json"), read(output / "trials.json")
    assert best["value"] == max(trial["value"] for trial in trials if trial["state"] == "COMPLETE")
    assert best["params"] == trials[best["number"]]["params"]
    assert 0.2 < best["value"] < 1.0
    assert f"[metric] best_validation_average_precision={best['value']:.6g}" in log
    assert read(output / "metrics.json")["trials"] == 6


def test_the_pictures_are_there(finished: tuple[Path, str]) -> None:
    output, _ = finished
    for name in ("parameter_importance", "optimization_history"):
        assert (output / "pictures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert set(read(output / "best.json")["importances"]) <= set(TUNING["search_space"])  # type: ignore[call-overload]


def test_a_killed_job_goes_on_where_it_was(tmp_path: Path, job_inputs: JobInputs) -> None:
    words = command(tmp_path, job_inputs, "first")
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            if line.startswith("trial 2/6"):
                break
        workers = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
        ends = [os.pidfd_open(int(pid)) for pid in workers]
        killed.send_signal(signal.SIGKILL)
        rest = killed.stdout.read()
    assert workers
    assert all(select.select([end], [], [], 20)[0] for end in ends), "a worker outlived its parent"
    done_before = 2 + rest.count("\ntrial ") + rest.startswith("trial ")
    again = subprocess.run(
        command(tmp_path, job_inputs, "second"),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "of 6 trials are done already" in again.stdout
    assert again.stdout.count("\ntrial ") in (6 - done_before, 5 - done_before)
    trials = read(tmp_path / "second" / "trials.json")
    assert [trial["number"] for trial in trials] == list(range(6))
    assert {trial["state"] for trial in trials} <= {"COMPLETE", "PRUNED"}


def test_a_parameter_the_model_does_not_have_is_bad_input(tmp_path: Path, job_inputs: JobInputs) -> None:
    space = {"no_such_thing": {"type": "int", "low": 1, "high": 2}}
    words = command(tmp_path, job_inputs, "output", search_space=space, trials=3)
    done = run(words)
    assert done.returncode == 2
    assert "no_such_thing" in done.stdout.splitlines()[-1]
