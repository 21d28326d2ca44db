"""The command line, called as a user calls it: what it prints, where, and its exit code."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys

import pytest

from nightshift import __version__
from nightshift.cli.main import main
from nightshift.config.settings import PROJECT

DAYS = ["--from", "2013-01-01", "--to", "2013-01-03"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path / "var"))
    for variable in ("AIRFLOW_PORT", "MLFLOW_PORT"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "var"


def test_it_says_its_version_and_starts_in_well_under_a_second():
    code = "import sys; from nightshift.cli.main import main; main(['pipelines']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert not {"airflow", "mlflow", "great_expectations", "pandas", "pyarrow", "torch"} & set(loaded)


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == f"nightshift {__version__}"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for command in (
        "seed",
        "ingest",
        "plan",
        "pipelines",
        "quarantine",
        "gate",
        "up",
        "down",
        "status",
        "demo",
    ):
        assert f"    {command}" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ingest", "flight_delay", *DAYS], "did you mean 'flight_delays'?"),
        (["seed", "nothing_like_it", *DAYS], "choose one of: flight_delays"),
        (["ingest", "flight_delays", "--from", "5 Jan", "--to", "2013-01-06"], "give it as YYYY-MM-DD"),
        (["ingest", "flight_delays", "--from", "2013-01-06", "--to", "2013-01-05"], "swap the two ends"),
        (["seed", "flight_delays", "--from", "2014-01-01", "--to", "2014-01-01"], "is not a partition of"),
        (["demo", "--partition", "2015-01-01"], "is not a partition of flight_delays"),
    ],
    ids=["typo", "unknown", "no day", "backwards", "outside", "demo outside"],
)
def test_what_cannot_be_asked_for_is_one_line_on_stderr_and_exit_code_2(arguments, said, capsys):
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("nightshift: ")
    assert said in told.err
    assert "Traceback" not in told.err


def test_debug_shows_where_an_error_comes_from():
    from nightshift.errors import ConfigError

    with pytest.raises(ConfigError):
        main(["--debug", "ingest", "flight_delay", *DAYS])


def test_pipelines_lists_good_files_and_says_what_is_wrong_with_the_others(tmp_path, monkeypatch, capsys):
    good = PROJECT / "include" / "pipelines" / "flight_delays.yaml"
    shutil.copy(good, tmp_path)
    broken = (
        good.read_text().replace("pipeline: flight_delays", "pipeline: broken").replace("owner:", "ownr:")
    )
    (tmp_path / "broken.yaml").write_text(broken)
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__PIPELINES_DIR", str(tmp_path))
    assert main(["pipelines"]) == 1
    shown = capsys.readouterr().out
    assert "flight_delays " in shown
    assert "broken.yaml: WRONG" in shown
    assert "did you mean 'owner'?" in shown


def test_down_and_status_of_a_stack_that_never_ran(capsys):
    assert main(["down"]) == 0
    assert main(["status"]) == 1
    assert "nothing was running" in capsys.readouterr().out


def test_up_on_a_taken_port_says_how_to_choose_another(monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("AIRFLOW_PORT", str(taken.getsockname()[1]))
        assert main(["up"]) == 2
    assert "choose another port, e.g. AIRFLOW_PORT=" in capsys.readouterr().err


def test_ingest_goes_on_after_a_bad_day_and_leaves_unchanged_days_alone(home, capsys):
    assert main(["seed", "flight_delays", *DAYS]) == 0
    (home / "landing" / "flights" / "dt=2013-01-02" / "flights.csv").write_bytes(b"")
    capsys.readouterr()

    assert main(["ingest", "flight_delays", *DAYS]) == 1
    first = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in first[:3]] == ["warned", "failed", "passed"]
    assert first[3].startswith("2 of 3 days are good: 1,746 rows clean, 10 quarantined")
    assert "2013-01-02 failed: PartitionCorrupt" in first[4]

    shutil.rmtree(home / "landing" / "flights" / "dt=2013-01-02")
    assert main(["seed", "flight_delays", *DAYS]) == 0
    capsys.readouterr()
    assert main(["ingest", "flight_delays", *DAYS]) == 0
    again = capsys.readouterr().out.splitlines()
    assert [line.endswith("unchanged") for line in again[:3]] == [True, False, True]
    assert again[3].startswith("3 of 3 days are good: 2,684 rows clean")


def test_plan_says_what_a_backfill_would_do_and_writes_nothing(home, capsys):
    assert main(["seed", "flight_delays", *DAYS]) == 0
    assert main(["ingest", "flight_delays", "--from", "2013-01-01", "--to", "2013-01-01"]) == 0
    before = sorted(path for path in home.rglob("*"))
    capsys.readouterr()
    assert main(["plan", "flight_delays", *DAYS]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[2][:6] == ["ingest", "1", "2", "0", "2", "0"]
    assert lines[3][:6] == ["validate", "1", "2", "0", "2", "0"]
    assert main(["plan", "flight_delays", *DAYS, "--steps", "score, validate", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert list(plan["steps"]) == ["validate", "score"]
    assert list(plan["steps"]["validate"]["impossible"]) == ["2013-01-02", "2013-01-03"]
    assert sorted(path for path in home.rglob("*")) == before
    assert main(["plan", "flight_delays", *DAYS, "--steps", "tune"]) == 2
    assert "choose among: ingest, validate, retrain, score" in capsys.readouterr().err


def test_pipelines_prints_the_schema_for_editors(home, capsys):
    assert main(["pipelines", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Pipeline"
