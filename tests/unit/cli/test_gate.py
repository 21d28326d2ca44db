"""``nightshift gate simulate``, called as a user calls it: where predictions come from, and what it says."""

from __future__ import annotations

import json
import shutil
import uuid
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightshift.cli.main import main
from nightshift.config.settings import PROJECT
from nightshift.registry.tracking import Tracking
from tests.fakes.process import free_port

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = PROJECT / "include" / "samples" / "flight_delays_predictions.parquet"
QUICK = ["gate", "simulate", "--retrains", "10", "--resamples", "400"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment whose MLflow is down."""
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path / "var"))
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    return tmp_path


@pytest.fixture
def pipeline(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pipeline like flight_delays, of a name that no other test has."""
    name = f"flights_{uuid.uuid4().hex[:10]}"
    text = (PROJECT / "include" / "pipelines" / "flight_delays.yaml").read_text()
    (home / f"{name}.yaml").write_text(text.replace("pipeline: flight_delays", f"pipeline: {name}"))
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__PIPELINES_DIR", str(home))
    return name


def evaluate(tracking: Tracking, pipeline: str, night: str, folder: Path, *, champion: bool = True) -> None:
    """What a night's evaluation leaves in MLflow."""
    folder.mkdir()
    names = ["challenger", *(["champion"] if champion else [])]
    metrics = {name: {"metrics": {"average_precision": 0.4}} for name in names}
    document = {"partitions": [night], "rows": 4082, "models": metrics}
    (folder / "evaluation.json").write_text(json.dumps(document))
    shutil.copy(SAMPLE, folder / "predictions.parquet")
    run = tracking.find_or_create_run(pipeline, f"job-{night}", f"train {night}", {})
    tracking.log_evaluation(run, folder)


def test_with_nothing_running_it_takes_the_recorded_sample_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*QUICK, "--effect", "3"]) == 0
    told = capsys.readouterr()
    assert "MLflow is not asked" in told.err
    assert "[10/10]" in told.err
    assert "4,082 rows of 5 partitions, from the recorded sample flight_delays_predictions" in told.out
    assert "truly better than the champion by 0.06 (3 x the margin)" in told.out
    rules = {line[:12]: line.split()[-2:] for line in told.out.splitlines()}
    assert rules["greater than"] == rules["the gate    "] == ["10", "100.0%"]
    assert "promoted 8 times" not in told.out  # that is said of equal models only
    assert "false" not in told.out


def test_equal_models_are_promoted_by_the_naive_rule_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["promoted"] == 0 < found["naive_promoted"] < 10
    assert (found["retrains"], found["effect"], found["seed"], found["alpha"]) == (10, 0.0, 1, 0.05)
    assert {"bound", "least_margin", "promoted_share", "naive_share", "min_effect", "resamples"} <= set(found)
    assert main(QUICK) == 0
    told = capsys.readouterr().out
    assert "Promotions here are false. 0 is within what alpha 0.05 allows" in told
    assert "this margin is large enough for this holdout" in told


def test_the_command_line_may_say_otherwise_than_the_pipeline_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = [
        "--min-effect",
        "0.001",
        "--alpha",
        "0.2",
        "--seed",
        "5",
        "--predictions",
        str(SAMPLE),
        "--json",
    ]
    assert main([*QUICK, *changes]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["min_effect"], found["alpha"], found["seed"]) == (0.001, 0.2, 5)
    assert (found["resamples"], found["source"]) == (400, str(SAMPLE))


@pytest.mark.server
def test_the_newest_comparison_with_a_champion_in_mlflow_comes_before_the_sample(
    pipeline: str,
    home: Path,
    mlflow_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__MLFLOW_TRACKING_URI", mlflow_server)
    asked = [*QUICK, "--pipeline", pipeline, "--json"]
    assert main(asked) == 2  # neither an evaluation nor a sample
    tracking = Tracking(mlflow_server)
    evaluate(tracking, pipeline, "2013-01-28", home / "older")
    evaluate(tracking, pipeline, "2013-01-29", home / "newer")
    evaluate(tracking, pipeline, "2013-01-30", home / "alone", champion=False)
    capsys.readouterr()
    assert main(asked) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["source"] == f"run train 2013-01-29 of MLflow at {mlflow_server}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pipeline", "flight_delay"], "did you mean 'flight_delays'?"),
        (["--effect", "2", "--min-effect", "0"], "try one with --min-effect 0.01"),
        (["--effect", "500"], "cannot be better by 10"),
        (["--retrains", "0"], "ask for one at least"),
        (["--alpha", "0.7"], "--alpha: Input should be less than 0.5"),
        (["--resamples", "5", "--min-effect", "-1"], "--min-effect: Input should be greater"),
        (["--predictions", "nowhere.parquet"], "there is no file nowhere.parquet"),
    ],
    ids=["typo", "no margin", "impossible", "nothing", "alpha", "two wrong", "no file"],
)
def test_what_cannot_be_asked_for_is_one_line_on_stderr_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*QUICK, *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert "Traceback" not in told.err


def test_a_pipeline_without_predictions_says_where_they_would_come_from(
    pipeline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*QUICK, "--pipeline", pipeline]) == 2
    assert "give the predictions.parquet of an evaluation with --predictions" in capsys.readouterr().err


def test_predictions_without_a_column_that_the_gate_names_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table: pa.Table = pq.read_table(SAMPLE).drop_columns(["slice_origin"])
    pq.write_table(table, home / "predictions.parquet")
    assert main([*QUICK, "--predictions", str(home / "predictions.parquet")]) == 1
    assert "has no column slice_origin" in capsys.readouterr().err
