"""The job contract: job.json, folders, metric lines, endings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.__main__ import main
from jobs.contract import (
    BadInput,
    JobSpec,
    Terminated,
    atomic,
    locate,
    metric,
    read_job,
    write_error,
    write_json,
)
from tests.fakes.job_inputs import job_json, write_job

if TYPE_CHECKING:
    from collections.abc import Callable

INCLUDE = Path(__file__).parents[3] / "include"


def test_a_job_json_gets_types() -> None:
    spec = JobSpec.from_dict(job_json(tuning={"search_space": {"learning_rate": {}}, "trials": 3}))
    assert spec.features.lookback == 7
    assert spec.splits.holdout == ("2013-01-18", "2013-01-19", "2013-01-20")
    assert spec.tuning is not None
    assert (spec.tuning.trials, spec.tuning.metric) == (3, "average_precision")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyperparameter": {}}, "unknown field hyperparameter; did you mean 'hyperparameters'?"),
        ({"features": {"module": "x", "lookbak": 1}}, "did you mean 'lookback'?"),
        ({"features": {"engine": "duckdb"}}, "field features.module is missing"),
        ({"seed": "1"}, "seed must be int, not '1'"),
        ({"seed": True}, "seed must be int, not True"),
        ({"kind": "teach"}, "kind must be one of train, tune, trial, evaluate"),
        ({"partition": "2013-02-30"}, "'2013-02-30' is no partition"),
        ({"splits": {"train": "2013-01-01"}}, "splits.train must be a list of partitions"),
        ({"splits": {"train": [20130101]}}, "20130101 is no partition"),
        ({"hyperparameters": [1]}, "hyperparameters must be an object"),
        ({"scoring": {"batch_rows": 0}}, "scoring.batch_rows must be positive"),
        ({"features": {"module": "x", "lookback": -1}}, "features.lookback must be positive"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value.split()[0],
)
def test_a_wrong_job_json_is_refused_by_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        JobSpec.from_dict(job_json(**changes))
    assert message in str(caught.value)


def test_flags_come_before_our_environment_and_that_before_the_vendors() -> None:
    env = {"NIGHTSHIFT_INPUT": "/ours/in", "NIGHTSHIFT_OUTPUT": "/ours/out", "SM_MODEL_DIR": "/opt/ml/model"}
    found = locate({"input": "/flag/in"}, env)
    assert {name: str(path) for name, path in found.items()} == {
        "input": "/flag/in",
        "output": "/ours/out",
        "checkpoints": "/opt/ml/checkpoints",
        "spec": "/flag/in/spec/job.json",
    }


def test_sagemaker_tells_all_four_places() -> None:
    found = locate({}, {"SM_MODEL_DIR": "/opt/ml/model", "SM_CHANNEL_SPEC": "/opt/ml/input/data/spec"})
    assert {name: str(path) for name, path in found.items()} == {
        "input": "/opt/ml/input/data",
        "output": "/opt/ml/model",
        "checkpoints": "/opt/ml/checkpoints",
        "spec": "/opt/ml/input/data/spec/job.json",
    }


def test_sagemakers_places_move_with_its_base_folder() -> None:
    found = locate({}, {"SM_MODEL_DIR": "/base/model", "SAGEMAKER_BASE_DIR": "/base"})
    assert (str(found["input"]), str(found["checkpoints"])) == ("/base/input/data", "/base/checkpoints")


def test_azure_ml_tells_all_four_places() -> None:
    env = {
        "AZURE_ML_INPUT_DATA": "/mnt/in",
        "AZURE_ML_OUTPUT_OUTPUT": "/mnt/out",
        "AZURE_ML_INPUT_SPEC": "/mnt/s",
    }
    found = locate({}, env)
    assert {name: str(path) for name, path in found.items()} == {
        "input": "/mnt/in",
        "output": "/mnt/out",
        "checkpoints": "/mnt/checkpoints",
        "spec": "/mnt/s",
    }


def test_a_place_nobody_tells_is_named() -> None:
    with pytest.raises(BadInput, match=r"where is the job's output\? Give --output or set NIGHTSHIFT_OUTPUT"):
        locate({"input": "/in"}, {})


def test_a_kind_that_contradicts_the_specification_is_refused(tmp_path: Path) -> None:
    places = dict.fromkeys(("input", "output", "checkpoints"), tmp_path)
    places["spec"] = write_job(tmp_path, job_json("train"))
    with pytest.raises(BadInput, match=r"asked to score, but .* describes a job of kind 'train'"):
        read_job("score", places)


def test_a_metric_line_has_name_value_and_step(capsys: pytest.CaptureFixture[str]) -> None:
    metric("roc_auc", 0.75, 3)
    metric("rows", 19_000)
    assert capsys.readouterr().out == "[metric] roc_auc=0.75 step=3\n[metric] rows=19000\n"


def test_json_has_null_where_a_number_is_not_finite(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"auc": float("nan"), "deep": [float("inf"), 1]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"auc": None, "deep": [None, 1]}


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with atomic(path) as partial:
            partial.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_reason_of_the_process_that_failed_stays_when_the_others_are_ended(tmp_path: Path) -> None:
    write_error(tmp_path, ValueError("out of memory"))
    write_error(tmp_path, Terminated("SIGTERM"))
    assert json.loads((tmp_path / "error.json").read_text())["message"] == "out of memory"


@pytest.fixture
def job_argv(tmp_path: Path) -> Callable[[dict[str, Any]], list[str]]:
    (tmp_path / "input").mkdir()

    def argv(document: dict[str, Any]) -> list[str]:
        write_job(tmp_path, document)
        names = {"spec": "job.json", "input": "input", "output": "output", "checkpoints": "checkpoints"}
        return [word for name, last in names.items() for word in (f"--{name}", str(tmp_path / last))]

    return argv


def test_bad_input_ends_with_2_its_reason_last_and_an_error_file(
    job_argv: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *job_argv(job_json())]) == 2
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("bad input: the input has no channel 'clean'")
    error = json.loads((tmp_path / "output" / "error.json").read_text())
    assert error["type"] == "BadInput"
    assert error["message"] in last


def test_a_failure_ends_with_1_and_its_reason_last(
    job_argv: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").write_text("a file where the folder should be")
    assert main(["train", *job_argv(job_json())]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("failed: FileExistsError")


def test_a_wrong_command_line_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["teach"]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "bad input: the command line is wrong (see above)"


def test_main_puts_the_signal_handler_back(job_argv: Callable[..., list[str]]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    main(["train", *job_argv(job_json())])
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_ends_a_job_with_143_and_says_so(job_argv: Callable[..., list[str]], tmp_path: Path) -> None:
    endless = "import jobs.train, signal; jobs.train.run = lambda job: signal.pause()"
    code = f"{endless}; import sys; from jobs.__main__ import main; sys.exit(main({job_argv(job_json())!r}))"
    env = os.environ | {"PYTHONPATH": str(INCLUDE)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) as job:
        assert job.stdout is not None
        assert job.stdout.readline().startswith("train flight_delays")
        job.terminate()
        assert job.stdout.read().splitlines()[-1] == "stopped: SIGTERM: asked to stop"
    assert job.returncode == 143
    assert json.loads((tmp_path / "output" / "error.json").read_text())["type"] == "Terminated"
