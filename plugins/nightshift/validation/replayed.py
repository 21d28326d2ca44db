"""What a replay of the quarantine did: per partition, in sums, and short enough to hand on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from nightshift.errors import SourceError
from nightshift.validation.summary import short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.validation.split import Rows

__all__ = ["Replay", "Replayed"]

_NAMED = 10
_TEXT = 160


@dataclass(frozen=True, slots=True)
class Replayed:
    """One partition: where its rows were and where they are.

    ``status`` is ``passed``, ``warned``, ``blocked``, or ``failed`` where it could not be judged; ``changed``
    has the tables whose rows are others now; ``reason`` says why it is blocked or failed.
    """

    partition: str
    status: Literal["passed", "warned", "blocked", "failed"]
    before: Rows
    after: Rows
    changed: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_good(self) -> bool:
        """Whether training may read it."""
        return self.status in ("passed", "warned")


@dataclass(frozen=True, slots=True)
class Replay:
    """A range, replayed.

    :param partitions: those that had rows in quarantine, or whose counts did not add up, oldest first.
    :param versions: the new version of each table that was changed.
    """

    pipeline: str
    first: str
    last: str
    dry_run: bool
    partitions: tuple[Replayed, ...]
    versions: Mapping[str, int]
    seconds: float

    @property
    def changed(self) -> tuple[Replayed, ...]:
        """Those that are not as they were, or would not be after a dry run."""
        return tuple(each for each in self.partitions if each.changed)

    @property
    def bad(self) -> tuple[Replayed, ...]:
        """Those that are blocked or failed."""
        return tuple(each for each in self.partitions if not each.is_good)

    @property
    def newest(self) -> str | None:
        """The newest good partition with other clean rows than before; none after a dry run."""
        found = [each.partition for each in self.changed if each.is_good and "clean" in each.changed]
        return max(found) if found and not self.dry_run else None

    def sums(self) -> dict[str, dict[str, int]]:
        """Rows before and after, by where they are."""
        return {
            name: {
                "before": sum(getattr(each.before, name) for each in self.partitions),
                "after": sum(getattr(each.after, name) for each in self.partitions),
            }
            for name in ("ingested", "clean", "quarantined")
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, JSON-safe."""
        return {**asdict(self), "versions": dict(self.versions), "rows": self.sums(), "newest": self.newest}

    def brief(self) -> dict[str, Any]:
        """Counts and the first partitions that are not good: JSON-safe, under 4 KB for any range."""
        return {
            "pipeline": self.pipeline,
            "from": self.first,
            "to": self.last,
            "dry_run": self.dry_run,
            "partitions": {
                "replayed": len(self.partitions),
                "changed": len(self.changed),
                "blocked": sum(each.status == "blocked" for each in self.partitions),
                "failed": sum(each.status == "failed" for each in self.partitions),
            },
            "rows": self.sums(),
            "versions": dict(self.versions),
            "newest": self.newest,
            "bad": {each.partition: short(each.reason, _TEXT) for each in self.bad[:_NAMED]},
            "seconds": round(self.seconds, 3),
        }

    def raise_if_failed(self) -> None:
        """Partitions that stay blocked are a result; those that could not be ingested again are an error.

        :raises SourceError: naming them.
        """
        failed = [each for each in self.partitions if each.status == "failed"]
        if failed:
            named = "; ".join(f"{each.partition}: {each.reason}" for each in failed[:_NAMED])
            more = len(failed) - _NAMED
            raise SourceError(
                f"{len(failed)} of {len(self.partitions)} partitions of {self.pipeline} could not be "
                f"replayed: {named}{f'; and {more} more' if more > 0 else ''}",
                fix="correct what they name and replay again; the other partitions are done",
            )
