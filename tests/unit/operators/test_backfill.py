"""A backfill's tasks on a real lake: planned first, a bad day harms no other, a rerun does what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException

from nightshift.config.loader import load_pipeline
from nightshift.config.partitions import days
from nightshift.config.settings import PROJECT, Settings
from nightshift.embedded.sample_data import seed_landing
from nightshift.errors import BackfillFailed, BackfillInterrupted, PartitionKeyError
from nightshift.hooks.storage import open_lake
from nightshift.operators import backfill as module
from nightshift.operators import base
from nightshift.operators.backfill import (
    AnnounceBackfillOperator,
    BackfillPlanOperator,
    BackfillReportOperator,
    ChunkOperator,
    CutOperator,
)

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.lake.tables import Lake
    from nightshift.notifiers.messages import Message

PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
SIX = days("2013-01-01", "2013-01-06")
CLEAN = Asset(name="flight_delays_clean", uri="x-nightshift://flight_delays/clean")


class OutletEvents(defaultdict[Any, Any]):
    def __init__(self) -> None:
        super().__init__(lambda: SimpleNamespace(add_partitions=self.told.append))
        self.told: list[str] = []


@dataclass
class Run:
    """One DAG run of the backfill, its tasks called one after the other as the scheduler would."""

    form: dict[str, Any]
    run_id: str = "manual__1"
    pushed: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def context(self, task: str) -> Any:
        ti = SimpleNamespace(
            dag_id="flight_delays_backfill",
            run_id=self.run_id,
            task_id=task,
            try_number=1,
            map_index=-1,
            xcom_push=lambda key, value: self.pushed.update({key: value}),
            xcom_pull=lambda task_ids, key: self.pushed.get(key),
        )
        run = SimpleNamespace(partition_key=None, clear_number=0)
        return {"ti": ti, "params": self.form, "dag_run": run, "outlet_events": OutletEvents()}

    def plan(self) -> dict[str, Any]:
        operator = BackfillPlanOperator(task_id="plan", pipeline=PIPELINE)
        self.results["plan"] = operator.execute(self.context("plan"))
        found: dict[str, Any] = self.results["plan"]
        return found

    def cut(self, step: str) -> list[str]:
        operator = CutOperator(task_id="cut", pipeline=PIPELINE, step=step, plan=self.results["plan"])
        return operator.execute(self.context("cut"))

    def chunk(self, step: str, label: str) -> ChunkOperator:
        return ChunkOperator(
            task_id="days", pipeline=PIPELINE, step=step, plan=self.results["plan"], chunk=label
        )

    def work(self, step: str) -> list[dict[str, Any]]:
        return [self.chunk(step, label).execute(self.context("days")) for label in self.cut(step)]

    def announce(self) -> str | None:
        operator = AnnounceBackfillOperator(
            task_id="announce", pipeline=PIPELINE, plan=self.results.get("plan"), assets={"validate": CLEAN}
        )
        context = self.context("announce")
        try:
            return operator.execute(context)
        except AirflowSkipException:
            assert not context["outlet_events"].told
            return None
        finally:
            self.events += context["outlet_events"].told

    def report(self, announced: str | None = None) -> dict[str, Any]:
        operator = BackfillReportOperator(
            task_id="report", pipeline=PIPELINE, plan=self.results.get("plan"), announced=announced
        )
        return operator.execute(self.context("report"))

    def all(self) -> dict[str, Any]:
        self.plan()
        for step in ("ingest", "validate"):
            self.results[step] = self.work(step)
        return self.report(self.announce())


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    seed_landing(tmp_path / "landing", SIX[0], SIX[-1])
    found = Settings.from_lookup({"home": str(tmp_path)}.get)
    monkeypatch.setattr(base, "current_settings", lambda: found)
    return found


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return open_lake(settings, PIPELINE)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Message]]:
    found: list[tuple[str, Message]] = []
    monkeypatch.setattr(module, "tell", lambda pipeline, message, cause: found.append((cause, message)))
    return found


def form(**changes: Any) -> dict[str, Any]:
    return {"from": SIX[0], "to": SIX[-1], "steps": ["ingest", "validate"], "chunk_size": 4, **changes}


def page_of(lake: Lake, run: Run) -> str:
    return lake.read_file(f"backfills/{run.results['plan']['id']}.html").decode()


def break_day(settings: Settings, day: str) -> None:
    (settings.home / "landing" / "flights" / f"dt={day}" / "flights.csv").write_bytes(b"")


def repair_day(settings: Settings, day: str) -> None:
    (settings.home / "landing" / "flights" / f"dt={day}" / "_SUCCESS").unlink()
    seed_landing(settings.home / "landing", day, day)


def test_a_range_is_planned_done_in_chunks_and_announced_once(settings: Settings, lake: Lake) -> None:
    run = Run(form())
    found = run.all()
    assert run.results["plan"]["work"] == {"ingest": 6, "validate": 6}
    assert [each["chunk"] for each in run.results["ingest"]] == [
        "2013-01-01..2013-01-04",
        "2013-01-05..2013-01-06",
    ]
    assert found == {
        "page": run.results["plan"]["page"],
        "done": {"ingest": 6, "validate": 6},
        "not_good": 0,
        "announced": "2013-01-06 of flight_delays_clean",
    }
    assert run.events == ["2013-01-06"]
    assert list(lake.table("clean").partitions()) == SIX
    assert "Told the DAGs that wait" in page_of(lake, run)
    assert all(len(json.dumps(value)) < 4096 for value in run.results.values())


def test_the_plan_is_there_before_anything_is_done(settings: Settings, lake: Lake) -> None:
    run = Run(form())
    run.plan()
    assert page_of(lake, run).count("<title>2013-01-03 missing</title>") == 2
    assert not lake.table("raw").exists()


def test_a_bad_day_is_named_at_the_end_and_the_rerun_does_only_it(
    settings: Settings, lake: Lake, told: list[tuple[str, Message]]
) -> None:
    break_day(settings, SIX[2])
    run = Run(form())
    with pytest.raises(BackfillFailed, match=r"1 of the 6 partitions .* 2013-01-03 ingest: PartitionCorrupt"):
        run.all()
    assert [each["failed_total"] for each in run.results["ingest"]] == [1, 0]
    assert run.events == ["2013-01-06"]
    assert run.pushed["return_value"]["not_good"] == 1
    assert list(lake.table("clean").partitions()) == [day for day in SIX if day != SIX[2]]
    ((cause, message),) = told
    assert cause == "failed:flight_delays_backfill:manual__1:report:0"
    assert "5 done, 1 failed" in message.body
    assert "PartitionCorrupt" in page_of(lake, run)

    repair_day(settings, SIX[2])
    before = lake.table("clean").partitions()
    again = Run(form(), run_id="manual__2")
    assert again.all()["done"] == {"ingest": 1, "validate": 1}
    assert again.cut("ingest") == [SIX[2]]
    assert again.events == [SIX[2]]
    after = lake.table("clean").partitions()
    assert {day for day in SIX if after[day] != before.get(day)} == {SIX[2]}


def test_when_all_is_there_nothing_is_done_and_nobody_is_told(settings: Settings) -> None:
    Run(form()).all()
    again = Run(form(), run_id="manual__2")
    assert again.all()["done"] == {"ingest": 0, "validate": 0}
    assert again.cut("validate") == []
    assert again.events == []


def test_everything_again_is_done_again(settings: Settings) -> None:
    Run(form()).all()
    again = Run(form(reprocess="all"), run_id="manual__2")
    assert again.all()["done"] == {"ingest": 6, "validate": 6}
    assert [each["kept"] for each in again.results["validate"]] == [0, 0]
    assert again.chunk("validate", f"{SIX[0]}..{SIX[3]}").execute(again.context("days"))["kept"] == 4


def test_a_dry_run_plans_and_does_nothing(settings: Settings, lake: Lake) -> None:
    run = Run(form(dry_run=True))
    assert run.all()["done"] == {}
    assert run.results["plan"]["work"] == {"ingest": 6, "validate": 6}
    assert run.cut("ingest") == []
    assert run.events == []
    assert "A dry run: nothing was done" in page_of(lake, run)
    assert not lake.table("raw").exists()


def test_nobody_is_told_where_the_form_says_so(settings: Settings) -> None:
    run = Run(form(announce=False))
    assert run.all()["announced"] is None
    assert run.events == []


def test_a_step_without_its_rows_is_red_and_says_what_to_choose(
    settings: Settings, told: list[tuple[str, Message]]
) -> None:
    run = Run(form(steps=["validate"]))
    with pytest.raises(BackfillFailed, match=r"ingest is missing .*: choose that step too"):
        run.all()
    assert run.cut("validate") == []


def test_a_form_that_cannot_be_done_is_told_by_the_report(settings: Settings) -> None:
    run = Run(form(to="2014-01-06"))
    with pytest.raises(PartitionKeyError):
        run.plan()
    assert run.announce() is None
    with pytest.raises(BackfillFailed, match="was not planned: 2014-01-06 is not a partition of"):
        run.report()


def test_a_chunk_that_never_ran_is_left_and_named(
    settings: Settings, told: list[tuple[str, Message]]
) -> None:
    run = Run(form(steps=["ingest"]))
    run.plan()
    run.chunk("ingest", run.cut("ingest")[0]).execute(run.context("days"))
    with pytest.raises(BackfillFailed, match="2013-01-05 ingest: never ingested"):
        run.report(run.announce())
    assert run.events == []  # nobody waits for raw rows


def test_a_task_that_is_told_to_end_stops_before_the_next_partition(settings: Settings, lake: Lake) -> None:
    run = Run(form(steps=["ingest"]))
    run.plan()
    chunk = run.chunk("ingest", run.cut("ingest")[0])
    chunk.on_kill()
    with pytest.raises(BackfillInterrupted):
        chunk.execute(run.context("days"))
    assert not lake.table("raw").exists()


PROGRAM = """
import sys
from pathlib import Path
from nightshift.config.settings import Settings
from nightshift.operators import base
from tests.unit.operators.test_backfill import Run, form
from nightshift.operators.backfill import ChunkOperator
found = Settings.from_lookup({"home": sys.argv[1]}.get)
base.current_settings = lambda: found
run = Run(form())
run.plan()
chunk = run.chunk("ingest", run.cut("ingest")[0])
each = chunk._each
def loud(total):
    inner = each(total)
    def tell(day):
        inner(day)
        print("DONE", flush=True)
    return tell
chunk._each = loud
chunk.execute(run.context("days"))
"""


def test_a_killed_chunk_is_finished_by_its_retry_without_a_row_twice(settings: Settings, lake: Lake) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT / "plugins"), str(PROJECT)])}
    command = [sys.executable, "-c", PROGRAM, str(settings.home)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        done = 0
        while done < 2:
            done += process.stdout.readline().startswith("DONE")
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = lake.table("raw").partitions()
    run = Run(form())  # the same run, the same plan: a retry of its tasks
    assert run.plan()["id"] == Run(form()).plan()["id"]
    run.all()
    after = lake.table("raw").partitions()
    assert {key: after[key] for key in before} == before
    assert list(lake.table("clean").partitions()) == SIX
