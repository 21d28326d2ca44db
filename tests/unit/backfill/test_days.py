"""Days in one process: a bad one harms no other, what is done stays done, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nightshift.backfill.days import GIVE_UP_AFTER, Shift, ingest_days
from nightshift.backfill.notes import read_failures
from nightshift.backfill.pace import read as read_pace
from nightshift.backfill.plan import Request, plan_range
from nightshift.backfill.state import State, judge, look
from nightshift.config.loader import load_pipeline
from nightshift.config.partitions import days
from nightshift.config.settings import PROJECT, Settings
from nightshift.embedded.sample_data import seed_landing
from nightshift.errors import BackfillInterrupted, CommitConflict, ConfigError, StorageUnavailable
from nightshift.hooks.storage import open_lake
from nightshift.lake.spend import JobCost, record
from nightshift.validation import run as validation_run

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.backfill.days import Day
    from nightshift.lake.tables import Lake

PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
FIVE = days("2013-01-01", "2013-01-05")
STEPS = ("ingest", "validate")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Five days have landed, nothing is in the lake."""
    seed_landing(tmp_path / "landing", FIVE[0], FIVE[-1])
    return Settings.from_lookup({"home": str(tmp_path)}.get)


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(settings, PIPELINE)


def shift(settings: Settings, **options: object) -> Shift:
    return Shift(PIPELINE, settings, **options)  # type: ignore[arg-type]


def work(settings: Settings, step: str, partitions: list[str] = FIVE, **options: object) -> list[Day]:
    return shift(settings, **options).work(step, partitions, lambda day: None)


def states(lake: Lake, step: str) -> dict[str, State]:
    marks = judge(look(lake, FIVE, STEPS), FIVE, STEPS)
    return {key: mark.state for key, mark in marks[step].items()}


def planned(lake: Lake, reprocess: str = "missing") -> dict[str, list[str]]:
    request = Request(FIVE[0], FIVE[-1], STEPS, reprocess)
    plan = plan_range(lake, request, name="id", pipeline=PIPELINE.pipeline)
    return {name: list(step.work) for name, step in plan.steps.items()}


def truncate(settings: Settings, day: str) -> bytes:
    """Empty the landed file of a day; gives what it held."""
    file = settings.home / "landing" / "flights" / f"dt={day}" / "flights.csv"
    held = file.read_bytes()
    file.write_bytes(b"")
    return held


def restore(settings: Settings, day: str, held: bytes) -> None:
    (settings.home / "landing" / "flights" / f"dt={day}" / "flights.csv").write_bytes(held)


def test_the_steps_of_a_range_leave_what_one_day_after_the_other_leaves(
    settings: Settings, lake: Lake, tmp_path: Path
) -> None:
    ingested = work(settings, "ingest")
    validated = work(settings, "validate")
    assert [day.status for day in ingested] == ["ingested"] * 5
    assert set(states(lake, "validate").values()) == {State.PRESENT}

    other = Settings.from_lookup({"home": str(tmp_path / "other"), "landing_uri": settings.landing_uri}.get)
    each = ingest_days(PIPELINE, FIVE, other)
    counts = [(day.status, day.ingested, day.clean, day.quarantined) for day in each]
    assert counts == [(day.status, day.ingested, day.clean, day.quarantined) for day in validated]
    for name in ("raw", "clean", "quarantine"):
        assert lake.table(name).read(FIVE).equals(open_lake(other, PIPELINE).table(name).read(FIVE))


def test_a_bad_partition_in_the_middle_is_noted_and_a_rerun_does_only_it(
    settings: Settings, lake: Lake
) -> None:
    held = truncate(settings, FIVE[2])
    first = work(settings, "ingest")
    assert [day.is_good for day in first] == [True, True, False, True, True]
    second = work(settings, "validate")
    assert [day.is_good for day in second] == [True, True, False, True, True]
    assert second[2].reason.startswith("not validated, for it is not ingested: PartitionCorrupt")
    (note,) = read_failures(lake, STEPS, FIVE).values()
    assert note.error.startswith("PartitionCorrupt")
    assert planned(lake) == {"ingest": [FIVE[2]], "validate": [FIVE[2]]}
    assert planned(lake, "failed") == {"ingest": [FIVE[2]], "validate": [FIVE[2]]}

    restore(settings, FIVE[2], held)
    before = lake.table("raw").partitions()
    for step in STEPS:
        (day,) = work(settings, step, planned(lake)[step])
        assert day.is_good
    after = lake.table("raw").partitions()
    assert {key for key in after if after[key] != before.get(key)} == {FIVE[2]}
    assert planned(lake) == {"ingest": [], "validate": []}
    assert read_failures(lake, STEPS, FIVE) == {}


def test_a_blocked_partition_is_failed_until_its_source_is_corrected(settings: Settings, lake: Lake) -> None:
    file = settings.home / "landing" / "flights" / f"dt={FIVE[1]}" / "flights.csv"
    good = file.read_text()
    header, *lines = good.splitlines(keepends=True)
    file.write_text(header + "".join(line.replace(",EWR,", ",XXX,") for line in lines))
    found = ingest_days(PIPELINE, FIVE[:2], settings)
    assert [day.status for day in found] == ["warned", "blocked"]
    (note,) = read_failures(lake, STEPS, FIVE).values()
    assert note.error.startswith("blocked: ")

    file.write_text(good)
    assert [day.status for day in ingest_days(PIPELINE, FIVE[:2], settings)] == ["warned", "warned"]
    assert read_failures(lake, STEPS, FIVE) == {}


def test_clean_rows_that_were_lost_are_made_again_though_a_verdict_is_remembered(
    settings: Settings, lake: Lake
) -> None:
    (day,) = ingest_days(PIPELINE, FIVE[:1], settings)
    table = lake.table("clean")
    table.replace_partition(FIVE[0], table.read([FIVE[0]]).drop_columns(["partition"]).slice(0, 0))
    (again,) = ingest_days(PIPELINE, FIVE[:1], settings)
    assert not again.kept
    assert table.partitions()[FIVE[0]].rows == day.clean


def test_everything_again_is_done_once_in_a_run(settings: Settings) -> None:
    work(settings, "ingest", FIVE[:2])
    work(settings, "validate", FIVE[:2], run="a", force=True)
    assert [day.kept for day in work(settings, "validate", FIVE[:3], run="a", force=True)][:2] == [True, True]
    assert [day.kept for day in work(settings, "validate", FIVE[:2], run="b", force=True)] == [False, False]
    assert [day.kept for day in work(settings, "validate", FIVE[:2], run="c")] == [True, True]


@pytest.mark.parametrize("step", STEPS)
def test_killed_in_the_middle_nothing_is_lost_and_nothing_is_there_twice(
    settings: Settings, lake: Lake, step: str
) -> None:
    if step == "validate":
        work(settings, "ingest")
    killed_after(2, settings, step)
    table = {"ingest": "raw", "validate": "clean"}[step]
    before = lake.table(table).partitions()
    assert 2 <= len(before) < 5
    work(settings, step, planned(lake)[step])
    after = lake.table(table).partitions()
    assert {key: after[key] for key in before} == before  # untouched, to the file
    landed = [
        (settings.home / "landing" / "flights" / f"dt={key}" / "flights.csv").read_bytes().count(b"\n") - 1
        for key in FIVE
    ]
    raw = lake.table("raw").partitions()
    assert [raw[key].rows for key in FIVE] == landed
    assert set(states(lake, step).values()) == {State.PRESENT}


PROGRAM = """
import sys
from nightshift.backfill.days import Shift
from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT, Settings
settings = Settings.from_lookup({"home": sys.argv[1]}.get)
pipeline = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
Shift(pipeline, settings).work(sys.argv[2], sys.argv[3].split(","), lambda day: print("DONE", flush=True))
"""


def killed_after(count: int, settings: Settings, step: str) -> None:
    """A process that works on all five days, killed when ``count`` of them are done."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "plugins")}
    command = [sys.executable, "-c", PROGRAM, str(settings.home), step, ",".join(FIVE)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        count -= line.startswith("DONE")
        if not count:
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL


def test_asked_to_stop_it_ends_between_two_partitions(settings: Settings, lake: Lake) -> None:
    done: list[Day] = []
    stopping = shift(settings, stop=lambda: len(done) == 2)
    with pytest.raises(BackfillInterrupted, match="stopped after 2 of 5"):
        stopping.work("ingest", FIVE, done.append)
    assert list(lake.table("raw").partitions()) == FIVE[:2]


@pytest.mark.parametrize("error", [StorageUnavailable("down"), ConfigError("denied")], ids=lambda e: str(e))
def test_trouble_that_is_not_the_partitions_own_ends_the_chunk_early(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tried: list[str] = []

    def down(pipeline: object, partition: str, **rest: object) -> None:
        tried.append(partition)
        raise error

    work(settings, "ingest")
    monkeypatch.setattr(validation_run, "validate_partition", down)
    with pytest.raises(type(error), match=str(error)):
        work(settings, "validate")
    assert len(tried) == GIVE_UP_AFTER


def test_a_lost_commit_is_for_a_retry_when_the_others_are_done(
    settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = validation_run.validate_partition

    def loses(pipeline: object, partition: str, **rest: object) -> object:
        if partition == FIVE[1]:
            raise CommitConflict("lost")
        return real(pipeline, partition, **rest)  # type: ignore[arg-type]

    work(settings, "ingest")
    with monkeypatch.context() as patch:
        patch.setattr(validation_run, "validate_partition", loses)
        with pytest.raises(CommitConflict):
            work(settings, "validate")
    assert [key for key, state in states(lake, "validate").items() if state is not State.PRESENT] == [FIVE[1]]
    assert [day.kept for day in work(settings, "validate")] == [True, False, True, True, True]


def test_an_unexpected_error_is_one_partitions_own(
    settings: Settings, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = validation_run.validate_partition

    def breaks(pipeline: object, partition: str, **rest: object) -> object:
        if partition == FIVE[1]:
            raise KeyError("oops")
        return real(pipeline, partition, **rest)  # type: ignore[arg-type]

    work(settings, "ingest")
    monkeypatch.setattr(validation_run, "validate_partition", breaks)
    assert [day.is_good for day in work(settings, "validate")] == [True, False, True, True, True]
    assert [note.error for note in read_failures(lake, STEPS, FIVE).values()] == ["KeyError: 'oops'"]


def test_the_pace_is_what_was_measured(settings: Settings, lake: Lake) -> None:
    assert read_pace(lake, ["ingest"])["ingest"].measured == 0
    work(settings, "ingest")
    assert read_pace(lake, ["ingest"])["ingest"].measured == 5
    work(settings, "ingest")  # nothing has changed, nothing is learned
    assert read_pace(lake, ["ingest"])["ingest"].measured == 5


def test_the_pace_of_jobs_is_what_the_last_ones_took_and_cost(lake: Lake) -> None:
    assert read_pace(lake, ["score", "retrain"])["score"].measured == 0
    for number, (kind, partition, seconds) in enumerate(
        [("score", "2013-01-01..2013-01-10", 40.0), ("score", "2013-01-11", 4.0), ("train", FIVE[0], 60.0)]
    ):
        record(lake, JobCost(f"j{number}", kind, partition, seconds, seconds, 0.5, 1e9, "succeeded"))
    found = read_pace(lake, ["score", "retrain"])
    assert (found["score"].seconds, found["score"].measured) == (4.0, 2)
    assert found["retrain"].measured == 0  # no evaluation has run yet
