"""The search: what comes next, what is kept, what a killed job had begun."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from jobs.contract import BadInput, JobSpec, TuningSpec
from jobs.trials import Search
from tests.fakes.job_inputs import job_json

if TYPE_CHECKING:
    from pathlib import Path

SPACE: dict[str, Any] = {
    "learning_rate": {"type": "float", "low": 0.01, "high": 0.3, "log": True},
    "max_leaf_nodes": {"type": "int", "low": 4, "high": 31},
    "loss": {"type": "categorical", "choices": ["a", "b"]},
}
TUNING = TuningSpec(search_space=SPACE, trials=6)


def spec(**changes: Any) -> JobSpec:
    return JobSpec.from_dict(job_json("tune", **changes))


def run(search: Search, most: int = 100) -> list[dict[str, Any]]:
    """Run trials to their end, at most so many: the value is the learning rate."""
    begun = []
    while len(begun) < most and (trial := search.next()) is not None:
        begun.append(dict(trial.params))
        search.complete(trial, trial.params["learning_rate"], 0.1)
    return begun


def test_as_many_trials_run_as_were_asked(tmp_path: Path) -> None:
    search = Search(spec(), TUNING, tmp_path)
    assert len(run(search)) == 6
    assert [trial.number for trial in search.ended()] == list(range(6))
    assert search.next() is None


def test_values_lie_in_the_space(tmp_path: Path) -> None:
    for values in run(Search(spec(), TUNING, tmp_path)):
        assert 0.01 <= values["learning_rate"] <= 0.3
        assert values["max_leaf_nodes"] in range(4, 32)
        assert values["loss"] in ("a", "b")


def test_the_pipelines_own_values_are_the_first_trial(tmp_path: Path) -> None:
    own = spec(hyperparameters={"learning_rate": 0.05, "max_leaf_nodes": 99, "max_iter": 7})
    first = run(Search(own, TUNING, tmp_path), most=1)[0]
    assert first["learning_rate"] == 0.05
    assert first["max_leaf_nodes"] <= 31  # 99 lies outside the space
    assert "max_iter" not in first


def test_the_same_seed_draws_the_same_values(tmp_path: Path) -> None:
    first, again = (run(Search(spec(), TUNING, tmp_path / name)) for name in "ab")
    other = run(Search(spec(seed=2), TUNING, tmp_path / "c"))
    assert first == again != other


def test_a_resumed_search_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = run(Search(spec(), TUNING, tmp_path / "whole"))
    begun = run(Search(spec(), TUNING, tmp_path / "cut"), most=3)
    begun += run(Search(spec(), TUNING, tmp_path / "cut"))
    assert begun == whole


def test_a_trial_that_was_running_is_run_again_under_its_own_number(tmp_path: Path) -> None:
    search = Search(spec(), TUNING, tmp_path)
    run(search, most=2)
    lost = [search.next(), search.next()]
    search.report(lost[0], 10, 0.5)
    search = Search(spec(), TUNING, tmp_path)
    again = [search.next(), search.next()]
    assert [(t.number, t.params) for t in again] == [(t.number, t.params) for t in lost]
    assert not search.report(again[0], 10, 0.5)
    for trial in again:
        search.complete(trial, 0.1, 0.1)
    assert len(run(search)) == 2
    assert [(t.number, t.state) for t in search.ended()] == [(n, "COMPLETE") for n in range(6)]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(b'{"op_code":4,"worker', id="cut line"),
        pytest.param(bytes(64), id="zeros"),
        pytest.param(bytes(64) + b"\n", id="line of zeros"),
        pytest.param(b"12\n" + b'{"op_code": 99}\n', id="line that is no entry"),
    ],
)
def test_a_half_written_journal_goes_on_from_its_last_whole_entry(
    tmp_path: Path, harm: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    run(Search(spec(), TUNING, tmp_path), most=2)
    with (tmp_path / "study.journal").open("ab") as journal:
        journal.write(harm)
    search = Search(spec(), TUNING, tmp_path)
    said = capsys.readouterr().out
    assert f"its last {len(harm)} bytes are damaged or half-written and left out" in said
    assert len(search.ended()) == 2
    assert len(run(search)) == 4


@pytest.mark.parametrize("eighths", range(8))
def test_wherever_a_journal_was_cut_every_trial_is_run_once(tmp_path: Path, eighths: int) -> None:
    run(Search(spec(), TUNING, tmp_path))
    journal = tmp_path / "study.journal"
    os.truncate(journal, journal.stat().st_size * eighths // 8)
    search = Search(spec(), TUNING, tmp_path)
    run(search)
    assert [(trial.number, trial.state) for trial in search.ended()] == [(n, "COMPLETE") for n in range(6)]


def test_the_lock_of_a_dead_job_does_not_hold_up_the_next(tmp_path: Path) -> None:
    run(Search(spec(), TUNING, tmp_path), most=2)
    (tmp_path / "study.journal.lock").symlink_to(tmp_path / "study.journal")
    assert len(run(Search(spec(), TUNING, tmp_path))) == 4


def test_more_trials_may_be_asked_later(tmp_path: Path) -> None:
    run(Search(spec(), TUNING, tmp_path))
    assert len(run(Search(spec(), replace(TUNING, trials=8), tmp_path))) == 2


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"seed": 2}, id="seed"),
        pytest.param({"manifests": {"clean": {"sha256": "x"}}}, id="data"),
        pytest.param({"hyperparameters": {"max_iter": 9}}, id="hyperparameters"),
    ],
)
def test_another_question_does_not_take_over_old_trials(tmp_path: Path, changes: dict[str, Any]) -> None:
    run(Search(spec(), TUNING, tmp_path))
    assert Search(spec(**changes), TUNING, tmp_path).ended() == []


@pytest.mark.parametrize(("metric", "best"), [("average_precision", max), ("log_loss", min)])
def test_the_best_trial_has_the_best_value_in_the_metrics_direction(
    tmp_path: Path, metric: str, best: Any
) -> None:
    search = Search(spec(), replace(TUNING, metric=metric), tmp_path)
    values = [trial["learning_rate"] for trial in run(search)]
    found = search.best()
    assert found is not None
    assert found.value == best(values)


def test_a_trial_much_worse_than_the_others_is_given_up_after_some_points(tmp_path: Path) -> None:
    search = Search(spec(), replace(TUNING, trials=9), tmp_path)
    for _ in range(4):
        good = search.next()
        assert not any(search.report(good, step, 0.5) for step in range(1, 6))
        search.complete(good, 0.5, 0.1)
    bad = search.next()
    assert [search.report(bad, step, 0.1) for step in range(1, 5)] == [False, False, True, True]
    search.prune(bad, 0.1)
    assert search.ended("PRUNED")[0].value == 0.1
    patient = Search(spec(seed=3), replace(TUNING, trials=9, pruning=False), tmp_path / "patient")
    trial = patient.next()
    assert not any(patient.report(trial, step, 0.0) for step in range(9))


def test_a_value_that_is_no_number_is_a_failed_trial(tmp_path: Path) -> None:
    search = Search(spec(), TUNING, tmp_path)
    search.complete(search.next(), float("nan"), 0.1)
    assert search.ended("FAIL")[0].error == "the metric is not a number"
    assert search.best() is None


@pytest.mark.parametrize(
    ("tuning", "words"),
    [
        pytest.param({"metric": "roc_acu"}, "did you mean 'roc_auc'", id="metric"),
        pytest.param({"search_space": {"x": {"type": "flaot"}}}, "x: .*did you mean 'float'", id="type"),
        pytest.param({"search_space": {"x": {"type": "int", "low": 1}}}, "x: .*high", id="range"),
        pytest.param({"search_space": {"x": 3}}, "search_space.x: type must be", id="shape"),
    ],
)
def test_a_wrong_search_names_what_is_wrong(tmp_path: Path, tuning: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Search(spec(), replace(TUNING, **tuning), tmp_path)
