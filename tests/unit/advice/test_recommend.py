"""Which service for which need: from a pipeline file, its lake, and what a person says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.advice.answer import recommend
from nightshift.advice.page import BEGIN, END, table
from nightshift.advice.rules import RULES
from nightshift.advice.services import NEEDS, WINDOW_ROWS
from nightshift.advice.situation import Seen, Situation, look_at
from nightshift.cli.main import main
from nightshift.config.loader import load_pipeline
from nightshift.config.pipeline import Pipeline
from nightshift.config.settings import PROJECT
from nightshift.lake.spend import JobCost, record
from nightshift.platforms.sagemaker.prices import read_prices
from tests.unit.validation.flights import day, lake_at

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.advice.answer import Recommendation
    from nightshift.advice.rules import Pick

SHIPPED = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml").model_dump(mode="json")
SMALL = Seen(28, 850.0, 30_000.0, {"train": 6.0, "evaluate": 4.0, "tune": 20.0, "score": 3.0})
GPU = {
    "gpus": 1,
    "spot": True,
    "max_runtime_s": 7200,
    "candidates": [{"gpus": 1, "instance_type": "ml.p3.2xlarge"}],
}
PRICES = read_prices("", "us-east-1")


def pipeline(**sections: Any) -> Pipeline:
    """The shipped pipeline, with fields of its sections changed."""
    document = {**SHIPPED}
    for name, fields in sections.items():
        is_section = isinstance(fields, dict) and isinstance(document.get(name), dict)
        document[name] = {**document[name], **fields} if is_section else fields
    return Pipeline.model_validate(document)


def of(**changes: Any) -> Recommendation:
    fields = {"pipeline": pipeline(), "prices": PRICES, "seen": SMALL, **changes}
    return recommend(Situation(**fields))


def pick(need: str, **changes: Any) -> Pick:
    return next(each.pick for each in of(**changes).advice if each.need.name == need)


@pytest.mark.parametrize(
    ("need", "changes", "option"),
    [
        ("training", {}, "local"),
        ("training", {"team": "platform"}, "training-job"),
        ("training", {"pipeline": pipeline(platform="sagemaker")}, "training-job"),
        ("training", {"pipeline": pipeline(training={"resources": GPU})}, "training-job"),
        ("training", {"pipeline": pipeline(training={"resources": {**GPU, "instances": 2}})}, "distributed"),
        ("training", {"seen": Seen(28, 850.0, 1.0, {"train": 900.0})}, "training-job"),
        ("training", {"seen": Seen(), "asked_rows": 5e7}, "training-job"),
        ("tuning", {}, "optuna"),
        ("tuning", {"pipeline": pipeline(tuning=None)}, "none"),
        ("tuning", {"seen": Seen(28, 850.0, 1.0, {"tune": 7200.0})}, "tuner"),
        ("scoring", {}, "local"),
        ("scoring", {"pipeline": pipeline(platform="sagemaker")}, "transform"),
        ("real-time", {}, "none"),
        ("real-time", {"latency_ms": 100}, "endpoint"),
        ("real-time", {"latency_ms": 10_000}, "serverless"),
        ("real-time", {"latency_ms": 600_000}, "async"),
        ("real-time", {"latency_ms": 86_400_000}, "none"),
        ("real-time", {"pipeline": pipeline(endpoint={})}, "endpoint"),
        ("features", {"asked_rows": WINDOW_ROWS / 10}, "emr"),
        ("features", {}, "duckdb"),
        ("validation", {"asked_rows": 2e8}, "glue-dq"),
        ("ingest", {"asked_rows": 1e10}, "glue"),
        ("catalog", {}, "none"),
        ("catalog", {"has_catalog": True}, "glue-athena"),
        ("orchestration", {}, "ec2"),
        ("orchestration", {"team": "platform"}, "ecs"),
        ("registry", {"team": "platform"}, "managed-mlflow"),
    ],
)  # fmt: skip
def test_the_service_follows_from_the_file_and_the_numbers(
    need: str, changes: dict[str, Any], option: str
) -> None:
    assert pick(need, **changes).option == option


@pytest.mark.parametrize("seen", [SMALL, Seen()], ids=["a lake", "no lake"])
@pytest.mark.parametrize("team", ["small", "platform"])
@pytest.mark.parametrize("file", [pipeline(), pipeline(platform="sagemaker", endpoint={}, tuning=None)])
def test_every_need_is_answered_from_its_own_table(seen: Seen, team: str, file: Pipeline) -> None:
    found = of(pipeline=file, seen=seen, team=team)
    assert [each.need for each in found.advice] == list(NEEDS)
    for each in found.to_dict()["advice"]:
        assert each["service"] != each["alternative"]
        assert all(each["why"])
    assert set(RULES) == {need.name for need in NEEDS}
    json.dumps(found.to_dict())


def test_a_measured_night_is_priced_by_what_its_jobs_took() -> None:
    found = pick("training", pipeline=pipeline(platform="sagemaker"))
    assert found.instance == "ml.m5.large"
    assert found.cost is not None
    seconds, price = 6 + 4 + 2 * 60, PRICES.types["ml.m5.large"].usd_per_hour
    assert price is not None
    assert found.cost.usd == pytest.approx(365 / 12 * seconds / 3600 * price)
    assert not found.cost.is_limit
    assert "130 s x ml.m5.large at 0.115 USD an hour" in found.cost.words


def test_what_nobody_has_measured_is_priced_at_its_limit() -> None:
    found = of(pipeline=pipeline(training={"resources": GPU}), seen=Seen())
    training = next(each.pick for each in found.advice if each.need.name == "training")
    assert training.cost is not None
    assert training.cost.is_limit
    assert "14,400 s x ml.g4dn.xlarge" in training.cost.words
    assert "when there is none, ml.p3.2xlarge (candidates)" in training.why
    assert any("at most" in line for line in found.lines())


def test_a_job_that_waits_longer_than_it_runs_is_told() -> None:
    assert (
        "platform local would be done before"
        in pick("tuning", pipeline=pipeline(platform="sagemaker")).why[-1]
    )


def test_a_budget_that_does_not_hold_names_where_to_begin() -> None:
    lines = list(of(pipeline=pipeline(endpoint={}), budget_usd=50).lines())
    assert any("costs more than the whole budget of 50 USD" in line for line in lines)
    assert lines[-1].startswith("that is more than the budget of 50.00 USD: begin with real-time")
    assert list(of(budget_usd=50).lines())[-1] == "within the budget of 50.00 USD"


def test_prices_are_told_with_their_date_their_region_and_what_they_stand_for() -> None:
    lines = list(of(prices=read_prices("", "eu-nowhere-1")).lines())
    assert any(f"prices of {PRICES.date}, us-east-1 in place of eu-nowhere-1" in line for line in lines)


def test_what_is_not_needed_is_said_with_its_reason() -> None:
    text = "\n".join(of().lines())
    assert "SageMaker Model Monitor: there is no endpoint" in text
    assert "Amazon EMR Serverless (the same expression on PySpark): a window of 29 days" in text


def test_the_lake_says_how_many_rows_and_how_long_jobs_take(tmp_path: Path) -> None:
    lake = lake_at(tmp_path, {key: day(key) for key in ("2013-01-05", "2013-01-07")})
    for number, seconds in enumerate((10.0, 30.0, 20.0)):
        record(lake, JobCost(f"j{number}", "train", "2013-01-07", seconds, seconds, 0.0, 1.8e9, "succeeded"))
    found = look_at(lake)
    assert (found.days, found.rows_per_day) == (2, (720 + 933) / 2)
    assert found.bytes_per_day > 1000
    assert found.seconds == {"train": 20.0}


def test_the_command_answers_without_a_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    asked = ["recommend", "flight_delays", "--need", "training", "--rows-per-day", "5e7", "--json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["need"] for each in found["advice"]] == ["training"]
    assert found["prices"]["date"] == PRICES.date
    assert main(["recommend"]) == 2


def test_the_page_shows_the_table_as_it_is() -> None:
    page = (PROJECT / "docs" / "aws" / "which-service.md").read_text(encoding="utf-8")
    shown = BEGIN + page.split(BEGIN)[1].split(END)[0] + END
    assert shown == table(), "write what 'nightshift recommend --table' prints between the two marks"
