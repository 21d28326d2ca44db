"""``nightshift rollback`` and ``nightshift registry``, called as a user calls them, on a real MLflow."""

from __future__ import annotations

import getpass
import json
import shutil
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.cli.main import main
from nightshift.config.settings import PROJECT
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.registry import champion
from nightshift.registry.ledger import Draft, Ledger
from nightshift.registry.models import Models
from nightshift.registry.tracking import Tracking
from tests.unit.registry.outputs import MANIFESTS, write_bare_training

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Said = Callable[..., tuple[int, str]]

pytestmark = pytest.mark.server
WHO = {"kind": "dag_run", "dag": "night", "run": "n1", "url": "http://airflow/n1"}


@dataclass
class Deployment:
    """One pipeline of its own name: version 1 was champion, 2 is, 3 was held."""

    name: str
    home: Path
    models: Models

    @property
    def ledger(self) -> Ledger:
        return Ledger(Lake(Location((self.home / "lake").as_uri()), self.name))

    @property
    def alias(self) -> str:
        found = self.models.champion(self.name)
        return found.version if found else ""


@pytest.fixture(scope="module")
def model_run(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    tracking = Tracking(mlflow_server)
    run = tracking.find_or_create_run("cli", "job-of-the-cli", "train", {})
    tracking.log_training(run, write_bare_training(tmp_path_factory.mktemp("train")), MANIFESTS)
    return run


@pytest.fixture
def deployment(
    mlflow_server: str, model_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Deployment:
    made = Deployment(f"p_{uuid.uuid4().hex[:8]}", tmp_path / "var", Models(mlflow_server))
    pipelines = tmp_path / "pipelines"
    pipelines.mkdir()
    shipped = (PROJECT / "include" / "pipelines" / "flight_delays.yaml").read_text()
    named = shipped.replace("pipeline: flight_delays", f"pipeline: {made.name}", 1)
    (pipelines / f"{made.name}.yaml").write_text(named)
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__HOME", str(made.home))
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__PIPELINES_DIR", str(pipelines))
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__MLFLOW_TRACKING_URI", mlflow_server)
    for number, (action, after) in enumerate((("promote", "1"), ("promote", "2"), ("hold", "2"))):
        version = made.models.register(made.name, model_run, f"2013-01-0{number + 1}", f"f{number}", {})
        told: dict[str, Any] = {"reasons": (f"because\x1b[31m {number}",), "who": WHO}
        draft = Draft(action=action, version=version.version, champion=after, **told)  # type: ignore[arg-type]
        champion.decide(made.models, made.ledger, draft, after=number)
    return made


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(arguments)
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out + told.err

    return run


def test_the_way_back(deployment: Deployment, said: Said) -> None:
    name = deployment.name
    ask = ("rollback", name, "--to", "1", "--reason", "late flights")
    code, dry = said(*ask, "--dry-run")
    assert code == 0
    assert f"{name}: version 1 is whole and would take the place of version 2" in dry
    assert (deployment.alias, len(deployment.ledger.entries())) == ("2", 3)

    assert said(*ask) == (0, f"{name}: champion 2 -> 1 (entry 4 of the ledger)\n")
    assert deployment.alias == "1"
    entry = deployment.ledger.entries()[-1]
    assert (entry.action, entry.reasons, entry.who["name"]) == (
        "rollback",
        ("late flights",),
        getpass.getuser(),
    )

    assert said(*ask) == (0, f"{name}: version 1 is the champion already\n")
    assert said(*ask, "--dry-run")[1].startswith(f"{name}: version 1 is the champion already\n")
    assert len(deployment.ledger.entries()) == 4


@pytest.mark.parametrize(
    ("to", "reason", "code", "words"),
    [
        ("3", "bad", 2, "never was its champion. To fix: choose one of 1, or say --anyway"),
        ("30", "bad", 1, "has no version '30'. To fix: MLflow has 1, 2, 3; champions before this one: 1"),
        ("1", " ", 2, "a rollback needs a reason"),
    ],
    ids=["never champion", "unknown", "no reason"],
)
def test_what_cannot_be_meant_is_said_in_one_line(
    deployment: Deployment, said: Said, to: str, reason: str, code: int, words: str
) -> None:
    found, told = said("rollback", deployment.name, "--to", to, "--reason", reason)
    assert (found, len(told.splitlines())) == (code, 1)
    assert words in told
    assert len(deployment.ledger.entries()) == 3


def test_anyway_goes_to_a_version_that_never_was_champion(deployment: Deployment, said: Said) -> None:
    assert said("rollback", deployment.name, "--to", "3", "--reason", "bad", "--anyway")[0] == 0
    assert deployment.alias == "3"


def test_a_typo_in_the_pipelines_name_is_answered_with_the_nearest(
    deployment: Deployment, said: Said
) -> None:
    for ask in (("rollback", "--to", "1", "--reason", "x"), ("registry", "check"), ("registry", "history")):
        code, told = said(*ask, deployment.name + "s")
        assert code == 2
        assert f"did you mean '{deployment.name}'?" in told


def test_check_repairs_the_alias_unless_it_only_looks(deployment: Deployment, said: Said) -> None:
    name = deployment.name
    assert said("registry", "check") == (0, f"{name}: in order, 3 entries in the ledger, champion 2\n")
    deployment.models.set_alias(name, "champion", "3")
    code, looked = said("registry", "check", name, "--dry-run")
    assert code == 1
    assert looked.splitlines()[1:] == [
        f"  repairable: the alias of {name} shows version 3 as champion, the ledger says version 2",
        "    the alias is set to version 2",
    ]
    assert deployment.alias == "3"
    code, found = said("registry", "check", name, "--json")
    assert code == 0
    (only,) = json.loads(found)
    assert (only["pipeline"], only["champion"], only["findings"][0]["state"]) == (name, "2", "repaired")
    assert deployment.alias == "2"


def test_check_fails_on_what_nobody_but_a_person_can_repair(deployment: Deployment, said: Said) -> None:
    (deployment.home / "lake" / deployment.name / "ledger" / "00000002.json").unlink()
    code, told = said("registry", "check")
    assert code == 1
    assert "  broken: entry 2 of the ledger" in told
    assert "restore it from the store's object versions or a backup" in told
    assert said("registry", "history", deployment.name)[0] == 1


def test_check_of_all_says_which_pipeline_file_it_could_not_read(deployment: Deployment, said: Said) -> None:
    (deployment.home.parent / "pipelines" / "broken.yaml").write_text("pipeline: broken\n")
    code, told = said("registry", "check")
    assert code == 1
    assert "broken.yaml is wrong and was not looked at" in told


def test_check_takes_a_champion_from_before_the_ledger_into_it(deployment: Deployment, said: Said) -> None:
    shutil.rmtree(deployment.home / "lake" / deployment.name / "ledger")
    code, told = said("registry", "check", deployment.name, "--dry-run")
    assert (code, "the ledger is empty" in told, deployment.ledger.last()) == (1, True, None)
    assert said("registry", "check", deployment.name)[0] == 0
    (entry,) = deployment.ledger.entries()
    assert (entry.action, entry.champion, entry.who["kind"]) == ("adopt", "2", "user")


def test_an_mlflow_that_is_down_is_said_in_one_line_and_history_needs_none(
    deployment: Deployment, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__NIGHTSHIFT__MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    for ask in (("registry", "check"), ("rollback", deployment.name, "--to", "1", "--reason", "x")):
        code, told = said(*ask)
        assert code == 1
        assert "MLflow does not answer at http://127.0.0.1:1" in told
    assert said("registry", "history", deployment.name)[0] == 0
    assert len(deployment.ledger.entries()) == 3


def test_history_is_a_table_of_every_decision(deployment: Deployment, said: Said) -> None:
    code, told = said("registry", "history", deployment.name)
    assert code == 0
    head, *rows, _, more = told.splitlines()
    assert "nightshift why" in more
    assert head.split() == ["seq", "when", "(UTC)", "action", "version", "champion", "who", "why"]
    columns = [head.index(name) for name in ("action", "version", "champion", "who", "why")]
    first, second, third, fourth, fifth = columns
    assert [
        (row[first:second].strip(), row[second:third].strip(), row[third:fourth].strip()) for row in rows
    ] == [
        ("promote", "1", "- -> 1"),
        ("promote", "2", "1 -> 2"),
        ("hold", "3", "2"),
    ]
    assert {row[fourth:fifth].strip() for row in rows} == {"night"}
    assert [row[fifth:] for row in rows] == [f"because\\x1b[31m {number}" for number in range(3)]
    listed = json.loads(said("registry", "history", deployment.name, "--json")[1])
    assert [each["seq"] for each in listed] == [1, 2, 3]
    assert listed[1]["previous"] == deployment.ledger.entries()[1].previous


def test_a_history_before_the_first_decision_says_so(deployment: Deployment, said: Said) -> None:
    shutil.rmtree(deployment.home / "lake" / deployment.name / "ledger")
    told = (0, f"nothing was decided about {deployment.name} yet\n")
    assert said("registry", "history", deployment.name) == told
