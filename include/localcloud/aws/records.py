"""What the control plane remembers: one record per job or model, kept in files so that a restart finds it."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.aws.home import ACCOUNT, REGION, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Record", "Records", "arn_of"]


def arn_of(kind: str, name: str) -> str:
    """The ARN of a SageMaker thing; its kind is the ARN's own word, like ``training-job``."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{name}"


@dataclass(slots=True)
class Record:
    """One thing with a name.

    :param request: the parameters of its Create call.
    :param shown: what its Describe call answers; times are seconds since 1970.
    :param state: what nobody is shown but a restart needs.
    """

    kind: str
    name: str
    request: dict[str, Any]
    shown: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)
    watchers: list[Callable[[str, float], None]] = field(default_factory=list)

    @property
    def arn(self) -> str:
        """Its full name."""
        return arn_of(self.kind, self.name)


class Records:
    """All records, by kind and name; ``folder`` holds one JSON file for each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._all: dict[tuple[str, str], Record] = {}
        for path in sorted(folder.glob("*/*.json")):
            self._load(path)

    def add(self, record: Record, taken: Callable[[Record], Exception]) -> None:
        """Remember a new record.

        :raises Exception: what ``taken`` makes of the record that has that name already.
        """
        with self._lock:
            there = self._all.get((record.kind, record.name))
            if there is not None:
                raise taken(there)
            self._all[record.kind, record.name] = record
        self.save(record)

    def find(self, kind: str, name: str) -> Record | None:
        """The record of that name."""
        return self._all.get((kind, name))

    def by_arn(self, arn: str) -> Record | None:
        """The record with that ARN."""
        kind, _, name = arn.partition(arn_of("", "")[:-1])[2].partition("/")
        return self.find(kind, name)

    def all(self, kind: str) -> list[Record]:
        """Every record of a kind, oldest first."""
        with self._lock:
            return [record for (kind_, _), record in self._all.items() if kind_ == kind]

    def remove(self, record: Record) -> None:
        """Forget a record."""
        with self._lock:
            self._all.pop((record.kind, record.name), None)
        self._path(record).unlink(missing_ok=True)

    def change(self, record: Record, **shown: Any) -> None:
        """Set what its Describe call answers, with the time of the change, and keep it."""
        with record.lock:
            now = {"LastModifiedTime": time.time()} if "LastModifiedTime" in record.shown else {}
            record.shown = {**record.shown, **now, **shown}
        self.save(record)

    def save(self, record: Record) -> None:
        """Write the record's file."""
        with record.lock:
            document = {
                "request": record.request, "shown": record.shown, "tags": record.tags, "state": record.state
            }  # fmt: skip
            write_json(self._path(record), document)

    def _path(self, record: Record) -> Path:
        return self._folder / record.kind / f"{record.name}.json"

    def _load(self, path: Path) -> None:
        record = Record(path.parent.name, path.stem, **json.loads(path.read_text()))
        self._all[record.kind, record.name] = record
