"""What a validation says to the rest of the night: counts, failing expectations, a pointer to the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nightshift.errors import ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_BYTES", "Failure", "Status", "ValidationSummary", "example_text", "report_path", "short"]

Status = Literal["passed", "warned", "blocked"]
MAX_BYTES = 4096
_TEXT = 160
_EXAMPLES = 3
_NAMED = 6


def report_path(partition: str, kind: str = "html") -> str:
    """Where a partition's report lies in the lake of its pipeline."""
    return f"reports/{partition}.{kind}"


@dataclass(frozen=True, slots=True)
class Failure:
    """One expectation that did not hold."""

    type: str
    column: str
    severity: str
    row_level: bool
    unexpected: int | None
    observed: str
    examples: tuple[str, ...]

    def to_dict(self, *, text: int = _TEXT, examples: int = _EXAMPLES) -> dict[str, Any]:
        """JSON-safe, strings cut to ``text`` bytes."""
        return {
            "type": short(self.type, text),
            "column": short(self.column, text),
            "severity": self.severity,
            "row_level": self.row_level,
            "unexpected": self.unexpected,
            "observed": short(self.observed, text),
            "examples": [short(each, text) for each in self.examples[:examples]],
        }

    def sentence(self) -> str:
        """For messages: ``expect_… (distance): 2 rows, e.g. -5``."""
        found = f"{self.unexpected} rows" if self.row_level else f"observed {short(self.observed, 80)}"
        shown = ", ".join(short(each, 60) for each in self.examples[:_EXAMPLES])
        return f"{self.type} ({short(self.column, 80)}): {found}{f', e.g. {shown}' if shown else ''}"


@dataclass(frozen=True, slots=True)
class ValidationSummary:
    """The outcome of one partition. ``failed`` is ordered by severity, ``reason`` says why it is blocked,
    ``versions`` are those of ``raw`` that was judged and of the tables that hold its rows."""

    pipeline: str
    partition: str
    status: Status
    ingested: int
    clean: int
    quarantined: int
    failed: tuple[Failure, ...]
    reason: str
    report: str
    engine: str
    seconds: float
    suite: str
    versions: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe and under 4 KB whatever the data hold: strings are cut first, then the list."""
        for text, examples, failures in ((_TEXT, 3, 12), (80, 2, 10), (48, 1, 8), (32, 0, 6), (24, 0, 3)):
            data = self._render(text, examples, failures)
            if len(json.dumps(data, ensure_ascii=True)) < MAX_BYTES:
                return data
        return self._render(16, 0, 0)

    def _render(self, text: int, examples: int, failures: int) -> dict[str, Any]:
        return {
            "pipeline": short(self.pipeline, text),
            "partition": short(self.partition, text),
            "status": self.status,
            "rows": {"ingested": self.ingested, "clean": self.clean, "quarantined": self.quarantined},
            "reason": short(self.reason, 2 * text),
            "failed": [each.to_dict(text=text, examples=examples) for each in self.failed[:failures]],
            "failed_total": len(self.failed),
            "report": short(self.report, 512 if text > 32 else 256),
            "engine": self.engine,
            "seconds": round(self.seconds, 3),
            "suite": short(self.suite, text),
            "versions": dict(self.versions),
        }

    def raise_if_blocked(self) -> None:
        """Stop the night here when the partition is blocked.

        :raises ValidationFailed: with the failing expectations in its message, and :meth:`to_dict` as its
            attribute ``summary``.
        """
        if self.status != "blocked":
            return
        decisive = [each for each in self.failed if each.severity == "critical"]
        named = "; ".join(each.sentence() for each in decisive[:_NAMED])
        more = len(decisive) - _NAMED
        raise ValidationFailed(
            f"{self.pipeline} {self.partition} is blocked: {self.reason}."
            f" {named}{f'; and {more} more' if more > 0 else ''}",
            fix=f"read {self.report}; correct the suite and replay the quarantine, or correct the source and "
            "ingest the partition again",
            summary=self.to_dict(),
        )


def short(value: Any, limit: int) -> str:
    """A value as one line of text that takes at most ``limit`` bytes of ASCII JSON."""
    text = value if isinstance(value, str) else _plain(value)
    text = " ".join(text.split())
    if len(json.dumps(text)) - 2 <= limit:
        return text
    low, high = 0, min(len(text), limit)
    while low < high:  # the longest beginning that fits, with its three dots
        middle = (low + high + 1) // 2
        if len(json.dumps(text[:middle])) + 1 <= limit:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "..."


def _plain(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return (
        json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    )


def example_text(example: Mapping[str, Any]) -> str:
    """``row 7: distance=-5`` of an example row."""
    values = ", ".join(f"{name}={_plain(value)}" for name, value in example.items() if name != "row_id")
    return f"row {example['row_id']}: {values}" if "row_id" in example else values
