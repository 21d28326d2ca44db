"""What operators tell as Airflow metrics, read from a StatsD server; docs/metrics.md names all of it."""

from __future__ import annotations

import re
from collections import defaultdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk import Asset

from nightshift.config.settings import PROJECT, Settings
from nightshift.errors import JobFailed, JobStopped
from nightshift.notifiers import metrics
from nightshift.operators import reap as reap_module
from nightshift.operators.reap import ReapOperator
from nightshift.operators.score import PublishOperator
from nightshift.operators.validate import ValidateOperator
from tests.contract.platform_contract import wait_for
from tests.fakes.statsd import listening
from tests.fakes.toy_jobs import starts
from tests.unit.validation.flights import day, lake_at, pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.statsd import StatsdListener
    from tests.unit.operators.job_bench import Bench

DAY = "2013-01-05"
JOB = ",pipeline=flight_delays,platform=local,kind=train"


@pytest.fixture
def statsd() -> Iterator[StatsdListener]:
    with listening() as listener:
        yield listener


def values(lines: list[str]) -> dict[str, str]:
    """Name with tags, and value with its type."""
    return dict(line.split(":", 1) for line in lines)


def test_a_job_is_told_with_its_end_its_time_and_its_cost(bench: Bench, statsd: StatsdListener) -> None:
    result = bench.run(deferrable=False)
    found = values(statsd.lines())
    assert found[f"nightshift.job.submitted{JOB}"] == "1|c"
    assert found[f"nightshift.job.succeeded{JOB}"] == "1|c"
    assert float(found[f"nightshift.job.seconds{JOB}"].removesuffix("|g")) == pytest.approx(
        result["seconds"], abs=0.001
    )
    assert float(found[f"nightshift.job.cost_usd{JOB}"].removesuffix("|c")) == result["cost_usd"] > 0
    assert found[f"nightshift.job.spot_saved_usd{JOB}"] in ("0|c", "0.0|c")
    assert set(found) == {f"nightshift.job.{name}{JOB}" for name in (
        "submitted", "succeeded", "seconds", "billable_seconds", "cost_usd", "spot_saved_usd",
    )}  # fmt: skip


def test_a_retry_that_adopts_the_job_does_not_tell_its_cost_again(
    bench: Bench, statsd: StatsdListener
) -> None:
    bench.run(deferrable=False)
    statsd.lines()
    bench.run(deferrable=True)
    assert values(statsd.lines()) == {f"nightshift.job.adopted{JOB}": "1|c"}


def test_a_failed_job_says_why_and_costs_its_money_too(bench: Bench, statsd: StatsdListener) -> None:
    with pytest.raises(JobFailed):
        bench.run(deferrable=False, error="no such column")
    found = values(statsd.lines())
    assert found[f"nightshift.job.failed{JOB},failure=user_code"] == "1|c"
    assert f"nightshift.job.cost_usd{JOB}" in found


def test_a_stopped_job_is_told(bench: Bench, statsd: StatsdListener) -> None:
    trigger = bench.deferred(bench.operator(deferrable=True, seconds=60))
    wait_for(lambda: starts(bench.counter))
    (job,) = bench.platform.find({})
    bench.platform.stop(job.ref, "by hand")
    with pytest.raises(JobStopped):
        bench.operator(deferrable=True).execute_complete(bench.context, bench.fired(trigger))
    assert values(statsd.lines())[f"nightshift.job.stopped{JOB}"] == "1|c"


def test_the_reaper_tells_what_it_has_stopped(
    bench: Bench, statsd: StatsdListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reap_module, "connect", lambda *_: bench.platform)
    monkeypatch.setattr(reap_module, "current_settings", lambda: Settings.from_lookup({}.get))
    bench.deferred(bench.operator(deferrable=True, seconds=60))
    ti = SimpleNamespace(get_task_states=lambda **_: {"r": {"toy": "failed"}})
    context: Any = {"ti": ti}
    ReapOperator(task_id="reap", platforms=["local"], confirm_s=0.05).execute(context)
    assert values(statsd.lines())["nightshift.orphans.stopped,pipeline=flight_delays,platform=local"] == "1|c"


def context_of(key: str) -> Any:
    run = SimpleNamespace(partition_key=key)
    event = SimpleNamespace(add_partitions=lambda partition: None)
    return {"dag_run": run, "params": {}, "ti": SimpleNamespace(run_id="r"), "outlet_events": defaultdict(
        lambda: event
    )}  # fmt: skip


def test_a_validated_and_a_published_partition_tell_their_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statsd: StatsdListener
) -> None:
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    lake = lake_at(tmp_path / "lake", {DAY: day(DAY)})
    checked = ValidateOperator(task_id="validate", pipeline=pipeline()).execute(context_of(DAY))
    clean = lake.table("clean")
    ids = clean.read([DAY], columns=["row_id"])["row_id"]
    folder = tmp_path / "scored" / "predictions" / DAY
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"row_id": ids, "prediction": pa.repeat(0.5, len(ids))}), folder / "a.parquet")
    scored = {"output_uri": (tmp_path / "scored").as_uri(), "model_name": "m", "model_version": "1"}
    scored |= {"clean_version": clean.version()}
    publish = PublishOperator(task_id="publish", pipeline=pipeline(), scored=scored, asset=Asset("p"))
    publish.execute(context_of(DAY))
    of = ",pipeline=flight_delays"
    assert values(statsd.lines()) == {
        f"nightshift.partitions.clean{of}": f"{checked['rows']['clean']}|g",
        f"nightshift.partitions.quarantined{of}": f"{checked['rows']['quarantined']}|g",
        f"nightshift.predictions.rows{of}": f"{len(ids)}|g",
    }


def test_a_metric_that_cannot_be_told_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.observability import stats

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no such backend")

    monkeypatch.setattr(stats, "incr", broken)
    metrics.gate_decided("flight_delays", "hold")


def test_the_page_about_metrics_names_them_all() -> None:
    page = (PROJECT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(nightshift\.[a-z_.]+)`", page)) == set(metrics.NAMES)
