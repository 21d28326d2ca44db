"""Searches: our words to SageMaker's tuner, and its trials back."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from nightshift.errors import JobFailed
from nightshift.platforms.sagemaker.config import SageMakerConfig
from nightshift.platforms.sagemaker.logs import chunk
from nightshift.platforms.sagemaker.metrics import definitions
from nightshift.platforms.sagemaker.tuning import (
    parameter_ranges,
    progress,
    results,
    search_space_id,
    trials,
)

CONFIG = SageMakerConfig(
    role_arn="arn:aws:iam::123456789012:role/x", jobs_uri="s3://jobs", image="nightshift:1"
)
SPACE: dict[str, dict[str, Any]] = {
    "rate": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
    "leaves": {"type": "int", "low": 4, "high": 64, "log": False},
    "loss": {"type": "categorical", "choices": ["log", True, 3, 0.5, None]},
}
TUNING = {"search_space": SPACE, "metric": "average_precision", "trials": 4, "parallelism": 2}


def trial(number: int, value: float | None, status: str = "Completed", **more: Any) -> dict[str, Any]:
    start = datetime(2026, 1, 1, second=number, tzinfo=UTC)
    found = {
        "TrainingJobName": f"search-{number}",
        "TrainingJobStatus": status,
        "CreationTime": start,
        "TrainingStartTime": start,
        "TrainingEndTime": start.replace(minute=1),
        "TunedHyperParameters": {"rate": "0.0123", "leaves": "17", "loss": "log"},
        **more,
    }
    if value is not None:
        told = {"MetricName": "validation_average_precision", "Value": value}
        found["FinalHyperParameterTuningJobObjectiveMetric"] = told
    return found


@pytest.mark.parametrize("choice", SPACE["loss"]["choices"], ids=repr)
def test_a_choice_comes_back_as_what_it_was(choice: object) -> None:
    texts = parameter_ranges(SPACE)["CategoricalParameterRanges"][0]["Values"]
    text = texts[SPACE["loss"]["choices"].index(choice)]
    (found,) = trials([trial(0, 0.5, TunedHyperParameters={"loss": text})], TUNING)
    assert found["params"] == {"loss": choice}
    assert type(found["params"]["loss"]) is type(choice)


def test_numbers_get_their_types_back_however_they_are_written() -> None:
    (found,) = trials([trial(0, 0.5, TunedHyperParameters={"rate": "1e-2", "leaves": "17.0"})], TUNING)
    assert found["params"] == {"rate": 0.01, "leaves": 17}
    assert type(found["params"]["leaves"]) is int


def test_a_range_of_one_value_is_a_category() -> None:
    ranges = parameter_ranges({"leaves": {"type": "int", "low": 4, "high": 4, "log": True}})
    assert ranges == {"CategoricalParameterRanges": [{"Name": "leaves", "Values": ["4"]}]}


def test_the_best_is_the_best_that_completed() -> None:
    found = [
        trial(0, 0.5),
        trial(1, 0.7),
        trial(2, 0.9, "Stopped"),
        trial(3, None, "Failed", FailureReason="AlgorithmError: no"),
        trial(4, None, "InProgress"),
    ]
    files = results(found, TUNING, 60.0, {})
    assert (files["best.json"]["number"], files["best.json"]["value"]) == (1, 0.7)
    assert [each["state"] for each in files["trials.json"]] == ["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]
    assert files["trials.json"][3]["error"] == "AlgorithmError: no"
    assert files["metrics.json"] == {
        "trials": 4,
        "seconds": 60.0,
        "best_validation_average_precision": 0.7,
        "trials_complete": 2,
        "trials_pruned": 1,
        "trials_fail": 1,
    }


def test_a_metric_of_which_less_is_better_is_minimised() -> None:
    files = results([trial(0, 0.5), trial(1, 0.7)], {**TUNING, "metric": "log_loss"}, 1.0, {})
    assert files["best.json"]["number"] == 0


def test_what_a_trial_left_is_more_exact_than_what_sagemaker_tells() -> None:
    told = {"search-0": {"value": 0.123456789, "seconds": 3.5, "intermediate": [[1, 0.1]], "params": {}}}
    (found,) = results([trial(0, 0.123457)], TUNING, 1.0, told)["trials.json"]
    assert (found["value"], found["seconds"], found["intermediate"]) == (0.123456789, 3.5, [[1, 0.1]])


@pytest.mark.parametrize("value", [None, float("nan")], ids=["none", "nan"])
def test_a_trial_without_a_number_has_failed(value: float | None) -> None:
    with pytest.raises(JobFailed, match="none of 1 trials"):
        results([trial(0, value)], TUNING, 1.0, {})


def test_the_log_of_a_search_is_a_line_for_each_trial_in_the_order_of_their_ends() -> None:
    late = trial(0, 0.5, TrainingEndTime=datetime(2026, 1, 1, minute=9, tzinfo=UTC))
    first = chunk(progress([late | {"TrainingJobStatus": "InProgress"}, trial(1, 0.7)], TUNING), 0)
    assert first.lines == (
        "trial 1/4 (number 1) complete value=0.7000 best=0.7000 60.0 s rate=0.0123 leaves=17 loss=log",
    )
    rest = chunk(progress([late, trial(1, 0.7)], TUNING), first.position)
    assert rest.lines[0].startswith("trial 2/4 (number 0) complete value=0.5000 best=0.7000")


def test_searches_over_the_same_space_know_each_other() -> None:
    one = {"model": "m", "tuning": TUNING}
    same = search_space_id(CONFIG, one)
    assert same == search_space_id(CONFIG, {**one, "tuning": {**TUNING, "trials": 99}})
    assert same != search_space_id(CONFIG, {**one, "tuning": {**TUNING, "metric": "roc_auc"}})
    for change in ({"script_mode": True}, {"image": "nightshift:2"}):
        assert same != search_space_id(CONFIG.model_copy(update=change), one)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("roc_auc=0.75 step=3", "0.75"),
        ("roc_auc=-1.5e-05", "-1.5e-05"),
        ("roc_auc=1e+16", "1e+16"),
        ("roc_auc=-inf", None),
        ("roc_auc=inf", None),
        ("roc_auc=nan", None),
    ],
)
def test_a_number_in_a_metric_line_is_read_whole_and_nothing_else_is(line: str, value: str | None) -> None:
    (definition,) = definitions("trial", {"metric": "roc_auc"})
    found = re.search(definition["Regex"], f"[metric] validation_{line}")
    assert (found and found[1]) == value
