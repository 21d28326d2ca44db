"""The ledger of a model: every decision about its champion, a small file each, written once.

``<lake>/<pipeline>/ledger/00000001.json`` and so on. A number is taken by creating its file where there is
none, which files, S3 and Blob Storage each decide for one writer alone. Every entry carries the sha256 of
the one before it, so that a change of what was written shows.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from nightshift.errors import ConfigError, LedgerBroken, LedgerConflict, StorageUnavailable
from nightshift.lake.storage import list_objects, read_object, read_objects, write_object
from nightshift.registry.who import FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nightshift.lake.tables import Lake

__all__ = ["Action", "Draft", "Entry", "Ledger", "barred", "standing_rollback"]

Action = Literal["promote", "hold", "rollback", "adopt"]

_NUMBERED = re.compile(r"(\d{8}|[1-9]\d{8,})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A decision, before it has a number.

    :param action: ``adopt`` takes over a champion that was set by its alias alone.
    :param version: what the decision is about; of a rollback, the version returned to.
    :param champion: the champion after it, empty for none.
    :param reasons: why, in words.
    :param who: a DAG run or a person, as :mod:`nightshift.registry.who` says it.
    :param approved_by: the person who was asked, where one was.
    :param evidence: the gate's, JSON-safe.
    :param manifests: by table: version, sha256, rows, bytes, first and last partition.
    """

    action: Action
    version: str
    champion: str
    partition: str = ""
    fingerprint: str = ""
    reasons: tuple[str, ...] = ()
    who: Mapping[str, str] = field(default_factory=dict)
    approved_by: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    manifests: Mapping[str, Any] = field(default_factory=dict)
    code_sha256: str = ""

    def __post_init__(self) -> None:
        if strange := set(self.who) - FIELDS:
            raise ConfigError(f"the ledger keeps no {', '.join(sorted(strange))} of who decides")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Draft):
    """A decision as it stands in the ledger.

    :param seq: its number, from 1.
    :param id: unlike that of any other entry.
    :param at: when it was written, ISO 8601 in UTC.
    :param previous: sha256 of the bytes of the entry before it, empty for the first.
    """

    seq: int
    model: str
    id: str
    at: str
    previous: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: _plain(found[name]) for name in ("seq", "model", "at", *found)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Entry:
        """
        :raises LedgerBroken: when it is no entry, or one of a newer version of Nightshift.
        """
        known = {each.name for each in fields(cls)}
        which = f"entry {document.get('seq', '?')} of the ledger of {document.get('model', '?')}"
        strange = sorted(set(document) - known)
        if strange or document.get("action", "hold") not in get_args(Action):
            what = ", ".join(strange) or f"action {document['action']!r}"
            raise LedgerBroken(
                f"{which} holds what this version does not know ({what})",
                fix="a newer Nightshift wrote it: update this one",
            )
        lacks = sorted(each.name for each in fields(cls) if _is_needed(each) and each.name not in document)
        if lacks:
            raise LedgerBroken(f"{which} lacks {', '.join(lacks)}", fix="restore it from a backup")
        return cls(**{**document, "reasons": tuple(document.get("reasons", ()))})

    def to_bytes(self) -> bytes:
        """What is written.

        :raises ValueError: when evidence or manifests are not JSON, as with a NaN.
        """
        return (json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n").encode()


class Ledger:
    """The ledger of the model of one pipeline."""

    def __init__(self, lake: Lake) -> None:
        self.model = lake.pipeline
        self._place = lake.location.child("ledger")
        self._read: dict[int, bytes] = {}  # entries never change

    def last(self) -> Entry | None:
        """The newest entry, None when there is none yet: one listing, one read."""
        numbers = self._numbers()
        return self.entry(numbers[-1]) if numbers else None

    def entry(self, seq: int) -> Entry:
        """One entry by its number.

        :raises LedgerBroken: when it is not there or cannot be read.
        """
        return self._parsed(seq, self._bytes(seq))

    def entries(self) -> list[Entry]:
        """Every entry, oldest first.

        :raises LedgerBroken: when one is gone, was changed or cannot be read.
        """
        found, trouble = self.audit()
        if trouble:
            raise trouble[0]
        return found

    def audit(self) -> tuple[list[Entry], list[LedgerBroken]]:
        """Every entry that can be read, oldest first, and all that is wrong with the ledger."""
        numbers = self._numbers()
        missing = [seq for seq in numbers if seq not in self._read]
        read = read_objects(self._place, [_name(seq) for seq in missing])
        self._read |= {seq: read[_name(seq)] for seq in missing if _name(seq) in read}
        entries: list[Entry] = []
        trouble: list[LedgerBroken] = []
        before: bytes | None = b""
        for seq in range(1, (numbers or [0])[-1] + 1):
            data = self._read.get(seq)
            try:
                entries.append(entry := self._parsed(seq, data))
                if before is not None and entry.previous != _sha256(before):
                    raise self._broken(f"{self._entry(seq)} does not fit the one before it: one was changed")
            except LedgerBroken as error:
                trouble.append(error)
            before = data
        return entries, trouble

    def append(self, draft: Draft, *, after: int | None = None) -> Entry:
        """Write a decision down.

        :param after: the number of the last entry that the decision knows of (0: of none); None takes the
            next free number, however many others write.
        :raises LedgerConflict: when there is an entry past ``after``; nothing was written.
        :raises StorageUnavailable: when it is not known whether it was written.
        """
        end = (self._numbers() or [0])[-1]
        if after is not None and end > after:
            raise self._conflict(after + 1)
        if after is not None and end < after:
            raise self._broken(f"{self._entry(after)} is gone")
        before = self._bytes(end) if end else b""
        while True:
            end += 1
            entry = self._numbered(draft, end, before)
            before = self._create(end, entry.to_bytes())
            if before == entry.to_bytes():
                return entry
            if after is not None:
                raise self._conflict(end)

    def _numbered(self, draft: Draft, seq: int, before: bytes) -> Entry:
        return Entry(
            **{each.name: getattr(draft, each.name) for each in fields(Draft)},
            seq=seq,
            model=self.model,
            id=str(uuid.uuid4()),
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            previous=_sha256(before),
        )

    def _create(self, seq: int, data: bytes) -> bytes:
        """Write an entry where there is none of that number; what stands there then, ours or another's."""
        try:
            if write_object(self._place, _name(seq), data, only_if_new=True):
                return data
        except StorageUnavailable:  # the reply is lost; the entry need not be
            standing = read_object(self._place, _name(seq))
            if standing is None:
                raise
            return standing
        return self._bytes(seq)

    def _numbers(self) -> list[int]:
        names = [each.path for each in list_objects(self._place)]
        return sorted(int(name.removesuffix(".json")) for name in names if _NUMBERED.fullmatch(name))

    def _bytes(self, seq: int) -> bytes:
        if seq not in self._read:
            data = read_object(self._place, _name(seq))
            if data is None:
                raise self._broken(f"{self._entry(seq)} is gone")
            self._read[seq] = data
        return self._read[seq]

    def _parsed(self, seq: int, data: bytes | None) -> Entry:
        if data is None:
            raise self._broken(f"{self._entry(seq)} is gone")
        try:
            document = json.loads(data)
        except ValueError:
            document = None
        named = (document.get("seq"), document.get("model")) if isinstance(document, dict) else None
        if named != (seq, self.model):
            raise self._broken(f"{self._entry(seq)} is not what was written there")
        return Entry.from_dict(document)

    def _conflict(self, seq: int) -> LedgerConflict:
        entry = self.entry(seq)
        return LedgerConflict(
            f"another decision came first: {self._entry(seq)}, {entry.action} of version {entry.version}",
            fix="decide again by what the ledger says now; a retry does",
        )

    def _entry(self, seq: int) -> str:
        return f"entry {seq} of the ledger of {self.model}"

    def _broken(self, what: str) -> LedgerBroken:
        return LedgerBroken(
            f"{what} ({self._place.uri})",
            fix="restore it from the store's object versions or a backup; where there is none, move the "
            "folder away: the next decision begins a new ledger with the champion of MLflow's alias",
        )


def standing_rollback(entries: Sequence[Entry], version: str) -> Entry | None:
    """The rollback that took ``version`` off the champion's place, unless it came back since.

    A rollback to a version takes away every champion that came after that one, not the last alone.
    """
    standing: dict[str, Entry] = {}
    champions: list[str] = []  # one after the other
    for entry in entries:
        if champions[-1:] == [entry.champion]:
            continue
        if entry.action == "rollback":
            since = _after(champions, entry.champion)
            standing = dict.fromkeys(since, entry) | standing
        standing.pop(entry.champion, None)
        champions.append(entry.champion)
    return standing.get(version)


def barred(entries: Sequence[Entry], version: str, days: Sequence[str]) -> Entry | None:
    """The rollback that keeps an evaluation on ``days`` from promoting ``version``; None if none does.

    It may return on days that nobody had seen when it was rolled back: on at least one that is later than
    those it was judged on before.
    """
    rollback = standing_rollback(entries, version)
    if rollback is None:
        return None
    before = [each for each in entries if each.version == version and each.seq < rollback.seq]
    known = [day for each in before for day in each.evidence.get("holdout", {}).get("partitions", ())]
    last = max(known, default=max((each.partition for each in before), default=""))
    return rollback if max(days, default="") <= last else None


def _after(champions: Sequence[str], returned_to: str) -> Sequence[str]:
    """The champions since ``returned_to`` was one; the last alone where it never was."""
    for place in range(len(champions) - 1, -1, -1):
        if champions[place] == returned_to:
            return champions[place + 1 :]
    return champions[-1:]


def _name(seq: int) -> str:
    return f"{seq:08d}.json"


def _sha256(data: bytes) -> str:
    """Empty for what comes before the first entry."""
    return hashlib.sha256(data).hexdigest() if data else ""


def _is_needed(each: Any) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value
