"""What the ledger says about one version, and the words for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nightshift.provenance import card, history, words
from nightshift.provenance.page import html
from nightshift.provenance.why import Story, decisions_about
from nightshift.registry.ledger import Entry
from nightshift.registry.models import ModelVersion

AT = "2026-11-22T02:00:00.123+00:00"


def entry(seq: int, action: Any, version: str, champion: str, **more: Any) -> Entry:
    return Entry(
        action=action, version=version, champion=champion, seq=seq, model="m", id=str(seq), at=AT,
        previous="", **more,
    )  # fmt: skip


LEDGER = [
    entry(1, "adopt", "3", "3"),
    entry(2, "hold", "4", "3"),
    entry(3, "promote", "5", "5"),
    entry(4, "hold", "6", "5"),
    entry(5, "rollback", "3", "3"),
    entry(6, "promote", "6", "6"),
]


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            "3",
            [
                "taken over as the champion that MLflow's alias named",
                "replaced by 5",
                "champion by a rollback, in place of 5",
                "replaced by 6",
            ],
        ),
        ("4", ["held back, 3 stays"]),
        ("5", ["promoted, in place of 3", "rolled back, 3 is champion"]),
        ("6", ["held back, 5 stays", "promoted, in place of 3"]),
        ("7", []),
    ],
    ids=["adopted", "held", "rolled back", "promoted later", "never seen"],
)
def test_every_decision_about_a_version_is_told_and_no_other(version: str, said: list[str]) -> None:
    assert [words.decided(each) for each in decisions_about(LEDGER, version)] == said


def story(**changes: Any) -> Story:
    plain = Story(
        pipeline="flights", version="3", partition="2013-01-05", fingerprint="f" * 64, run_id="r",
        state="champion", metrics={"roc_auc": 0.7}, record={}, code_today="c", trials=(),
        decisions=(), evidence={}, not_known=(), links={},
    )  # fmt: skip
    return replace(plain, **changes)


def test_who_approved_another_version_did_not_approve_this_one() -> None:
    entries = [
        entry(1, "promote", "1", "1", approved_by="ann"),
        entry(2, "promote", "2", "2", approved_by="bob"),
    ]
    assert story(decisions=decisions_about(entries, "1")).approved_by == "ann"
    assert story(decisions=decisions_about(entries, "2")).approved_by == "bob"


def test_what_comes_from_outside_harms_neither_terminal_nor_page_nor_description() -> None:
    evil = '\x1b[2J<script>alert(1)</script> [x](javascript:alert(1)) "'
    who = {"kind": "dag_run", "dag": evil, "run": "r", "url": "javascript:alert(1)"}
    entries = [entry(1, "promote", "3", "3", reasons=(evil,), who=who, approved_by=evil)]
    told = story(decisions=decisions_about(entries, "3"), links={"bad": "javascript:alert(1)"})
    assert "\x1b" not in "\n".join(words.lines(told))
    page = html(told).decode()
    assert "<script" not in page
    assert 'href="javascript' not in page
    text = card.of_version(told)
    assert "\\[x\\]\\(" in text
    assert "](javascript" not in text


def test_a_description_is_never_longer_than_mlflow_keeps() -> None:
    entries = [entry(seq, "hold", "3", "1", reasons=("very long " * 200,)) for seq in range(1, 40)]
    told = story(decisions=decisions_about(entries, "3"), links={"why": "http://x/" + "y" * 3000})
    assert len(card.of_version(told)) <= 5000
    assert len(card.of_model("d" * 6000, "1", entries)) <= 5000


def test_the_picture_marks_who_was_champion() -> None:
    versions = [
        ModelVersion("m", str(number), "r", f"2013-01-0{number}", "f", {"auc": 0.5 + number / 100})
        for number in range(1, 7)
    ]
    versions.append(ModelVersion("m", "9", "r", "", "f", {"auc": 0.5}))  # of no partition
    versions.append(ModelVersion("m", "10", "r", "2013-01-07", "f", {}))  # never measured
    points = history.points_of(versions, LEDGER, "auc", "")
    assert [point.version for point in points if point.champion] == ["3", "5", "6"]
    assert len(points) == 6
    assert history.draw("m", "auc", points, "6", 0.55).startswith(b"\x89PNG")
    assert history.draw("m", "auc", [], "6", None).startswith(b"\x89PNG")
