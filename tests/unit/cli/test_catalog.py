"""``nightshift view`` and ``nightshift catalog``, called as a user calls them; the plan made the view."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from nightshift.cli.commands import pipeline_of
from nightshift.cli.main import main
from nightshift.config.partitions import days, splits
from nightshift.config.settings import Settings
from nightshift.hooks.storage import open_lake
from nightshift.operators.plan import PlanOperator

if TYPE_CHECKING:
    from pathlib import Path

NIGHT = "2013-01-29"


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The plan of a night on a lake with a row a day."""
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    settings = Settings.from_environment()
    pipeline = pipeline_of(settings, "flight_delays")
    lake = open_lake(settings, pipeline)
    window = splits(pipeline.training.window, NIGHT)
    for key in days(min(day for part in window.values() for day in part), NIGHT):
        lake.table("clean").replace_partition(key, pa.table({"row_id": [0]}))
    for name in pipeline.references:
        lake.table(name).replace_all(pa.table({"tailnum": ["N1"]}))
    operator = PlanOperator(task_id="plan", pipeline=pipeline)
    context: Any = {"dag_run": SimpleNamespace(partition_key=NIGHT), "params": {"tune": "no"}}
    return operator.execute(context)


def test_a_plan_leaves_a_view_of_its_splits(
    planned: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", "flight_delays", NIGHT, "--json"]) == 0
    index = json.loads(capsys.readouterr().out)
    seen = {name: part["days"] for name, part in index["splits"].items()}
    assert seen == {
        "train": planned["splits"]["train"],
        "validation": planned["splits"]["validation"],
        "test": planned["splits"]["holdout"],
    }
    assert index["versions"] == planned["versions"]


def test_a_view_is_shown_with_its_place(planned: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", "flight_delays", NIGHT]) == 0
    said = capsys.readouterr().out
    first = planned["splits"]["holdout"][0]
    assert f"{first}..{NIGHT}" in said
    assert f"views/{NIGHT}" in said


def test_a_night_without_a_view_says_how_it_gets_one(
    planned: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["view", "flight_delays", "2013-02-01"]) == 1
    assert "flight_delays_retrain" in capsys.readouterr().err


def test_without_a_database_there_is_no_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    assert main(["catalog", "sync", "flight_delays"]) == 2
    assert "glue_database" in capsys.readouterr().err
