"""The champion on a real MLflow server: the ledger leads, the alias follows, whatever dies in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from nightshift.errors import ConfigError, LedgerConflict, ModelVersionAbsent, RegistryError
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.registry import champion
from nightshift.registry.ledger import Draft, Ledger, standing_rollback
from nightshift.registry.models import Models
from nightshift.registry.tracking import Tracking
from tests.unit.registry.outputs import MANIFESTS, write_bare_training

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.server

NIGHT = {"kind": "dag_run", "dag": "retrain", "run": "n1", "url": "http://airflow/n1"}
ADA = {"kind": "user", "name": "ada", "host": "desk"}


@pytest.fixture
def models(mlflow_server: str) -> Models:
    return Models(mlflow_server)


@pytest.fixture
def ledger(tmp_path: Path, unique: str) -> Ledger:
    return Ledger(Lake(Location((tmp_path / "lake").as_uri()), unique))


@pytest.fixture(scope="module")
def model_run(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    tracking = Tracking(mlflow_server)
    run = tracking.find_or_create_run("champions", "job-of-champions", "train", {})
    tracking.log_training(run, write_bare_training(tmp_path_factory.mktemp("bare")), MANIFESTS)
    return run


@pytest.fixture(autouse=True)
def three(models: Models, unique: str, model_run: str) -> None:
    """Versions 1, 2 and 3 of partitions 2013-01-01, -02 and -03."""
    for number in (1, 2, 3):
        models.register(unique, model_run, f"2013-01-0{number}", f"f{number}", {})


def draft(
    version: str, action: Any = "promote", *, after: str = "", evidence: str = "e", **changes: Any
) -> Draft:
    known: dict[str, Any] = {"partition": f"2013-01-0{version}", "evidence": {"id": evidence}, "who": NIGHT}
    return Draft(action=action, version=version, champion=after or version, **{**known, **changes})


def alias(models: Models, ledger: Ledger, name: str = "champion") -> str:
    found = models.by_alias(ledger.model, name)
    return found.version if found else ""


def promoted(models: Models, ledger: Ledger, *versions: str) -> None:
    for number, version in enumerate(versions):
        champion.decide(models, ledger, draft(version), after=number)


def test_nobody_is_champion_before_the_first_decision(models: Models, ledger: Ledger) -> None:
    assert champion.current(models, ledger) is None
    assert champion.project(models, ledger) is None
    assert champion.check(models, ledger, repair=True, who=ADA) == []


def test_a_promotion_moves_ledger_and_aliases_and_a_hold_moves_the_challenger_only(
    models: Models, ledger: Ledger
) -> None:
    assert champion.decide(models, ledger, draft("1"), after=0).champion == "1"
    held = champion.decide(models, ledger, draft("2", "hold", after="1"), after=1)
    assert (held.action, held.champion) == ("hold", "1")
    assert champion.current(models, ledger) == models.get(ledger.model, "1")
    assert (alias(models, ledger), alias(models, ledger, "challenger")) == ("1", "2")
    assert [(each.action, each.version, each.champion) for each in ledger.entries()] == [
        ("promote", "1", "1"),
        ("hold", "2", "1"),
    ]


def test_the_ledgers_word_counts_when_somebody_moved_the_alias(models: Models, ledger: Ledger) -> None:
    promoted(models, ledger, "1")
    models.set_alias(ledger.model, "champion", "3")
    found = champion.current(models, ledger)
    assert found is not None
    assert found.version == "1"
    (finding,) = champion.check(models, ledger, repair=False, who=ADA)
    assert finding.state == "repairable"
    assert "shows version 3 as champion, the ledger says version 1" in finding.what
    assert alias(models, ledger) == "3"
    assert [each.state for each in champion.check(models, ledger, repair=True, who=ADA)] == ["repaired"]
    assert alias(models, ledger) == "1"
    assert champion.check(models, ledger, repair=True, who=ADA) == []


def test_an_alias_is_taken_away_when_the_ledger_knows_no_champion(models: Models, ledger: Ledger) -> None:
    ledger.append(Draft(action="hold", version="1", champion=""))
    models.set_alias(ledger.model, "champion", "1")
    assert champion.current(models, ledger) is None
    assert [each.state for each in champion.check(models, ledger, repair=True, who=ADA)] == ["repaired"]
    assert alias(models, ledger) == ""


@pytest.mark.parametrize("by", ["check", "a decision", "a rollback"])
def test_a_champion_from_before_the_ledger_is_adopted_once(models: Models, ledger: Ledger, by: str) -> None:
    models.set_alias(ledger.model, "champion", "1")
    found = champion.current(models, ledger)
    assert found is not None
    assert found.version == "1"
    for number in range(2):
        if by == "check":
            champion.check(models, ledger, repair=True, who=ADA)
        elif by == "a decision":
            champion.decide(models, ledger, draft("2", "hold", after="1"), after=number)
        else:
            champion.roll_back(models, ledger, to="2", reason="bad", who=ADA, anyway=True)
    first = ledger.entries()[0]
    assert (first.action, first.version, first.champion, first.partition) == ("adopt", "1", "1", "2013-01-01")
    assert len(ledger.entries()) == (1 if by == "check" else 2)


def test_of_two_decisions_at_once_one_counts(models: Models, ledger: Ledger, mlflow_server: str) -> None:
    promoted(models, ledger, "1")

    def decide(version: str) -> str:
        try:
            champion.decide(Models(mlflow_server), ledger, draft(version), after=1)
        except LedgerConflict:
            return ""
        return version

    with ThreadPoolExecutor(2) as pool:
        (won,) = filter(None, pool.map(decide, "23"))
    assert [each.version for each in ledger.entries()] == ["1", won]
    assert alias(models, ledger) == won


def test_a_decision_about_another_champion_than_the_ledgers_is_refused(
    models: Models, ledger: Ledger
) -> None:
    promoted(models, ledger, "1", "2")
    with pytest.raises(LedgerConflict, match="another decision came first: entry 2"):
        champion.decide(models, ledger, draft("3"), after=1)
    with pytest.raises(LedgerConflict, match="is version 2, the decision takes it to be version 1"):
        champion.decide(models, ledger, draft("3", "hold", after="1"), after=2)
    assert len(ledger.entries()) == 2


def test_a_decision_is_written_once_however_often_its_task_is_tried(models: Models, ledger: Ledger) -> None:
    promoted(models, ledger, "1")
    for after in (1, 2):
        champion.decide(models, ledger, draft("2"), after=after)
    # the next try of a task that died finds its own model in the champion's place, and holds
    champion.decide(models, ledger, draft("2", "hold"), after=2)
    assert [each.version for each in ledger.entries()] == ["1", "2"]
    champion.decide(models, ledger, draft("2", "hold", evidence="another"), after=2)
    assert len(ledger.entries()) == 3


def test_a_promotion_that_a_person_allowed_after_a_hold_is_a_decision_of_its_own(
    models: Models, ledger: Ledger
) -> None:
    promoted(models, ledger, "1")
    champion.decide(models, ledger, draft("2", "hold", after="1"), after=1)
    champion.decide(models, ledger, draft("2", approved_by="ada"), after=2)
    assert [each.action for each in ledger.entries()] == ["promote", "hold", "promote"]
    assert alias(models, ledger) == "2"


def test_a_late_retry_does_not_undo_a_rollback(models: Models, ledger: Ledger) -> None:
    promoted(models, ledger, "1", "2")
    champion.roll_back(models, ledger, to="1", reason="bad", who=ADA)
    with pytest.raises(LedgerConflict):
        champion.decide(models, ledger, draft("2"), after=1)  # it knows of no rollback
    assert (alias(models, ledger), len(ledger.entries())) == ("1", 3)
    # it looks again, and holds: that is a decision of its own, not the promotion from before
    for after in (3, 4):
        held = champion.decide(models, ledger, draft("2", "hold", after="1"), after=after)
        assert (held.seq, held.action) == (4, "hold")
    assert alias(models, ledger) == "1"


def test_a_run_rolls_back_once_whatever_came_after_it(models: Models, ledger: Ledger) -> None:
    promoted(models, ledger, "1", "2")
    form = {"kind": "dag_run", "dag": "rollback", "run": "r1", "url": "http://airflow/r1"}
    first = champion.roll_back(models, ledger, to="1", reason="bad", who=form)
    champion.decide(models, ledger, draft("3"), after=3)
    assert champion.roll_back(models, ledger, to="1", reason="bad", who=form) == first
    assert alias(models, ledger) == "3"
    again = champion.roll_back(models, ledger, to="1", reason="bad", who={**form, "run": "r2"})
    assert (again.seq, alias(models, ledger)) == (5, "1")


def test_a_rollback_is_a_line_in_the_ledger_and_moves_the_alias(models: Models, ledger: Ledger) -> None:
    promoted(models, ledger, "1", "2")
    entry = champion.roll_back(models, ledger, to="1", reason=" too many late flights ", who=ADA)
    assert (entry.seq, entry.action, entry.version, entry.champion) == (3, "rollback", "1", "1")
    assert (entry.reasons, entry.who, entry.partition) == (("too many late flights",), ADA, "2013-01-01")
    assert alias(models, ledger) == "1"
    assert standing_rollback(ledger.entries(), "2") == entry
    assert champion.roll_back(models, ledger, to="1", reason="again", who=ADA) == entry
    assert len(ledger.entries()) == 3


@pytest.mark.parametrize(
    ("to", "reason", "error", "said"),
    [
        ("1", "  ", ConfigError, "a rollback needs a reason"),
        (
            "17",
            "bad",
            ModelVersionAbsent,
            "no version '17'.*MLflow has 1, 2, 3; champions before this one: 1$",
        ),
        (
            "latest",
            "bad",
            ModelVersionAbsent,
            "no version 'latest'.*MLflow has 1, 2, 3; champions before this one: 1$",
        ),
        ("3", "bad", ConfigError, "never was its champion.*choose one of 1, or say --anyway"),
    ],
    ids=["no reason", "unknown", "no number", "never champion"],
)
def test_a_rollback_that_cannot_be_meant_is_refused(
    models: Models, ledger: Ledger, to: str, reason: str, error: type[Exception], said: str
) -> None:
    promoted(models, ledger, "1", "2")
    with pytest.raises(error, match=said):
        champion.roll_back(models, ledger, to=to, reason=reason, who=ADA)
    assert len(ledger.entries()) == 2


def test_a_version_that_never_was_champion_can_be_returned_to_anyway(models: Models, ledger: Ledger) -> None:
    promoted(models, ledger, "1", "2")
    assert champion.roll_back(models, ledger, to="3", reason="bad", who=ADA, anyway=True).champion == "3"
    assert alias(models, ledger) == "3"


@pytest.mark.parametrize("what", ["a file", "all of it"])
def test_a_version_whose_files_are_gone_is_not_returned_to(
    models: Models, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    whole = MlflowArtifactsRepository.list_artifacts

    def lose(self: Any, path: str | None = None) -> Any:
        found = whole(self, path)
        return [each for each in found if what == "a file" and "model.bin" not in each.path]

    promoted(models, ledger, "1", "2")
    monkeypatch.setattr(MlflowArtifactsRepository, "list_artifacts", lose)
    with pytest.raises(
        ModelVersionAbsent, match=r"are not whole" if what == "a file" else "holds no MLflow model"
    ):
        champion.roll_back(models, ledger, to="1", reason="bad", who=ADA)
    assert len(ledger.entries()) == 2


def test_a_champion_that_mlflow_has_lost_is_named_and_can_be_left(
    models: Models, ledger: Ledger, mlflow_server: str
) -> None:
    promoted(models, ledger, "1", "2")
    MlflowClient(mlflow_server).delete_model_version(ledger.model, "2")
    with pytest.raises(ModelVersionAbsent, match="the ledger says that version 2 is the champion"):
        champion.current(models, ledger)
    (finding,) = champion.check(models, ledger, repair=True, who=ADA)
    assert finding.state == "broken"
    assert f"nightshift rollback {ledger.model} --to" in finding.fix
    champion.roll_back(models, ledger, to="1", reason="2 is lost", who=ADA)
    assert champion.check(models, ledger, repair=False, who=ADA) == []


def test_a_broken_chain_stops_decisions_and_is_found(models: Models, ledger: Ledger, tmp_path: Path) -> None:
    promoted(models, ledger, "1", "2")
    (tmp_path / "lake" / ledger.model / "ledger" / "00000001.json").unlink()
    fresh = Ledger(Lake(Location((tmp_path / "lake").as_uri()), ledger.model))
    with pytest.raises(RegistryError, match=r"entry 1 .* is gone"):
        champion.decide(models, fresh, draft("3"), after=2)
    found = champion.current(models, fresh)
    assert found is not None
    assert found.version == "2"
    models.set_alias(ledger.model, "champion", "3")
    states = [each.state for each in champion.check(models, fresh, repair=True, who=ADA)]
    assert states == ["broken", "repaired"]
    assert champion.roll_back(models, fresh, to="1", reason="bad", who=ADA, anyway=True).seq == 3


@pytest.mark.parametrize("known", [0, 2], ids=["empty", "with entries"])
def test_an_mlflow_that_is_down_leaves_the_ledger_as_it_was(
    models: Models, ledger: Ledger, known: int
) -> None:
    promoted(models, ledger, *"12"[:known])
    nowhere = Models("http://127.0.0.1:1")
    with pytest.raises(RegistryError, match="MLflow does not answer"):
        champion.decide(nowhere, ledger, draft("3"), after=known)
    with pytest.raises(RegistryError, match="MLflow does not answer"):
        champion.roll_back(nowhere, ledger, to="1", reason="bad", who=ADA, anyway=True)
    with pytest.raises(RegistryError, match="MLflow does not answer"):
        champion.check(nowhere, ledger, repair=True, who=ADA)
    assert len(ledger.entries()) == known


def test_an_mlflow_that_goes_down_after_the_ledger_was_written_says_that_the_decision_stands(
    models: Models, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(models, ledger, "1")
    set_alias = Models.set_alias

    def cut(self: Models, name: str, alias: str, version: str) -> Any:
        if alias == "champion":
            raise RegistryError("MLflow does not answer")
        return set_alias(self, name, alias, version)

    with monkeypatch.context() as down:
        down.setattr(Models, "set_alias", cut)
        with pytest.raises(RegistryError, match=r"entry 2 is in the ledger .* a retry sets it"):
            champion.decide(models, ledger, draft("2"), after=1)
    champion.decide(models, ledger, draft("2"), after=2)
    assert (alias(models, ledger), len(ledger.entries())) == ("2", 2)


def test_an_alias_set_late_is_set_again_to_what_the_ledger_says_by_then(
    models: Models, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(models, ledger, "1")
    set_alias = Models.set_alias

    def slow(self: Models, name: str, alias: str, version: str) -> Any:
        if version == "2" and alias == "champion":
            monkeypatch.undo()
            champion.roll_back(models, ledger, to="1", reason="bad", who=ADA)
        return set_alias(self, name, alias, version)

    monkeypatch.setattr(Models, "set_alias", slow)
    assert champion.decide(models, ledger, draft("2"), after=1).champion == "2"
    assert alias(models, ledger) == "1"


KILLED = """
import os, signal
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.registry import champion
from nightshift.registry.ledger import Draft, Ledger
from nightshift.registry.models import Models

set_alias = Models.set_alias
def killed(self, name, alias, version):
    if alias == "champion":
        os.kill(os.getpid(), signal.SIGKILL)
    return set_alias(self, name, alias, version)
Models.set_alias = killed
models, ledger = Models({uri!r}), Ledger(Lake(Location({lake!r}), {model!r}))
who, ada = {who!r}, {ada!r}
if {action!r} == "rollback":
    champion.roll_back(models, ledger, to="1", reason="bad", who=ada)
draft = Draft(action="promote", version="3", champion="3", evidence=dict(id="e"), who=who)
champion.decide(models, ledger, draft, after=2)
"""


@pytest.mark.parametrize(
    ("action", "version", "cure"),
    [("promote", "3", "retry"), ("promote", "3", "check"), ("rollback", "1", "retry")],
    ids=["promotion, retried", "promotion, checked", "rollback, repeated"],
)
def test_a_process_killed_between_ledger_and_alias_is_made_good(
    models: Models, ledger: Ledger, mlflow_server: str, tmp_path: Path, action: str, version: str, cure: str
) -> None:
    promoted(models, ledger, "1", "2")
    lake = (tmp_path / "lake").as_uri()
    told = {"uri": mlflow_server, "lake": lake, "model": ledger.model, "who": NIGHT, "ada": ADA}
    program = textwrap.dedent(KILLED).format(action=action, **told)
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert (alias(models, ledger), len(ledger.entries())) == ("2", 3)
    found = champion.current(models, ledger)
    assert found is not None
    assert found.version == version

    if cure == "check":
        assert [each.state for each in champion.check(models, ledger, repair=True, who=ADA)] == ["repaired"]
    elif action == "promote":
        champion.decide(models, ledger, draft("3"), after=3)
    else:
        champion.roll_back(models, ledger, to="1", reason="bad", who=ADA)
    assert (alias(models, ledger), len(ledger.entries())) == (version, 3)
