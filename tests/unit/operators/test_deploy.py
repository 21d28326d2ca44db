"""The tasks of the deploy DAG, called as a worker calls them, on endpoints in memory."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from nightshift.errors import ConfigError, DeploymentFailed, TaskInterrupted
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.operators import rollout as rollout_module
from nightshift.operators import tend as tend_module
from nightshift.operators.deploy import (
    DEPLOY,
    KEEP,
    NOTHING,
    ROLL_BACK,
    PlanDeploymentOperator,
    ProbeOperator,
)
from nightshift.operators.rollout import owner_of, task_of
from nightshift.operators.tend import TendEndpointsOperator
from nightshift.platforms.endpoints import EndpointState, EndpointStatus, VariantStatus
from nightshift.platforms.rollout import go_back
from nightshift.platforms.sagemaker.tags import cleaned
from nightshift.registry.ledger import Draft, Ledger
from nightshift.triggers import endpoint as trigger_module
from nightshift.triggers.endpoint import EndpointTrigger
from tests.fakes.deploying import NAME, Deployer, Folders, pipeline_with
from tests.fakes.endpoints import FakeEndpoints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nightshift.config.pipeline import Pipeline

VERSIONS = "123"


def answered(version: str, lines: Any) -> list[str]:
    """Version 1 says 0.1 of every row, version 2 says 0.2."""
    return [
        json.dumps({"row_id": json.loads(each)["row_id"], "prediction": int(version) / 10}) for each in lines
    ]


@pytest.fixture
def there() -> FakeEndpoints:
    return FakeEndpoints(answer=answered)


@pytest.fixture
def deployer(there: FakeEndpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployer:
    """Version 1 is deployed; both models answer for an hour, when there are two."""
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    for version in VERSIONS:
        folder = tmp_path / "probes" / version
        folder.mkdir(parents=True)
        rows = [{"row": {"row_id": n}, "prediction": int(version) / 10} for n in range(3)]
        (folder / "probe.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    models = Folders(dict.fromkeys(VERSIONS, tmp_path))
    pipeline = pipeline_with(canary={"weight": 0.2, "minutes": 60})
    found = Deployer(there, pipeline, models, tmp_path / "probes", monkeypatch)
    found.deploy("1")
    there.calls.clear()
    return found


def deferred(deployer: Deployer, version: str = "2", run: int | None = None) -> EndpointTrigger:
    """The trigger of the time in which both models answer; the way there without the triggerer."""
    operator = deployer.operator(version, weight=0.2, deferrable=True)
    context = deployer.context(run)
    with pytest.raises(TaskDeferred) as parked:
        operator.execute(context)
    while not parked.value.trigger.until:
        event = {"facts": parked.value.trigger.facts}
        deployer.there.status(deployer.name)
        with pytest.raises(TaskDeferred) as parked:
            deployer.operator(version, weight=0.2, deferrable=True).execute_complete(context, event)
    trigger = parked.value.trigger
    assert isinstance(trigger, EndpointTrigger)
    trigger.task_instance = SimpleNamespace(task_id="deploy")  # type: ignore[assignment]
    return trigger


def test_a_new_model_is_checked_before_its_first_request_and_then_shares_them(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    trigger = deferred(deployer)
    assert there.calls == ["deploy 1+2", "ask 2", "shift challenger=0.2 champion=0.8"]
    assert 3590 < trigger.until - time.time() <= 3601
    assert there.state()["variants"] == {"champion": ("1", 0.8), "challenger": ("2", 0.2)}
    kind, arguments = trigger.serialize()
    assert EndpointTrigger(**json.loads(json.dumps(arguments))).serialize() == (kind, arguments)


def test_after_its_time_beside_the_old_one_it_answers_alone_and_what_is_not_needed_goes(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    trigger = deferred(deployer)
    there.note(deployer.name, since="1+2 0")
    there.calls.clear()
    operator = deployer.operator("2", weight=0.2)
    found = operator.execute_complete(deployer.context(deployer.runs), {"facts": trigger.facts})
    assert there.calls == ["deploy 2", "ask 2"]
    assert found == {
        "endpoint": deployer.name,
        "release": "2",
        "version": "2",
        "removed": 1,
        "usd_per_hour": 0.1,
    }
    assert there.state()["notes"] == {"stable": "2", "previous": "1"}
    assert sorted(there.made) == ["1", "2"]


def test_a_second_run_for_the_same_version_changes_nothing(deployer: Deployer, there: FakeEndpoints) -> None:
    assert deployer.deploy("1")["version"] == "1"
    assert [call for call in there.calls if not call.startswith("ask")] == []


def test_back_to_the_release_before_needs_no_canary(deployer: Deployer, there: FakeEndpoints) -> None:
    deployer.deploy("2")
    there.calls.clear()
    deployer.deploy("1", weight=0.2)
    assert there.calls == ["deploy 1", "ask 1"]


def test_another_answer_is_a_failure_and_the_endpoint_is_as_before(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    there.answer = lambda version, lines: answered("1", lines)
    with pytest.raises(DeploymentFailed, match=r"is as it was before: .* row 0 was answered with 0.1"):
        deployer.deploy("2", weight=0.2)
    assert there.calls == ["deploy 1+2", "ask 2", "deploy 1"]
    assert there.state() == {
        "release": "1",
        "variants": {"champion": ("1", 1.0)},
        "notes": {"stable": "1"},
    }


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "gave 0 answers to 3 rows"),
        (['{"row_id": 1, "prediction": 0.2}'] * 3, "row 0 was answered as row 1"),
        (["oops"] * 3, "row 0 was answered with 'oops'"),
        (['{"row_id": 0, "prediction": NaN}'] * 3, "row 0 was answered with nan"),
    ],
    ids=["none", "another row", "no JSON", "not a number"],
)
def test_what_is_no_answer_is_a_failure(
    deployer: Deployer, there: FakeEndpoints, lines: list[str], words: str
) -> None:
    there.answer = lambda *_: lines
    with pytest.raises(DeploymentFailed, match=words):
        deployer.deploy("2", weight=0.2)


def test_a_model_that_does_not_come_up_is_a_failure_with_the_platforms_words(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    there.bad = {"model-2"}
    with pytest.raises(DeploymentFailed, match="went back to 1: did not answer its ping"):
        deployer.deploy("2", weight=0.2)
    assert there.state()["notes"] == {"stable": "1"}


def test_a_first_deployment_that_fails_leaves_no_endpoint(deployer: Deployer, there: FakeEndpoints) -> None:
    there.delete(deployer.name)
    there.bad = {"model-1"}
    with pytest.raises(DeploymentFailed, match="did not answer its ping"):
        deployer.deploy("1")
    assert there.now is None


def test_an_endpoint_that_never_served_is_made_anew(deployer: Deployer, there: FakeEndpoints) -> None:
    there.delete(deployer.name)
    there.bad = {"model-1"}
    there.deploy(deployer.name, there.release(deployer.operator("1").spec, [*_alone("1")]), None, {})
    for _ in range(3):
        there.status(deployer.name)
    there.bad, there.calls = set(), []
    assert deployer.deploy("1")["version"] == "1"
    assert there.calls == ["delete", "deploy 1", "ask 1"]


def _alone(version: str) -> Any:
    from nightshift.platforms.endpoints import Variant

    return [Variant("champion", f"model-{version}", 1.0)]


def test_an_endpoint_that_is_throttled_for_a_while_is_asked_again(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    there.down = 2
    assert deployer.deploy("2")["version"] == "2"


def test_a_try_after_a_death_goes_on_where_the_last_one_was(deployer: Deployer, there: FakeEndpoints) -> None:
    deferred(deployer)
    there.calls.clear()
    deferred(deployer, run=deployer.runs)
    assert there.calls == ["ask 2"]  # its word that it had been checked is gone; its time goes on


def test_whoever_ends_a_deferred_task_gets_the_old_endpoint_back(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = deferred(deployer)
    there.calls.clear()
    monkeypatch.setattr(trigger_module, "state_of", lambda _: "failed")
    asyncio.run(trigger.on_kill())
    assert there.calls == [
        "shift challenger=0 champion=1",
        "deploy 1",
    ]  # requests first: machines take minutes
    assert there.state()["notes"] == {"stable": "1"}


def test_a_trigger_that_another_one_has_taken_over_leaves_the_endpoint_alone(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = deferred(deployer)
    there.calls.clear()
    monkeypatch.setattr(trigger_module, "state_of", lambda _: "deferred")
    asyncio.run(trigger.on_kill())
    assert there.calls == []


def test_a_newer_deployment_takes_over_and_the_older_one_leaves(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, run = deferred(deployer, "2"), deployer.runs
    deferred(deployer, "3")
    assert there.state()["variants"] == {"champion": ("1", 0.8), "challenger": ("3", 0.2)}
    event = asyncio.run(_fired(old))
    there.calls.clear()
    found = deployer.operator("2", weight=0.2).execute_complete(deployer.context(run), event)
    assert found == {"endpoint": deployer.name, "superseded": True}
    monkeypatch.setattr(trigger_module, "state_of", lambda _: "failed")
    asyncio.run(old.on_kill())
    assert there.calls == []


async def _fired(trigger: EndpointTrigger) -> dict[str, Any]:
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("a trigger fires once")


@pytest.mark.parametrize(("state", "goes_on"), [("running", True), (None, True), ("failed", False)])
def test_a_worker_that_has_to_go_leaves_the_deployment_and_a_person_ends_it(
    deployer: Deployer,
    there: FakeEndpoints,
    monkeypatch: pytest.MonkeyPatch,
    state: str | None,
    goes_on: bool,
) -> None:
    there.looks = 50
    monkeypatch.setattr(rollout_module, "state_of", lambda _: state)
    operator = deployer.operator("2", weight=0.2)
    looked = there.status

    def killed(name: str) -> Any:
        if there.calls == ["deploy 1+2"]:
            there.calls.append("killed")
            operator._undo_if_ended_by_somebody()
        return looked(name)

    monkeypatch.setattr(there, "status", killed)
    with pytest.raises(TaskInterrupted if goes_on else DeploymentFailed):
        operator.execute(deployer.context())
    monkeypatch.setattr(there, "status", looked)
    assert ("deploy 1" in there.calls) is not goes_on


def test_a_rollback_in_the_middle_of_a_deployment_stops_it_and_keeps_its_version_away(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    deferred(deployer)
    assert deployer.roll_back()["version"] == "1"
    assert there.state()["notes"] == {"stable": "1", "barred": "2"}


def test_a_rollback_goes_one_release_back_however_often_it_is_tried(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    deployer.deploy("2")
    assert deployer.roll_back()["version"] == "1"
    assert deployer.roll_back(run=deployer.runs)["version"] == "1"
    assert there.state()["notes"] == {"stable": "1", "previous": "2", "barred": "2"}
    assert deployer.deploy("2")["version"] == "2"  # a person has named it
    assert "barred" not in there.state()["notes"]


def test_without_a_release_before_there_is_nothing_to_go_back_to(deployer: Deployer) -> None:
    with pytest.raises(ConfigError, match="has served one release only"):
        deployer.roll_back()


# -- the plan -----------------------------------------------------------------------------------


@pytest.fixture
def ledger(deployer: Deployer, tmp_path: Path) -> Ledger:
    found = Ledger(Lake(Location((tmp_path / "lake").as_uri()), NAME))
    found.append(Draft(action="promote", version="2", champion="2"))
    return found


def planned(deployer: Deployer, **form: Any) -> dict[str, Any]:
    context = {**deployer.context(), "params": form}
    return PlanDeploymentOperator(task_id="plan", pipeline=deployer.pipeline).execute(context)


def test_the_plan_takes_the_ledgers_champion_whatever_the_alias_says(
    deployer: Deployer, ledger: Ledger
) -> None:
    deployer.models.aliases["champion"] = "3"
    found = {"action": DEPLOY, "version": "2", "partition": "2013-01-02", "release": "2", "weight": 0.2}
    assert planned(deployer) == found
    ledger.append(Draft(action="rollback", version="1", champion="1"))
    assert planned(deployer)["action"] == KEEP
    assert planned(deployer, version="3", weight=1)["version"] == "3"


def test_a_version_that_a_person_has_taken_off_stays_off_until_it_is_named(
    deployer: Deployer, ledger: Ledger
) -> None:
    deployer.deploy("2")
    deployer.roll_back()
    assert planned(deployer) == {"action": NOTHING, "version": "2"}
    assert planned(deployer, version="2")["action"] == DEPLOY
    ledger.append(Draft(action="promote", version="3", champion="3"))
    assert planned(deployer)["version"] == "3"


def test_without_a_champion_there_is_nothing_to_deploy(deployer: Deployer) -> None:
    with pytest.raises(AirflowSkipException, match="no champion"):
        planned(deployer)


def test_the_form_asks_for_a_rollback_and_the_other_tasks_are_skipped(deployer: Deployer) -> None:
    plan = planned(deployer, rollback=True)
    assert plan == {"action": ROLL_BACK}
    operator = deployer.operator("2")
    operator.plan = plan
    with pytest.raises(AirflowSkipException):
        operator.execute(deployer.context())
    with pytest.raises(AirflowSkipException):
        ProbeOperator(task_id="probe", pipeline=deployer.pipeline, plan=plan).execute(deployer.context())


# -- when somebody died -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("failed", "its task deploy of flight_delays_deploy run-2 is failed"),
        (None, "its task deploy of flight_delays_deploy run-2 is cleared"),
        ("deferred", ""),
        ("up_for_retry", ""),
    ],
)
def test_an_endpoint_that_no_task_goes_on_with_is_brought_back(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch, state: str | None, why: str
) -> None:
    deferred(deployer)
    found = tended(deployer, monkeypatch, {"deploy": state})
    assert found["looked_at"] == 1
    assert [each["why"] for each in found["went_back"]] == [why] * bool(why)
    assert (there.state()["release"] == "1") is bool(why)


def test_an_endpoint_that_was_told_to_go_back_is_brought_back_by_the_next_who_looks(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred(deployer)
    there.note(deployer.name, undo="its task was ended by a user")
    found = tended(deployer, monkeypatch, {"deploy": "failed"})
    assert [each["done"] for each in found["went_back"]] == [True]
    assert there.state()["notes"] == {"stable": "1"}


def tended(
    deployer: Deployer,
    monkeypatch: pytest.MonkeyPatch,
    states: dict[str, Any],
    pipelines: Sequence[Pipeline] = (),
    bad: Any = None,
) -> dict[str, Any]:
    monkeypatch.setattr(tend_module, "endpoints", lambda *_: deployer.there)
    monkeypatch.setattr(
        tend_module, "load_all", lambda _: (list(pipelines) or [deployer.pipeline], bad or {})
    )
    ti = SimpleNamespace(get_task_states=lambda dag_id, run_ids: {run_ids[0]: states})
    context: Any = {"ti": ti}
    return TendEndpointsOperator(task_id="endpoints").execute(context)


def test_a_release_that_was_checked_stays_when_what_is_around_it_cannot_be_made(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise ConfigError("no monitor_image is set")

    there.on_settle = refuse
    with pytest.raises(ConfigError, match=r"serves release 2, which was checked .* no monitor_image is set"):
        deployer.deploy("2")
    assert there.state()["notes"] == {"stable": "2", "previous": "1"}
    assert tended(deployer, monkeypatch, {"deploy": "failed"})["went_back"] == []
    there.on_settle, there.calls = lambda: None, []
    assert deployer.deploy("2", run=deployer.runs)["version"] == "2"
    assert there.calls == ["ask 2"]
    assert there.state()["notes"] == {"stable": "2", "previous": "1"}


def test_a_failure_is_told_as_it_is_when_what_is_around_the_old_release_cannot_be_made(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    def refuse() -> None:
        raise ConfigError("AccessDenied")

    there.on_settle, there.bad = refuse, {"model-2"}
    with pytest.raises(DeploymentFailed, match=r"is as it was before: .* did not answer its ping"):
        deployer.deploy("2")


def test_a_setting_that_is_missing_is_told_before_anything_is_made(
    deployer: Deployer, there: FakeEndpoints, ledger: Ledger
) -> None:
    def refuse() -> None:
        raise ConfigError("no monitor_image is set")

    there.settings, before = refuse, dict(there.made)
    with pytest.raises(ConfigError, match="monitor_image"):
        planned(deployer)
    assert there.made == before


def test_a_rollback_during_a_change_at_once_keeps_the_coming_version_away(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    there.looks = 4
    there.deploy(deployer.name, there.release(deployer.operator("2").spec, _alone("2")))
    assert deployer.roll_back()["version"] == "1"
    assert there.state()["notes"] == {"stable": "1", "barred": "2"}


def broken(there: FakeEndpoints) -> None:
    """It has failed on the release that it served."""
    assert there.now is not None
    there.now = replace(there.now, state=EndpointState.FAILED, reason="its machines are gone")


def test_an_endpoint_that_broke_on_its_release_gets_it_again(
    deployer: Deployer, there: FakeEndpoints, ledger: Ledger
) -> None:
    broken(there)
    assert planned(deployer, version="1")["action"] == DEPLOY
    assert deployer.deploy("1")["version"] == "1"
    assert there.calls == ["deploy 1", "ask 1"]
    broken(there)
    there.calls.clear()
    assert go_back(there, deployer.name, "a test", time.time() + 5)
    assert there.calls == ["deploy 1"]
    assert there.state()["notes"] == {"stable": "1"}


def test_an_endpoint_that_takes_nothing_any_more_is_not_called_as_it_was_before(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> bool:
        raise ConfigError("Cannot update endpoint in status Failed")

    broken(there)
    monkeypatch.setattr(there, "deploy", refuse)
    with pytest.raises(DeploymentFailed, match=r"is not as it was before, .* in status Failed"):
        deployer.deploy("2")
    assert there.state()["notes"]["undo"] == "its machines are gone"


def test_a_newer_deployment_that_took_over_at_the_very_end_is_left_alone(
    deployer: Deployer, there: FakeEndpoints
) -> None:
    newer = "2099-01-01T00:00:00.000000 another run deploy"

    def take_over() -> None:
        there.note(deployer.name, owner=newer)
        there.release(deployer.operator("3").spec, _alone("3"))

    there.on_settle = take_over
    assert deployer.deploy("2") == {"endpoint": deployer.name, "superseded": True}
    assert there.state()["notes"]["owner"] == newer
    assert "3" in there.made


def test_one_endpoint_that_cannot_be_looked_after_is_no_reason_to_leave_the_others(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    deferred(deployer)
    others = [deployer.pipeline.model_copy(update={"pipeline": name}) for name in ("a", "b")]

    def of_one(name: str) -> Any:
        if name != deployer.name:
            raise ConfigError(f"no sign-in for {name}")
        return looked(name)

    looked = there.status
    monkeypatch.setattr(there, "status", of_one)
    with pytest.raises(ConfigError, match=r"2 of the endpoints .* a: no sign-in .*; b: no sign-in"):
        tended(deployer, monkeypatch, {"deploy": "failed"}, [*others, deployer.pipeline])
    assert there.state()["release"] == "1"


def test_an_endpoint_that_no_pipeline_file_asks_for_is_told_and_left_alone(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = VariantStatus("champion", "m", "7", 1.0, 2, "ml.m5.large", 0.23)
    there.others = [EndpointStatus("gone-0123456789ab", EndpointState.SERVING, "r", variants=(machine,))]
    told, measured = [], []
    monkeypatch.setattr(tend_module, "tell", lambda _, message, cause: told.append((message.body, cause)))
    monkeypatch.setattr(tend_module.metrics, "endpoints_unwanted", lambda *found: measured.append(found))
    found = tended(deployer, monkeypatch, {})
    assert found["unwanted"] == [{"endpoint": "gone-0123456789ab", "usd_per_hour": 0.23}]
    ((body, cause),) = told
    assert "0.2300 USD an hour" in body
    assert "nightshift endpoint delete gone-0123456789ab --yes" in body
    assert "gone-0123456789ab" in cause
    assert measured == [("sagemaker", 0.23)]
    without = deployer.pipeline.model_copy(update={"endpoint": None})
    names = [each["endpoint"] for each in tended(deployer, monkeypatch, {}, [without])["unwanted"]]
    assert names == [deployer.name, "gone-0123456789ab"]
    broken_file = {Path(f"{NAME}.yaml"): ConfigError("no such field")}
    assert tended(deployer, monkeypatch, {}, [without], broken_file)["unwanted"] == found["unwanted"]
    assert "delete" not in there.calls


def test_a_deployment_that_may_not_list_endpoints_and_has_none_is_fine(
    deployer: Deployer, there: FakeEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> Any:
        raise ConfigError("AccessDenied")

    monkeypatch.setattr(there, "find", refuse)
    without = deployer.pipeline.model_copy(update={"endpoint": None})
    assert tended(deployer, monkeypatch, {}, [without])["looked_at"] == 0
    with pytest.raises(ConfigError, match="sagemaker: AccessDenied"):
        tended(deployer, monkeypatch, {})


@pytest.mark.parametrize("run_id", ["r" * 250, "what|ever"], ids=["long", "strange"])
def test_an_owner_that_no_tag_holds_is_hashed_and_comes_back_the_same(
    deployer: Deployer, run_id: str
) -> None:
    context, other = deployer.context(), deployer.context()
    context["ti"].run_id, other["ti"].run_id = run_id, run_id
    owner = owner_of(context)
    assert cleaned(owner) == owner
    assert owner < owner_of(other)  # the later run
    assert task_of(owner) is None


@pytest.mark.parametrize("run_id", ["run-1", "manual__2026-01-01T00:00:00+00:00", "a run~1"])
def test_an_owner_tells_its_task(deployer: Deployer, run_id: str) -> None:
    context = deployer.context()
    context["ti"].run_id = run_id
    assert task_of(owner_of(context)) == (f"{NAME}_deploy", run_id, "deploy")


def test_an_owner_that_was_cut_or_is_nobody_tells_none() -> None:
    assert task_of("") is None
    assert task_of("x " * 128) is None
