"""Whether a challenger takes the champion's place: every rule of the gate, and why, in words with numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nightshift.gate.metrics import higher_is_better

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.config.pipeline import GateConfig
    from nightshift.gate.comparison import Comparison, SliceGain

__all__ = ["Candidate", "Limit", "Verdict", "judge", "limits_of", "signature_differences"]

_MIB = 1024 * 1024
_SLICES_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the gate looks at besides the predictions.

    :param partition: the last partition that the model may have seen.
    :param latency_ms: milliseconds that 95 of 100 calls with one row took; None when not measured.
    :param signature: ``{"inputs": {column: type}, "outputs": {column: type}}``, {} when the model has none.
    """

    version: str = ""
    partition: str = ""
    latency_ms: float | None = None
    size_bytes: int | None = None
    signature: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``promote``, ``hold``, or ``ask`` a person; and why."""

    verdict: Literal["promote", "hold", "ask"]
    reasons: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form."""
        return {"verdict": self.verdict, "reasons": list(self.reasons)}


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit on what a model may need."""

    what: str
    value: float | None
    limit: float
    holds: bool


def judge(
    gate: GateConfig, comparison: Comparison, challenger: Candidate, champion: Candidate | None
) -> Verdict:
    """Apply the gate to what was measured.

    The first model needs its floors and limits only. After that the challenger must not be older, must fit
    where the champion fits, must surely be better by more than ``gate.min_effect``, and must not be worse on
    a slice. Everything that speaks against it is said, not the first alone.
    """
    against = [*_floors(gate, comparison), *_limits(gate, challenger)]
    if champion is None:
        words = "there is no champion yet, and every floor and limit holds"
        return _verdict(gate, against, words)
    if challenger.partition < champion.partition:
        against.append(
            f"its partition {challenger.partition} is older than the champion's {champion.partition}"
        )
    if gate.signature == "compatible":
        against += signature_differences(challenger, champion)
    better, words = _margin(gate, comparison)
    if not better:
        against.append(words)
    against += _slices(gate, comparison)
    return _verdict(gate, against, words)


def limits_of(gate: GateConfig, model: Candidate) -> list[Limit]:
    """The limits that the pipeline file sets, and whether the model keeps them; unmeasured keeps none."""
    size = None if model.size_bytes is None else model.size_bytes / _MIB
    measured = {
        "latency_ms": (model.latency_ms, gate.limits.latency_ms),
        "size_mib": (size, gate.limits.size_mib),
    }
    return [
        Limit(what, value, limit, value is not None and value <= limit)
        for what, (value, limit) in measured.items()
        if limit is not None
    ]


def signature_differences(challenger: Candidate, champion: Candidate) -> list[str]:
    """Why the challenger does not fit where the champion fits; empty when it does.

    It fits when every column that it wants is one that the champion is given, of the same type, and when it
    gives the same columns back.
    """
    mine, theirs = challenger.signature.get("inputs", {}), champion.signature.get("inputs", {})
    if not mine or not theirs:
        return []  # a model without a signature promises nothing, so it breaks nothing
    found = [
        f"it wants the column {name} ({kind}), the champion "
        + (f"takes it as {theirs[name]}" if name in theirs else "does not")
        for name, kind in mine.items()
        if theirs.get(name) != kind
    ]
    if challenger.signature.get("outputs", {}) != champion.signature.get("outputs", {}):
        found.append("it gives back other columns than the champion")
    return found


def _verdict(gate: GateConfig, against: list[str], words: str) -> Verdict:
    if against:
        return Verdict("hold", tuple(against))
    if gate.promote == "never":
        return Verdict("hold", (words, "promotion is switched off"))
    return Verdict("ask" if gate.promote == "ask" else "promote", (words,))


def _floors(gate: GateConfig, comparison: Comparison) -> list[str]:
    reasons = []
    for name, floor in gate.floors.items():
        value = comparison.of(name).challenger
        inside = value is not None and (value >= floor if higher_is_better(name) else value <= floor)
        if not inside:
            side = "below" if higher_is_better(name) else "above"
            shown = "not defined on these rows" if value is None else f"{value:.5g}"
            reasons.append(f"{name} is {shown}: {side} its floor {floor:.5g}")
    return reasons


def _limits(gate: GateConfig, challenger: Candidate) -> list[str]:
    return [
        f"{each.what} was not measured, its limit is {each.limit:g}"
        if each.value is None
        else f"{each.what} is {each.value:.4g}, more than its limit {each.limit:g}"
        for each in limits_of(gate, challenger)
        if not each.holds
    ]


def _margin(gate: GateConfig, comparison: Comparison) -> tuple[bool, str]:
    found = comparison.of(gate.metric)
    if found.champion is None and found.challenger is not None:
        return False, "the champion knows every day of the holdout: there is nothing to compare on"
    if found.gain is None or found.low is None or found.high is None:
        return False, f"{gate.metric} cannot be compared on these rows"
    better = found.low > gate.min_effect
    margin = f"the margin of {gate.min_effect:g}" if gate.min_effect else "0"
    return better, (
        f"{gate.metric} {found.challenger:.5f} against the champion's {found.champion:.5f}, a gain of "
        f"{found.gain:+.5f}; with {100 * (1 - gate.alpha):g} % confidence it is above {found.low:+.5f}, "
        f"{'so' if better else 'which is not'} above {margin}"
    )


def _slices(gate: GateConfig, comparison: Comparison) -> list[str]:
    worse = [each for each in comparison.slices if each.regressed]
    named = [_slice(gate, each) for each in worse[:_SLICES_NAMED]]
    more = len(worse) - len(named)
    return [*named, f"and {more} more slices are worse"] if more else named


def _slice(gate: GateConfig, found: SliceGain) -> str:
    return (
        f"on {found.column} = {found.value} ({found.rows} rows) {gate.metric} is worse: "
        f"{found.challenger:.5f} against {found.champion:.5f} (adjusted p {found.p_adjusted:.2g})"
    )
