"""The Amazon provider's own SageMaker operators, unchanged, beside ours on the loopback AWS.

docs/aws/stock-operators.md tells what is held here: what version 9.39.0 was seen to do, and what ours does in
the same situation. A test that fails after an update of the provider is news for that page.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.amazon.aws.hooks import sagemaker as hook_module
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from airflow.providers.common.compat.sdk import AirflowException
from airflow.sdk.exceptions import TaskDeferred
from botocore.exceptions import ClientError

from nightshift.config.settings import PROJECT, Settings
from nightshift.errors import JobStopped, JobTimedOut
from nightshift.hooks.platform import connect
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.operators import job as job_module
from nightshift.platforms.base import JobSpec, Machine
from nightshift.triggers import job as trigger_module
from tests.contract.platform_contract import wait_for
from tests.contract.stock_bench import (
    BRIEF,
    QUICK,
    FastClock,
    Stock,
    add_images,
    event_of,
    in_a_thread,
    trigger_of,
)
from tests.fakes.toy_jobs import make_toy_jobs, starts
from tests.unit.operators.job_bench import Bench, Toy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from localcloud.aws import LoopbackAws
    from nightshift.platforms.base import TaggedJob

pytestmark = pytest.mark.server


@pytest.fixture
def aws(clean_loopback_aws: LoopbackAws, monkeypatch: pytest.MonkeyPatch) -> LoopbackAws:
    for name, value in clean_loopback_aws.environment.items():
        monkeypatch.setenv(name, value)
    return clean_loopback_aws


@pytest.fixture
def stock(aws: LoopbackAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stock]:
    monkeypatch.setattr(hook_module, "time", FastClock())
    add_images(aws)
    made = Stock(aws, f"stock-{uuid.uuid4().hex[:8]}")
    yield made
    made.stop()


@pytest.fixture
def impatient(aws: LoopbackAws, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection waits two seconds for an answer, not a minute."""
    extra = {**aws.connection["extra"], "config_kwargs": {"read_timeout": 2}}
    monkeypatch.setenv("AIRFLOW_CONN_NIGHTSHIFT_AWS", json.dumps({**aws.connection, "extra": extra}))


def tuning_is_there(stock: Stock) -> bool:
    found = stock.sagemaker.list_hyper_parameter_tuning_jobs(NameContains=stock.name)
    return bool(found["HyperParameterTuningJobSummaries"])


def test_the_page_is_about_the_version_that_is_installed() -> None:
    assert version("apache-airflow-providers-amazon") == "9.39.0"


def test_stock_a_retry_starts_a_second_job_while_the_first_runs(stock: Stock) -> None:
    for _ in range(2):  # the first try's worker is lost after it has deferred
        trigger_of(stock.training(deferrable=True), stock.context)
    first, second = stock.jobs()
    assert first == stock.name
    assert second.startswith(f"{stock.name}-")


def test_stock_a_clear_of_a_finished_job_runs_it_again(stock: Stock) -> None:
    for _ in range(2):
        stock.training(QUICK).execute(stock.context)
    assert len(stock.jobs("Completed")) == 2


@pytest.mark.usefixtures("impatient")
def test_stock_a_reply_that_got_lost_fails_the_task_and_leaves_its_job(stock: Stock) -> None:
    stock.aws.fault("lost_reply", operation="CreateTrainingJob")
    with pytest.raises(ClientError, match="ResourceInUse"):
        stock.training(deferrable=True).execute(stock.context)
    assert stock.jobs() == [stock.name]


def test_stock_a_killed_task_leaves_its_job_in_the_worker_and_deferred(stock: Stock) -> None:
    operator = stock.training()
    in_a_thread(lambda: operator.execute(stock.context))
    wait_for(stock.jobs)
    operator.on_kill()
    trigger = trigger_of(stock.training(deferrable=True), stock.context)
    asyncio.run(trigger.on_kill())
    assert len(stock.jobs()) == 2


def test_stock_a_task_that_waited_too_long_leaves_its_job(stock: Stock) -> None:
    with pytest.raises(AirflowException, match="took more than 1 seconds"):
        stock.training(max_ingestion_time=1).execute(stock.context)
    assert stock.jobs() == [stock.name]


def test_stock_a_deferred_task_gives_up_after_its_looks_and_leaves_its_job(stock: Stock) -> None:
    operator = stock.training(deferrable=True)
    assert operator.max_attempts == 60
    trigger = trigger_of(stock.training(deferrable=True, max_attempts=1), stock.context)
    event = event_of(trigger)
    assert event["status"] == "timeout"
    with pytest.raises(AirflowException, match="Error while running job"):
        operator.execute_complete(stock.context, event)
    assert stock.jobs() == [stock.name]


@pytest.mark.parametrize(
    ("options", "succeeds"),
    [({}, True), ({"print_log": True}, False), ({"deferrable": True}, False)],
    ids=["sync", "sync with logs", "deferred"],
)
def test_stock_a_stopped_job_is_a_success_in_the_worker_without_logs_only(
    stock: Stock, options: dict[str, Any], succeeds: bool
) -> None:
    def run() -> Any:
        try:
            return stock.training(**options).execute(stock.context)
        except TaskDeferred as deferred:
            return stock.training().execute_complete(stock.context, event_of(deferred.trigger))

    outcome = in_a_thread(run)
    wait_for(stock.jobs)
    stock.sagemaker.stop_training_job(TrainingJobName=stock.name)
    found = outcome()
    if succeeds:
        assert found["Training"]["TrainingJobStatus"] == "Stopped"
    else:
        assert isinstance(found, AirflowException)


def test_stock_no_machine_of_that_kind_fails_the_task(stock: Stock) -> None:
    stock.aws.fault("capacity", job=f"{stock.name}*")
    with pytest.raises(AirflowException, match="CapacityError"):
        stock.training().execute(stock.context)
    assert stock.jobs() == []


def test_stock_billable_seconds_are_wall_time_whatever_spot_saved(stock: Stock) -> None:
    stock.training(BRIEF, spot=True).execute(stock.context)
    told = stock.sagemaker.describe_training_job(TrainingJobName=stock.name)
    counted = SageMakerHook.count_billable_seconds(told["TrainingStartTime"], told["TrainingEndTime"], 1)
    assert counted == int((told["TrainingEndTime"] - told["TrainingStartTime"]).total_seconds()) + 1
    assert told["BillableTimeInSeconds"] < counted


def test_stock_a_tuning_that_is_tried_again_fails_on_its_own_name(stock: Stock) -> None:
    trigger_of(stock.tuning(deferrable=True), stock.context)
    with pytest.raises(ClientError, match="ResourceInUse"):
        stock.tuning(deferrable=True).execute(stock.context)
    wait_for(lambda: len(stock.trials()) == 2)  # they go on


def test_stock_a_stopped_tuning_is_a_success_in_the_worker(stock: Stock) -> None:
    outcome = in_a_thread(lambda: stock.tuning().execute(stock.context))
    wait_for(lambda: tuning_is_there(stock) and stock.trials())
    stock.stop()
    assert outcome()["Tuning"]["HyperParameterTuningJobStatus"] == "Stopped"


def test_stock_a_transform_that_is_tried_again_is_a_second_model_and_a_second_job(stock: Stock) -> None:
    for _ in range(2):
        trigger_of(stock.transform(deferrable=True), stock.context)
    assert len(stock.transforms()) == 2
    models = stock.sagemaker.list_models(NameContains=stock.name)["Models"]
    assert len(models) == 2


def test_stock_a_stopped_transform_is_a_success_in_the_worker(stock: Stock) -> None:
    outcome = in_a_thread(lambda: stock.transform().execute(stock.context))
    wait_for(stock.transforms)
    stock.stop()
    assert outcome()["Transform"]["TransformJobStatus"] == "Stopped"


@pytest.fixture
def ours(aws: LoopbackAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """One task of ours, in a deployment of its own, whose jobs are toys in the image of the loopback AWS."""
    jobs = make_toy_jobs(tmp_path / "toy")
    options = {**aws.options, "jobs_dir": str(jobs), "home": str(tmp_path / "home")}
    options |= {"sagemaker_poll_s": "0.3", "deployment": uuid.uuid4().hex}
    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__NIGHTSHIFT__{name.upper()}", value)
    lake = Lake(Location((tmp_path / "lake").as_uri()), "flight_delays")
    monkeypatch.setattr(Toy, "lake", lambda _: lake)
    monkeypatch.setattr(job_module, "settling_s", lambda: 0.0)
    platform: Any = connect("sagemaker", Settings.from_environment())
    job = {"counter": str(tmp_path / "starts"), "run": options["deployment"]}  # no other test's job
    bench = Bench(platform, JobSpec("train", job, (), code_sha256="0"), tmp_path / "starts", poll_s=None)
    yield bench
    for each in live(bench):
        platform.stop(each.ref)


def live(bench: Bench) -> list[TaggedJob]:
    """The jobs of the bench's deployment that have not ended."""
    return bench.platform.find({"deployment": bench.spec.job["run"]}, live=True)


def test_ours_a_retry_finds_the_job_that_runs_and_a_clear_the_one_that_has_ended(ours: Bench) -> None:
    ours.deferred(ours.operator(deferrable=True, seconds=1))
    for _ in range(2):
        assert ours.run(deferrable=True, seconds=1)["finished"]
    assert len(starts(ours.counter)) == 1


@pytest.mark.usefixtures("impatient")
def test_ours_a_reply_that_got_lost_is_one_job(ours: Bench, aws: LoopbackAws) -> None:
    aws.fault("lost_reply", operation="CreateTrainingJob")
    assert ours.run(deferrable=True)["finished"]
    assert len(starts(ours.counter)) == 1


def test_ours_a_killed_task_stops_its_job_in_the_worker(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "state_of", lambda ti: "failed")
    operator = ours.operator(seconds=60)
    outcome = in_a_thread(lambda: operator.execute(ours.context))
    wait_for(lambda: starts(ours.counter))
    operator.on_kill()
    assert isinstance(outcome(), JobStopped)


def test_ours_a_killed_task_stops_its_job_deferred_too(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigger_module, "state_of", lambda ti: "failed")
    trigger = ours.deferred(ours.operator(deferrable=True, seconds=60))
    wait_for(lambda: starts(ours.counter))
    asyncio.run(trigger.on_kill())
    with pytest.raises(JobStopped):
        ours.operator(deferrable=True).execute_complete(ours.context, ours.fired(trigger))


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferred"])
def test_ours_a_job_past_its_deadline_is_stopped(ours: Bench, deferrable: bool) -> None:
    ours.spec = JobSpec("train", ours.spec.job, (), "0", max_runtime_s=1, max_wait_s=1)
    with pytest.raises(JobTimedOut):
        ours.run(deferrable=deferrable, seconds=60)
    assert live(ours) == []


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferred"])
def test_ours_a_stopped_job_is_a_failure_everywhere(ours: Bench, deferrable: bool) -> None:
    outcome = in_a_thread(lambda: ours.run(deferrable=deferrable, seconds=60))
    wait_for(lambda: starts(ours.counter))
    (job,) = live(ours)
    ours.platform.stop(job.ref, "by hand")
    assert isinstance(outcome(), JobStopped)


def test_ours_no_machine_of_that_kind_asks_for_the_next(ours: Bench, aws: LoopbackAws) -> None:
    machines = (Machine(instance_type="ml.p3.2xlarge"), Machine(instance_type="ml.m5.large"))
    ours.spec = JobSpec("train", ours.spec.job, (), "0", candidates=machines)
    aws.fault("capacity", where={"ResourceConfig.InstanceType": "ml.p3.2xlarge"})
    assert ours.run(deferrable=True)["job"].endswith("-r2")
    asked = [call["parameters"]["ResourceConfig"]["InstanceType"] for call in aws.calls("CreateTrainingJob")]
    assert asked == ["ml.p3.2xlarge", "ml.m5.large"]


def test_ours_billed_seconds_are_what_sagemaker_bills_and_spot_is_told_apart(ours: Bench) -> None:
    ours.spec = JobSpec("train", ours.spec.job, (), "0", candidates=(Machine(spot=True),))
    found = ours.run(deferrable=True, seconds=3)
    (job,) = ours.platform.find({"fingerprint": found["fingerprint"]})
    result = ours.platform.result(job.ref)
    assert 0 < result.billable_seconds < result.seconds
    assert found["cost_usd"] == pytest.approx(result.cost_usd, abs=1e-6)
    assert result.saved_usd > 0


def test_the_page_names_every_test() -> None:
    page = (PROJECT / "docs" / "aws" / "stock-operators.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`(test_(?:stock|ours)_\w+)`", page))
    assert told == {name for name in globals() if name.startswith(("test_stock_", "test_ours_"))}
