"""The task of the rollback DAG, called as a worker calls it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Asset

from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT
from nightshift.errors import ConfigError, RegistryError
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.operators import rollback as rollback_module
from nightshift.operators.base import MlflowLink
from nightshift.operators.rollback import RollbackOperator
from nightshift.registry import models as models_module
from nightshift.registry.ledger import Draft, Ledger
from tests.fakes.registry import FakeModels

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.notifiers.messages import Message

NAME = "flight_delays"
PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / f"{NAME}.yaml")


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> FakeModels:
    found = FakeModels(NAME, "123", {"champion": "2"})
    monkeypatch.setattr(models_module, "Models", found)
    return found


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Version 1 was champion, version 2 is."""
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(tmp_path))
    ledger = Ledger(Lake(Location((tmp_path / "lake").as_uri()), NAME))
    for version in "12":
        ledger.append(Draft(action="promote", version=version, champion=version))
    return ledger


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Message]]:
    """Messages by cause, as they went out."""
    found: list[tuple[str, Message]] = []
    monkeypatch.setattr(rollback_module, "tell", lambda _, message, cause: found.append((cause, message)))
    return found


def context(*, run: str = "manual__1", **form: Any) -> Any:
    params = {"version": "1", "reason": "late <flights>", "anyway": False, **form}
    ti = SimpleNamespace(dag_id=f"{NAME}_rollback", run_id=run)
    return {"ti": ti, "dag_run": SimpleNamespace(triggering_user_name="ada"), "params": params}


def back(context: Any) -> tuple[dict[str, Any], str]:
    """What the task returns, and its link."""
    operator = RollbackOperator(task_id="rollback", pipeline=PIPELINE)
    return operator.execute(context), operator.links[MlflowLink.name]


@pytest.mark.parametrize("version", ["1", " 1 ", 1])
def test_the_version_of_the_form_is_champion_again_and_people_are_told(
    models: FakeModels, ledger: Ledger, told: list[tuple[str, Message]], version: Any
) -> None:
    found, link = back(context(version=version))
    assert found == {"champion": "1", "before": "2", "seq": 3}
    assert link.endswith("/versions/1")
    assert models.aliases["champion"] == "1"
    entry = ledger.entry(3)
    assert entry.who == {
        "kind": "dag_run",
        "dag": f"{NAME}_rollback",
        "run": "manual__1",
        "url": f"http://127.0.0.1:8080/dags/{NAME}_rollback/runs/manual__1",
        "user": "ada",
    }
    ((cause, message),) = told
    assert cause == f"rollback:{entry.id}"
    assert message.title == f"[nightshift] {NAME}: rolled back to version 1"
    for line in ("Champion: version 1, before it version 2", "By: ada", "Reason: late ‹flights›"):
        assert line in message.body.splitlines()


def test_a_task_that_died_after_the_ledger_was_written_goes_on_where_it_was(
    models: FakeModels, ledger: Ledger, told: list[tuple[str, Message]]
) -> None:
    models.alias_down = True
    with pytest.raises(RegistryError, match="entry 3 is in the ledger"):
        back(context())
    models.alias_down = False
    assert back(context())[0] == {"champion": "1", "before": "2", "seq": 3}
    assert (models.aliases["champion"], len(told), len(ledger.entries())) == ("1", 1, 3)


def test_a_second_run_changes_nothing_and_tells_nobody(
    models: FakeModels, ledger: Ledger, told: list[tuple[str, Message]]
) -> None:
    back(context())
    assert back(context(run="manual__2"))[0] == {"champion": "1", "before": "1", "seq": 3}
    assert (len(told), len(ledger.entries())) == (1, 3)


def test_a_version_that_never_was_champion_needs_the_forms_word(
    models: FakeModels, ledger: Ledger, told: list[tuple[str, Message]]
) -> None:
    with pytest.raises(ConfigError, match="'anyway' in the form"):
        back(context(version="3"))
    assert (told, len(ledger.entries())) == ([], 2)
    assert back(context(version="3", anyway=True))[0]["champion"] == "3"


def test_an_mlflow_that_is_down_leaves_the_ledger_as_it_was(
    models: FakeModels, ledger: Ledger, told: list[tuple[str, Message]]
) -> None:
    models.down = True
    with pytest.raises(RegistryError):
        back(context())
    assert (told, len(ledger.entries())) == ([], 2)


def test_whoever_waits_for_another_champion_is_told_its_partition(
    models: FakeModels, ledger: Ledger, told: list[tuple[str, Message]]
) -> None:
    heard: list[str] = []
    asset = Asset(name=f"{NAME}_champion", uri=f"x-nightshift://{NAME}/champion")
    operator = RollbackOperator(task_id="rollback", pipeline=PIPELINE, asset=asset)
    assert operator.outlets == [asset]
    events = {asset: SimpleNamespace(add_partitions=heard.append)}
    operator.execute({**context(), "outlet_events": events})
    assert heard == ["2013-01-01"]
