"""The ledger without a race: what it refuses, and which rollback stands. Its storage has contract tests."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.errors import ConfigError, LedgerBroken
from nightshift.lake.storage import Location, write_object
from nightshift.lake.tables import Lake
from nightshift.registry import who
from nightshift.registry.ledger import Draft, Entry, Ledger, barred, standing_rollback

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Lake(Location(tmp_path.as_uri()), "pipe"))


def entries(*steps: tuple[str, str, str]) -> list[Entry]:
    """Entries from (action, version, champion afterwards)."""
    return [
        Entry(
            action=action,
            version=version,
            champion=champion,
            seq=seq,
            model="pipe",
            id="",
            at="",
            previous="",
        )
        for seq, (action, version, champion) in enumerate(steps, 1)  # type: ignore[misc]
    ]


STORY = (("promote", "1", "1"), ("promote", "2", "2"), ("rollback", "1", "1"))


@pytest.mark.parametrize(
    ("since", "version", "stands"),
    [
        ((), "2", 3),
        ((), "1", None),
        ((("hold", "2", "1"),), "2", 3),
        ((("promote", "3", "3"),), "2", 3),
        ((("promote", "2", "2"),), "2", None),
        ((("rollback", "2", "2"),), "2", None),
        ((("rollback", "2", "2"),), "1", 4),
        ((("promote", "2", "2"), ("rollback", "1", "1")), "2", 5),
    ],
    ids=[
        "taken off",
        "came back",
        "held since",
        "another since",
        "promoted again",
        "returned to",
        "turned",
        "twice",
    ],
)
def test_a_rollback_stands_until_its_version_comes_back(
    since: tuple[tuple[str, str, str], ...], version: str, stands: int | None
) -> None:
    found = standing_rollback(entries(*STORY, *since), version)
    assert (found.seq if found else None) == stands


@pytest.mark.parametrize(
    ("version", "stands"),
    [("1", None), ("2", 4), ("3", 4), ("4", None)],
    ids=["back", "middle", "last", "never"],
)
def test_a_rollback_takes_away_every_champion_since_the_one_it_returns_to(
    version: str, stands: int | None
) -> None:
    story = [("promote", "1", "1"), ("promote", "2", "2"), ("promote", "3", "3"), ("rollback", "1", "1")]
    found = standing_rollback(entries(*story), version)
    assert (found.seq if found else None) == stands


@pytest.mark.parametrize(
    ("days", "is_barred"),
    [
        (["2013-01-04", "2013-01-05"], True),
        (["2013-01-02"], True),
        ([], True),
        (["2013-01-05", "2013-01-06"], False),
    ],
    ids=["the same days", "earlier days", "none", "a later day"],
)
def test_a_version_that_was_rolled_back_returns_on_later_days_only(days: list[str], is_barred: bool) -> None:
    story = entries(*STORY)
    seen = {"holdout": {"partitions": ["2013-01-04", "2013-01-05"]}}
    story[1] = replace(story[1], evidence=seen, partition="2013-01-05")
    assert (barred(story, "2", days) is not None) is is_barred
    assert barred(story, "1", days) is None
    # without evidence, by the partition
    story[1] = replace(story[1], evidence={})
    assert (barred(story, "2", days) is not None) is is_barred


def test_no_rollback_stands_in_an_empty_ledger() -> None:
    assert standing_rollback([], "1") is None


def test_an_entry_survives_json(ledger: Ledger) -> None:
    entry = ledger.append(Draft(action="hold", version="2", champion="1", reasons=("a", "b")))
    assert Entry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry
    assert list(entry.to_dict())[:3] == ["seq", "model", "at"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, r"entry 1 .* does not know \(colour\).*update this one"),
        ({"action": "crown"}, r"does not know \(action 'crown'\)"),
        ({"seq": 7}, "is not what was written there"),
        ({"model": "other"}, "is not what was written there"),
    ],
    ids=["newer field", "newer action", "another number", "another model"],
)
def test_an_entry_that_is_not_ours_to_read_is_refused(
    ledger: Ledger, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    document = ledger.append(Draft(action="promote", version="1", champion="1")).to_dict()
    data = json.dumps({**document, **changes}).encode()
    write_object(Location(tmp_path.as_uri()), "pipe/ledger/00000001.json", data)
    with pytest.raises(LedgerBroken, match=said):
        ledger.last()


def test_half_an_entry_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    document = ledger.append(Draft(action="promote", version="1", champion="1")).to_dict()
    del document["champion"]
    file = tmp_path / "pipe" / "ledger" / "00000001.json"
    file.write_text(json.dumps(document))
    with pytest.raises(LedgerBroken, match="lacks champion"):
        ledger.last()
    file.write_text(json.dumps(document)[:40])
    with pytest.raises(LedgerBroken, match="is not what was written there"):
        Ledger(Lake(Location(tmp_path.as_uri()), "pipe")).last()


def test_what_is_no_json_is_not_written(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        ledger.append(Draft(action="hold", version="1", champion="", evidence={"gain": float("nan")}))
    assert ledger.last() is None


def test_other_files_in_the_folder_are_nothing_to_it(ledger: Ledger, tmp_path: Path) -> None:
    ledger.append(Draft(action="promote", version="1", champion="1"))
    for name in ("00000002.json.bak", ".DS_Store", "000000002.json", "2.json"):
        (tmp_path / "pipe" / "ledger" / name).write_text("?")
    assert ledger.append(Draft(action="promote", version="2", champion="2"), after=1).seq == 2


def test_a_ledger_whose_end_is_gone_takes_no_decision_that_knew_of_it(ledger: Ledger) -> None:
    ledger.append(Draft(action="promote", version="1", champion="1"))
    with pytest.raises(LedgerBroken, match="entry 2 of the ledger of pipe is gone"):
        ledger.append(Draft(action="promote", version="2", champion="2"), after=2)


def test_who_carries_no_secrets() -> None:
    found = who.dag_run(
        "pipe_retrain", "manual__2026 1", "https://ada:secret@airflow.example.org/base/?token=x"
    )
    assert found == {
        "kind": "dag_run",
        "dag": "pipe_retrain",
        "run": "manual__2026 1",
        "url": "https://airflow.example.org/base/dags/pipe_retrain/runs/manual__2026%201",
    }
    assert who.dag_run("d", "r", "http://h", triggered_by="ada")["user"] == "ada"
    assert set(who.user()) == {"kind", "name", "host"}
    with pytest.raises(ConfigError, match="keeps no environment, token of who decides"):
        Draft(action="hold", version="1", champion="", who={"kind": "user", "token": "x", "environment": "y"})
