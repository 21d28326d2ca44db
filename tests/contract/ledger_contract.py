"""What a ledger promises on every kind of storage; each kind subclasses this and supplies one fixture."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.errors import LedgerBroken, LedgerConflict, StorageUnavailable
from nightshift.lake.storage import Location, read_object, remove, write_object
from nightshift.lake.tables import Lake
from nightshift.registry import ledger as ledger_module
from nightshift.registry.ledger import Draft, Entry, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = ["WORKERS", "LedgerContract", "decision"]

WRITERS, EACH = 16, 3
WORKERS = 4


def decision(version: str, **changes: Any) -> Draft:
    """A promotion of ``version``."""
    who = {"kind": "dag_run", "dag": "pipe_retrain", "run": "r1", "url": "http://127.0.0.1:8080/dags/x"}
    told: dict[str, Any] = {"action": "promote", "champion": version, "reasons": ("better",), "who": who}
    return Draft(version=version, **{**told, **changes})


def _ledger(uri: str, options: dict[str, str]) -> Ledger:
    return Ledger(Lake(Location(uri, options), "pipe"))


def append_many(uri: str, options: dict[str, str], writers: range, each: int) -> list[tuple[str, int]]:
    """Each of these writers, a thread, appends ``each`` entries (own process); version and number of each."""

    def write(writer: int) -> list[tuple[str, int]]:
        ledger = _ledger(uri, options)
        versions = [f"{writer}.{number}" for number in range(each)]
        return [(version, ledger.append(decision(version)).seq) for version in versions]

    with ThreadPoolExecutor(len(writers)) as threads:
        return [pair for found in threads.map(write, writers) for pair in found]


def append_after(uri: str, options: dict[str, str], writers: range, after: int) -> list[Entry]:
    """Each of these writers, a thread, appends after the same entry (own process); the entries written."""

    def write(writer: int) -> list[Entry]:
        try:
            return [_ledger(uri, options).append(decision(str(writer)), after=after)]
        except LedgerConflict:
            return []

    with ThreadPoolExecutor(len(writers)) as threads:
        return [entry for found in threads.map(write, writers) for entry in found]


class LedgerContract:
    """Needs two fixtures: ``place``, an empty :class:`Location`, one per test, and ``pool``, an executor of
    four workers, which are processes where the storage is this machine's own."""

    @pytest.fixture
    def ledger(self, place: Location) -> Ledger:
        return _ledger(place.uri, dict(place.options))

    def test_entries_come_back_as_written_oldest_first(self, ledger: Ledger) -> None:
        assert (ledger.last(), ledger.entries()) == (None, [])
        evidence = {"id": "e1", "metrics": [{"metric": "roc_auc", "gain": 0.1 + 0.2, "p": None}]}
        draft = decision("1", evidence=evidence, manifests={"clean": {"version": 7}}, approved_by="Ada")
        written = [ledger.append(draft), ledger.append(decision("2", action="hold", champion="1"))]
        assert [each.seq for each in written] == [1, 2]
        assert ledger.entries() == written
        assert ledger.last() == written[-1]
        assert (written[0].evidence, written[0].reasons, written[0].model) == (evidence, ("better",), "pipe")

    def test_every_entry_carries_the_hash_of_the_one_before(self, ledger: Ledger, place: Location) -> None:
        first, second = ledger.append(decision("1")), ledger.append(decision("2"))
        assert first.previous == ""
        assert second.previous == ledger_module._sha256(
            read_object(place, "pipe/ledger/00000001.json") or b""
        )

    def test_sixteen_writers_lose_nothing_and_take_no_number_twice(
        self, pool: Executor, ledger: Ledger, place: Location
    ) -> None:
        written = [pair for found in self._race(pool, place, append_many, EACH) for pair in found]
        assert sorted(seq for _, seq in written) == list(range(1, WRITERS * EACH + 1))
        assert [each.version for each in ledger.entries()] == [
            version for version, _ in sorted(written, key=lambda pair: pair[1])
        ]

    def test_of_sixteen_writers_after_the_same_entry_one_wins(
        self, pool: Executor, ledger: Ledger, place: Location
    ) -> None:
        ledger.append(decision("1"))
        (won,) = [entry for found in self._race(pool, place, append_after, 1) for entry in found]
        assert won.seq == 2
        assert ledger.entries()[-1] == won
        with pytest.raises(
            LedgerConflict, match=f"entry 2 of the ledger of pipe, promote of version {won.version}"
        ):
            ledger.append(decision("99"), after=1)
        assert ledger.append(decision("99"), after=2).seq == 3

    @pytest.mark.parametrize("how", ["an error", "a refusal"])
    def test_an_entry_whose_reply_was_lost_is_known_again(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        def lose_reply(*args: Any, **options: Any) -> bool:
            write_object(*args, **options)
            if how == "an error":
                raise StorageUnavailable("the connection was reset")
            return False  # the client has tried again by itself, and met its own entry

        monkeypatch.setattr(ledger_module, "write_object", lose_reply)
        assert [ledger.append(decision("1"), after=0).seq, ledger.append(decision("2")).seq] == [1, 2]
        assert [each.version for each in ledger.entries()] == ["1", "2"]

    def test_an_entry_that_did_not_arrive_is_an_error(
        self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> bool:
            raise StorageUnavailable("the connection was refused")

        monkeypatch.setattr(ledger_module, "write_object", fail)
        with pytest.raises(StorageUnavailable, match="refused"):
            ledger.append(decision("1"))
        assert ledger.last() is None

    def test_a_lost_reply_does_not_make_anothers_entry_ours(
        self, ledger: Ledger, place: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = _ledger(place.uri, dict(place.options))

        def too_late(*args: Any, **options: Any) -> bool:
            monkeypatch.undo()
            other.append(decision("other"))
            write_object(*args, **options)
            raise StorageUnavailable("the connection was reset")

        monkeypatch.setattr(ledger_module, "write_object", too_late)
        with pytest.raises(LedgerConflict, match="version other"):
            ledger.append(decision("1"), after=0)
        assert ledger.append(decision("1")).seq == 2

    def test_what_was_changed_or_taken_away_is_named(self, ledger: Ledger, place: Location) -> None:
        for version in "1234":
            ledger.append(decision(version))
        document = json.loads(read_object(place, "pipe/ledger/00000002.json") or b"")
        changed = json.dumps({**document, "champion": "9"}).encode()
        write_object(place, "pipe/ledger/00000002.json", changed)
        fresh = _ledger(place.uri, dict(place.options))
        with pytest.raises(
            LedgerBroken, match=r"entry 3 of the ledger of pipe does not fit.*To fix: restore"
        ):
            fresh.entries()
        remove(place, ["pipe/ledger/00000002.json"])
        fresh = _ledger(place.uri, dict(place.options))
        entries, (trouble,) = fresh.audit()
        assert [each.seq for each in entries] == [1, 3, 4]
        assert "entry 2 of the ledger of pipe is gone" in str(trouble)
        assert fresh.append(decision("5")).seq == 5

    def _race(
        self, pool: Executor, place: Location, work: Callable[..., list[Any]], last: int
    ) -> list[list[Any]]:
        """Sixteen writers, four threads in each of four processes, or in one."""
        share = WRITERS // WORKERS
        running = [
            pool.submit(work, place.uri, dict(place.options), range(first, first + share), last)
            for first in range(0, WRITERS, share)
        ]
        return [each.result(timeout=120) for each in running]
