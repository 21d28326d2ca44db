"""One cause, one teller: whoever comes second waits for the first, but not for ever."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from nightshift.lake.storage import Location, list_objects, read_object
from nightshift.notifiers.told import Telling

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    return Location(tmp_path.as_uri())


def test_a_marker_says_what_was_told_and_when(folder: Location) -> None:
    telling = Telling(folder, "budget:2026-11")
    assert not telling.is_done()
    assert telling.done("budget passed")
    (marker,) = [each.path for each in list_objects(folder) if each.path.endswith(".json")]
    found = json.loads(read_object(folder, marker) or b"")
    assert (found["cause"], found["title"]) == ("budget:2026-11", "budget passed")
    assert found["at"].endswith("+00:00")
    assert telling.is_done()
    assert not Telling(folder, "budget:2026-12").is_done()


def test_who_comes_second_waits_until_the_first_has_told(folder: Location) -> None:
    first, second = Telling(folder, "c"), Telling(folder, "c")
    assert not first.is_done()
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(second.is_done()))
    waiting.start()
    first.done("x")
    waiting.join(10)
    assert found == [True]


def test_who_comes_second_tells_it_when_the_first_has_died(folder: Location) -> None:
    assert not Telling(folder, "c").is_done()
    began = time.monotonic()
    assert not Telling(folder, "c", lease_s=0.3).is_done()
    assert time.monotonic() - began < 5


def test_a_claim_of_long_ago_is_not_waited_for(folder: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as past:
        past.setattr(time, "time", lambda: 1.0)
        assert not Telling(folder, "c").is_done()
    began = time.monotonic()
    assert not Telling(folder, "c").is_done()
    assert time.monotonic() - began < 5


def test_who_reached_nobody_lets_the_next_one_try_at_once(folder: Location) -> None:
    telling = Telling(folder, "c")
    assert not telling.is_done()
    telling.given_up()
    assert list_objects(folder) == []
    assert not Telling(folder, "c").is_done()
