"""The evidence of one decision: what was compared on which rows, what came out, and the verdict. JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nightshift.gate.comparison import compare
from nightshift.gate.verdict import Candidate, judge, limits_of, signature_differences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.config.pipeline import GateConfig
    from nightshift.gate.predictions import Predictions

__all__ = ["Holdout", "candidate_of", "evidence_id", "weigh"]


@dataclass(frozen=True, slots=True)
class Holdout:
    """The days that both models are compared on, and those left out because the champion knows them."""

    partitions: Sequence[str]
    left_out: Sequence[str] = ()


def candidate_of(evaluated: Mapping[str, Any], version: str, partition: str) -> Candidate:
    """A model as the gate sees it.

    :param evaluated: its part of ``evaluation.json``.
    """
    return Candidate(
        version=version,
        partition=partition,
        latency_ms=evaluated.get("latency_ms"),
        size_bytes=evaluated.get("size_bytes"),
        signature=evaluated.get("signature") or {},
    )


def evidence_id(evaluation: str, gate: GateConfig, challenger: str, champion: str) -> str:
    """The same for the same evaluation (its fingerprint), gate and versions."""
    said = json.dumps([evaluation, gate.model_dump(mode="json"), challenger, champion], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def weigh(
    predictions: Predictions,
    gate: GateConfig,
    challenger: Candidate,
    champion: Candidate | None,
    *,
    evaluation: str,
    holdout: Holdout,
) -> dict[str, Any]:
    """Compare, judge, and say both: the evidence, as the ledger and the pages show it.

    :param evaluation: fingerprint of the evaluation job; resamples are drawn from it, so the same evaluation
        always has the same evidence.
    :raises ConfigError: when the predictions are not what the gate asks for.
    """
    comparison = compare(predictions, gate, seed=int(evaluation[:8], 16))
    verdict = judge(gate, comparison, challenger, champion)
    differences = [] if champion is None else signature_differences(challenger, champion)
    known = "the champion was fitted or tuned on them" if holdout.left_out else ""
    return {
        "id": evidence_id(evaluation, gate, challenger.version, champion.version if champion else ""),
        "evaluation": evaluation,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "challenger": challenger.version,
        "challenger_partition": challenger.partition,
        "champion": champion.version if champion else "",
        "champion_partition": champion.partition if champion else "",
        "holdout": {
            "partitions": list(holdout.partitions),
            "rows": len(predictions),
            "left_out": list(holdout.left_out),
            "why_left_out": known,
        },
        **comparison.to_dict(),
        "limits": [asdict(limit) for limit in limits_of(gate, challenger)],
        "signature": {"compatible": not differences, "differences": differences},
        **verdict.to_dict(),
        "gate": gate.model_dump(mode="json"),
    }
