"""Why a model version is what it is: its record, its trials and what was decided about it, in one story."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nightshift.errors import ModelVersionAbsent
from nightshift.provenance.record import read_record
from nightshift.registry.artifacts import Artifacts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.registry.ledger import Entry, Ledger
    from nightshift.registry.models import Models, ModelVersion

__all__ = ["Decision", "Story", "decisions_about", "find_version", "story_of"]

_ABOUT_ANOTHER = ("rolled back", "replaced")
"""Effects of a decision that was about the version that came after."""
_NO_RECORD = (
    "data, validation, code, parameters, environment and cost: it was registered before records were kept"
)
_NO_CODE = "the code it was trained with: its platform had forgotten the job when it was registered"
_NO_DECISION = "why it is or is not the champion: the ledger says nothing about it"
_NO_EVIDENCE = "what the gate measured: none of the decisions about it was the gate's"


@dataclass(frozen=True, slots=True)
class Decision:
    """An entry of the ledger that is about a version: what it did to it, and all that the entry says.

    :param effect: ``promoted``, ``held``, ``adopted``, ``returned`` (a rollback to it), ``rolled back``
        (off the champion's place) or ``replaced`` (by another version that was promoted).
    :param other: the champion before, or, where it lost the place, the champion after; "" for none.
    """

    seq: int
    at: str
    effect: str
    other: str
    reasons: tuple[str, ...]
    who: Mapping[str, str]
    approved_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that is known of a model version.

    :param state: ``champion``, ``was champion`` or ``never champion``.
    :param record: as :mod:`nightshift.provenance.record` describes it; {} where there is none.
    :param code_today: sha256 of ``include/jobs`` as it is now.
    :param trials: of the tuning job, as it wrote them; none where there was none.
    :param evidence: of the gate, from the newest ledger entry about this version that has some.
    :param not_known: what an older version did not write down, in words.
    """

    pipeline: str
    version: str
    partition: str
    fingerprint: str
    run_id: str
    state: str
    metrics: Mapping[str, float]
    record: Mapping[str, Any]
    code_today: str
    trials: Sequence[Mapping[str, Any]]
    decisions: Sequence[Decision]
    evidence: Mapping[str, Any]
    not_known: Sequence[str]
    links: Mapping[str, str]

    @property
    def same_code(self) -> bool | None:
        """Whether today's code is the one that it was trained with; None where that is not known."""
        code = self.record.get("code_sha256")
        return code == self.code_today if code else None

    @property
    def approved_by(self) -> str:
        """Who approved it, "" where nobody was asked."""
        about = (each for each in reversed(self.decisions) if each.effect not in _ABOUT_ANOTHER)
        return next((each.approved_by for each in about if each.approved_by), "")

    @property
    def primary(self) -> Mapping[str, Any]:
        """What the gate measured in the metric that decides; {} where it measured nothing."""
        name = self.evidence.get("gate", {}).get("metric")
        return next((each for each in self.evidence.get("metrics", ()) if each["metric"] == name), {})

    @property
    def cost(self) -> dict[str, float]:
        """``{seconds, billable_seconds, cost_usd}`` of all its jobs."""
        jobs = self.record.get("jobs", ())
        return {
            name: math.fsum(job[name] for job in jobs) for name in ("seconds", "billable_seconds", "cost_usd")
        }

    @property
    def parent(self) -> str:
        """The champion that it was measured against, the last time; empty for none."""
        return str(self.evidence.get("champion", "") or self.record.get("compared_with", ""))

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe form, with what is derived."""
        told = {
            "same_code": self.same_code,
            "approved_by": self.approved_by,
            "cost": self.cost,
            "parents": [self.parent] if self.parent else [],
        }
        return {**asdict(self), **told}


def story_of(
    models: Models, ledger: Ledger, version: ModelVersion, *, code_today: str, links: Mapping[str, str]
) -> Story:
    """The story of a version.

    :param links: name -> address of what belongs to it, beyond its DAG run and validation report.
    :raises RegistryError: when MLflow cannot be reached, or the ledger is broken.
    """
    record = read_record(models.uri, version.run_id) or {}
    entries = ledger.entries()
    decisions = decisions_about(entries, version.version)
    evidence = _evidence(entries, version.version)
    champion = entries[-1].champion if entries else _alias(models, version.name)
    return Story(
        pipeline=version.name,
        version=version.version,
        partition=version.partition,
        fingerprint=version.fingerprint,
        run_id=version.run_id,
        state=_state(version.version, champion, decisions),
        metrics=dict(version.metrics),
        record=record,
        code_today=code_today,
        trials=_trials(models.uri, record),
        decisions=decisions,
        evidence=evidence,
        not_known=_not_known(record, decisions, evidence),
        links={**_links(record, version.partition), **links},
    )


def find_version(models: Models, name: str, version: str) -> ModelVersion:
    """The version of that number.

    :raises ModelVersionAbsent: naming those there are.
    """
    try:
        return models.get(name, version)
    except ModelVersionAbsent:
        known = [each.version for each in models.versions(name)]
        there = f"there are {', '.join(_ranges(known))}" if known else "it has none yet: run its retrain DAG"
        raise ModelVersionAbsent(f"{name} has no version {version!r}; {there}") from None


def decisions_about(entries: Sequence[Entry], version: str) -> list[Decision]:
    """The entries that decided about ``version``, or took or gave it the champion's place; oldest first."""
    found, before = [], ""
    for entry in entries:
        effect, other = _effect(entry, before, version)
        if effect:
            found.append(
                Decision(
                    entry.seq,
                    entry.at,
                    effect,
                    other,
                    tuple(entry.reasons),
                    dict(entry.who),
                    entry.approved_by,
                )
            )
        before = entry.champion
    return found


def _effect(entry: Entry, before: str, version: str) -> tuple[str, str]:
    """What an entry did to ``version`` when ``before`` was the champion; and the other version in it."""
    if entry.version == version:
        words = {"promote": "promoted", "hold": "held", "adopt": "adopted", "rollback": "returned"}
        return words[entry.action], before if before != version else ""
    if before == version != entry.champion:
        return ("rolled back" if entry.action == "rollback" else "replaced"), entry.champion
    return "", ""


def _state(version: str, champion: str, decisions: Sequence[Decision]) -> str:
    if version == champion:
        return "champion"
    was = any(each.effect in ("promoted", "adopted", "returned") for each in decisions)
    return "was champion" if was else "never champion"


def _evidence(entries: Sequence[Entry], version: str) -> dict[str, Any]:
    """What the gate measured, and by which entry; a decision that needed no gate has no metrics."""
    found = ({**each.evidence, "entry": each.seq} for each in reversed(entries) if each.version == version)
    return next((evidence for evidence in found if "metrics" in evidence), {})


def _alias(models: Models, name: str) -> str:
    champion = models.champion(name)
    return champion.version if champion else ""


def _trials(mlflow_uri: str, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    run_id = (record.get("tuning") or {}).get("run_id")
    found = Artifacts(mlflow_uri).read_json(run_id, "trials.json") if run_id else None
    return list(found or ())


def _links(record: Mapping[str, Any], partition: str) -> dict[str, str]:
    known = {
        "Airflow run": record.get("dag_run", {}).get("url"),
        "validation report": record.get("reports", {}).get(partition),
    }
    return {name: url for name, url in known.items() if url}


def _not_known(
    record: Mapping[str, Any], decisions: Sequence[Decision], evidence: Mapping[str, Any]
) -> list[str]:
    gaps = {
        _NO_RECORD: not record,
        _NO_CODE: bool(record) and not record["code_sha256"],
        _NO_DECISION: not decisions,
        _NO_EVIDENCE: bool(decisions) and not evidence,
    }
    return [words for words, missing in gaps.items() if missing]


def _ranges(versions: Sequence[str]) -> list[str]:
    """``1..4, 6``: numbers in order, runs of them as one."""
    runs: list[list[int]] = []
    for number in map(int, versions):
        if runs and runs[-1][-1] == number - 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return [f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
