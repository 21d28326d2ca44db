"""The plan: every partition in exactly one class, nothing twice, and what each choice means."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from nightshift.backfill.outcome import settle
from nightshift.backfill.pace import GUESS_S, Pace
from nightshift.backfill.plan import Plan, Request, chunk_label, in_chunk, make_plan, plan_id
from nightshift.backfill.state import Mark, Marks, State
from nightshift.backfill.steps import NEEDS, REPROCESS, STEPS
from nightshift.backfill.table import outcome_lines, plan_lines
from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT
from nightshift.errors import ConfigError, NightshiftError, PartitionKeyError

PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
PACE = {step: Pace(seconds, 0.0, 0) for step, seconds in GUESS_S.items()}


def planned(request: Request, marks: Marks, **options: Any) -> Plan:
    return make_plan("id", request, marks, PACE, pipeline="flight_delays", run="r", **options)


def marks_of(partitions: list[str], **states: str) -> Marks:
    """``ingest="pmf"`` : the state of each partition by its letter; a step not named is present."""
    letters = {"p": State.PRESENT, "m": State.MISSING, "f": State.FAILED}
    return {
        step: {
            key: Mark(letters[letter], "" if letter == "p" else "why")
            for key, letter in zip(partitions, states.get(step, "p" * len(partitions)), strict=True)
        }
        for step in STEPS
    }


THREE = ["2013-01-01", "2013-01-02", "2013-01-03"]
CASES = [
    (steps, reprocess)
    for count in range(1, len(STEPS) + 1)
    for steps in itertools.combinations(STEPS, count)
    for reprocess in REPROCESS
]


@pytest.mark.parametrize(("steps", "reprocess"), CASES, ids=lambda case: str(case))
def test_every_partition_is_in_one_class_and_in_at_most_one_chunk(
    steps: tuple[str, ...], reprocess: str
) -> None:
    chance = random.Random(f"{steps}{reprocess}")
    request = Request("2013-01-01", "2013-03-31", steps, reprocess, chunk_size=7)
    every = request.partitions
    marks = marks_of(every, **{step: "".join(chance.choices("pmf", k=len(every))) for step in STEPS})
    plan = planned(request, marks)
    for name, step in plan.steps.items():
        assert sum(step.count(state) for state in State) == len(every)
        in_chunks = [key for chunk in step.chunks for key in chunk]
        assert in_chunks == list(step.work) == sorted(set(step.work))
        assert all(len(chunk) <= step.chunk_size for chunk in step.chunks)
        assert not set(step.work) & set(step.impossible)
        assert [key for chunk in step.chunks for key in in_chunk(step.work, chunk_label(chunk))] == in_chunks
        for key in step.work:  # what it works on is there, or made before it
            needed = NEEDS.get(name)
            made = needed in plan.steps and key in plan.steps[needed].work
            assert needed is None or made or marks[needed][key].state is State.PRESENT
        assert plan.marks()[name] == {
            key: mark if mark.state is State.FAILED else Mark(mark.state) for key, mark in marks[name].items()
        }
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.parametrize(
    ("reprocess", "expected"),
    [
        ("missing", ["2013-01-02", "2013-01-03"]),
        ("failed", ["2013-01-03"]),
        ("all", THREE),
    ],
)
def test_what_is_reprocessed(reprocess: str, expected: list[str]) -> None:
    request = Request("2013-01-01", "2013-01-03", ("ingest",), reprocess)
    plan = planned(request, marks_of(request.partitions, ingest="pmf"))
    assert list(plan.steps["ingest"].work) == expected


def test_what_is_ingested_again_is_validated_and_scored_again_but_not_retrained() -> None:
    request = Request("2013-01-01", "2013-01-03", STEPS)
    plan = planned(request, marks_of(request.partitions, ingest="pfp"))
    assert {name: step.work for name, step in plan.steps.items()} == {
        "ingest": ("2013-01-02",),
        "validate": ("2013-01-02",),
        "retrain": (),
        "score": ("2013-01-02",),
    }


def test_the_source_of_a_blocked_partition_is_read_again_for_it_may_be_corrected() -> None:
    request = Request("2013-01-01", "2013-01-03")
    plan = planned(request, marks_of(request.partitions, validate="pfm"))
    assert plan.steps["ingest"].work == ("2013-01-02",)
    assert plan.steps["validate"].work == ("2013-01-02", "2013-01-03")
    alone = Request("2013-01-01", "2013-01-03", ("ingest",))
    assert planned(alone, marks_of(request.partitions, validate="pfm")).is_empty


def test_a_step_without_the_one_before_it_says_what_to_choose() -> None:
    request = Request("2013-01-01", "2013-01-02", ("validate", "score"))
    plan = planned(request, marks_of(request.partitions, ingest="mp", validate="mm", score="mm"))
    assert plan.steps["validate"].work == ("2013-01-02",)
    for step in plan.steps.values():
        assert step.impossible == {"2013-01-01": "ingest is missing (why): choose that step too"}


def test_more_chunks_than_airflow_takes_become_larger_chunks() -> None:
    request = Request("2013-01-01", "2013-12-31", ("ingest",), chunk_size=1)
    plan = planned(request, marks_of(request.partitions, ingest="m" * 365), most_chunks=100)
    assert len(plan.steps["ingest"].chunks) == 92
    assert {len(chunk) for chunk in plan.steps["ingest"].chunks} == {4, 1}


def test_a_model_is_a_partitions_own_and_a_chunk_is_scored_in_one_job() -> None:
    request = Request("2013-01-01", "2013-01-10", ("retrain", "score"))
    plan = planned(request, marks_of(request.partitions, retrain="m" * 10, score="m" * 10))
    assert [len(step.chunks) for step in plan.steps.values()] == [10, 1]


def test_a_model_needs_a_whole_window_and_earlier_partitions_are_left_out_with_a_word() -> None:
    form = {"from": "2013-01-01", "to": "2013-02-01", "steps": ["retrain"]}
    request = Request.of(PIPELINE, form)
    first = PIPELINE.training.window.days
    assert request.models_from == f"2013-01-{first:02d}"
    plan = planned(request, marks_of(request.partitions, retrain="m" * 32))
    assert plan.steps["retrain"].work == tuple(request.partitions[first - 1 :])
    assert plan.steps["retrain"].impossible == {}
    assert any(f"retrain begins with {request.models_from}" in line for line in plan_lines(plan))


def test_three_years_in_the_usual_chunks_are_handed_over_in_under_4_kb() -> None:
    request = Request("2013-01-01", "2015-12-31", ("ingest",))
    plan = planned(request, marks_of(request.partitions, ingest="m" * 1095))
    assert len(json.dumps([chunk_label(chunk) for chunk in plan.steps["ingest"].chunks])) < 4096


def test_the_estimate_counts_the_slots_and_the_tasks() -> None:
    request = Request("2013-01-01", "2013-03-01", ("ingest",), chunk_size=30)
    pace = {"ingest": Pace(seconds=2.0, usd=0.5, measured=20)}
    plan = make_plan("id", request, marks_of(request.partitions, ingest="m" * 60), pace, pipeline="p")
    assert plan.steps["ingest"].seconds == 30 * 2.0 + 2.0  # two chunks, side by side
    assert plan.usd == 30.0


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"from": "2012-12-31"}, PartitionKeyError, "is not a partition of flight_delays"),
        ({"from": "2013-01-09"}, PartitionKeyError, "swap the two ends"),
        ({"to": "5 Jan"}, PartitionKeyError, "is not a day"),
        ({"to": None}, ConfigError, "'to' is not given"),
        ({"steps": []}, ConfigError, "no step is chosen"),
        ({"steps": ["ingest", "tune"]}, ConfigError, "no step 'tune'"),
        ({"reprocess": "some"}, ConfigError, "choose one of: missing, failed, all"),
        ({"chunk_size": 0}, ConfigError, "give chunk_size as 1 or more"),
    ],
    ids=lambda case: str(case) if isinstance(case, dict) else "",
)
def test_a_form_that_cannot_be_done_says_what_to_write(
    changes: dict[str, Any], error: type[NightshiftError], words: str
) -> None:
    form = {"from": "2013-01-05", "to": "2013-01-08", "steps": ["ingest"], **changes}
    with pytest.raises(error, match=words):
        Request.of(PIPELINE, form)


def test_the_steps_are_taken_in_their_own_order() -> None:
    form = {"from": "2013-01-05", "to": "2013-01-08", "steps": ["score", "validate"]}
    assert Request.of(PIPELINE, form).steps == ("validate", "score")


def test_a_run_has_one_plan_and_another_run_another() -> None:
    request = Request("2013-01-05", "2013-01-08")
    assert plan_id(request, "d", "r1") == plan_id(request, "d", "r1") != plan_id(request, "d", "r2")
    assert plan_id(request, "d", "r1").startswith("2013-01-05_2013-01-08_")


def test_the_outcome_names_what_is_left_and_the_newest_that_was_made_good() -> None:
    request = Request("2013-01-01", "2013-01-04")
    every = request.partitions
    plan = planned(request, marks_of(every, ingest="mmmm", validate="mmmm"))
    outcome = settle(plan, marks_of(every, ingest="ppfp", validate="ppmm"), {})
    assert outcome.newest("validate") == "2013-01-02"
    assert outcome.newest("score") is None
    assert outcome.left == {"2013-01-03": "ingest: why", "2013-01-04": "validate: why"}
    assert any("2013-01-03" in line for line in outcome_lines(plan, outcome))


def test_what_was_there_before_is_done_again_only_where_its_chunk_says_so() -> None:
    request = Request("2013-01-01", "2013-01-02", ("validate",), "all")
    every = request.partitions
    plan = planned(request, marks_of(every))
    outcome = settle(plan, marks_of(every), {"validate": {every[0]: {"seconds": 1.5}}})
    step = outcome.steps["validate"]
    assert (step.done, step.seconds) == ((every[0],), 1.5)
    assert outcome.left == {every[1]: "validate: was not reached: its chunk did not end"}


def test_the_table_says_what_the_estimate_is_made_of() -> None:
    request = Request("2013-01-01", "2013-01-03")
    lines = plan_lines(planned(request, marks_of(request.partitions, ingest="pmf", validate="pmm")))
    assert lines[0] == "flight_delays 2013-01-01..2013-01-03: 3 partitions; to do: what is missing or failed"
    assert lines[2].split() == ["ingest", "1", "1", "1", "2", "0", "1", "3", "s", "$0.00"]
    assert any("a guess, nothing was measured yet" in line for line in lines)
    assert "  2013-01-03  why" in lines
