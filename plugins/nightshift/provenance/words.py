"""A story in plain text, for a terminal."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from nightshift.provenance.record import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nightshift.provenance.why import Decision, Story

__all__ = [
    "code_words",
    "decided",
    "environment_words",
    "lines",
    "number",
    "span",
    "splits",
    "validation_sums",
    "when",
    "who",
]

_SHOWN_DAYS = 5
_SHOWN_SLICES = 8


def lines(story: Story) -> list[str]:
    """The whole story, a heading and indented lines for each part of it."""
    found = [f"{story.pipeline} version {story.version}: {story.state}"]
    registered = f", registered {when(story.record['written_at'])}" if story.record else ""
    found.append(f"  partition {story.partition}{registered}, fingerprint {story.fingerprint}")
    for title, part in _parts(story):
        body = [f"  {_printable(line)}" for line in part]
        found += ["", title, *body] if body else []
    return found


def _parts(story: Story) -> Iterator[tuple[str, Iterable[str]]]:
    record = story.record
    if record:
        yield "Data", _data(record)
        yield "Validation", _validation(record["validation"])
        yield "Code", [code_words(story)]
        yield "Parameters", [", ".join(f"{key} {_value(value)}" for key, value in _parameters(record))]
        yield "Tuning", _tuning(story)
        yield "Environment", [environment_words(record["environment"])]
    yield "The gate", _gate(story)
    if record:
        yield "Cost", _cost(story)
        yield "Parents", _parents(story)
    yield "Decisions", [_decision(each) for each in story.decisions]
    yield "Not known", story.not_known
    yield "Links", [f"{name}: {url}" for name, url in story.links.items()]


def _data(record: Mapping[str, Any]) -> Iterator[str]:
    for name, manifest in record["manifests"].items():
        days = manifest["partitions"]
        yield (
            f"{name} at version {manifest['version']}: {manifest['rows']:,} rows"
            f"{f' of {span(days)}' if days else ''}, sha256 {manifest['sha256']}{_kept(manifest)}"
        )
    for name, days, rows in splits(record):
        yield f"{name}: {days}, {rows:,} rows of clean"


def by_version(manifest: Mapping[str, Any]) -> int:
    """How many files of a manifest are known by the version of their object: they outlive a deletion."""
    return sum(bool(file.get("object_version")) for file in manifest["files"])


def _kept(manifest: Mapping[str, Any]) -> str:
    known = by_version(manifest)
    return f", {known} of {len(manifest['files'])} files by object version" if known else ""


def splits(record: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Each split with its days and how many rows of ``clean`` these have."""
    used, days = record.get("validation", {}), record.get("splits", {})
    return [
        (name, span(days[name]), sum(used[day]["used"] for day in days[name] if day in used))
        for name in SPLITS
        if name in days
    ]


def _validation(days: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    states, rows = validation_sums(days)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    yield f"{len(days)} days: {counted}; " + ", ".join(f"{rows[name]:,} {name}" for name in rows)
    failed = [(day, each) for day, said in days.items() for each in said.get("failed", ())]
    for day, each in failed[:_SHOWN_DAYS]:
        count = f", {each['rows']} rows" if each["rows"] is not None else ""
        yield f"{day} {each['severity']}: {each['what']}{count}"
    if len(failed) > _SHOWN_DAYS:
        yield f"and {len(failed) - _SHOWN_DAYS} more failing expectations"
    for day, said in days.items():
        if said.get("clean", said["used"]) != said["used"]:
            yield f"{day}: {said['used']} rows were read, its report speaks of {said['clean']}"


def validation_sums(days: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, int], dict[str, int]]:
    """How many days there are of each verdict, and rows ingested, clean and quarantined of all of them."""
    states = Counter(said.get("status", "without a report") for said in days.values())
    names = ("ingested", "clean", "quarantined")
    return dict(states), {name: sum(said.get(name, 0) for said in days.values()) for name in names}


def code_words(story: Story) -> str:
    """The code's hash, and whether it is today's."""
    code = story.record.get("code_sha256")
    if not code:
        return "not known"
    same = "the same as today's" if story.same_code else f"today's is {story.code_today}"
    return f"include/jobs {code}, {same}"


def environment_words(environment: Mapping[str, Any]) -> str:
    """One line about Python, machine and packages."""
    if not environment:
        return "not known"
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items() if version)
    gpu = f", {environment['gpu']}" if environment["gpu"] else ""
    machine = f"{environment['processor'] or environment['platform']} ({environment['cpus']} CPUs{gpu})"
    return f"Python {environment['python']} on {machine}; {packages}"


def _parameters(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(record["parameters"].items())


def _tuning(story: Story) -> Iterator[str]:
    tuning = story.record.get("tuning")
    if not tuning:
        yield "none: the pipeline file's values"
        return
    best = tuning["best"]
    chosen = ", ".join(f"{key} {_value(value)}" for key, value in best["params"].items())
    value = f"{tuning['metric']} {number(best['value'])}".strip()
    states = Counter(trial["state"].lower() for trial in story.trials)
    ended = f" ({', '.join(f'{count} {state}' for state, count in states.items())})" if states else ""
    yield f"{tuning['trials']} trials{ended}; the best is number {best['number']}: {value}"
    yield f"with {chosen}"


def _gate(story: Story) -> Iterator[str]:
    evidence = story.evidence
    if not evidence:
        for name, value in sorted(story.metrics.items()):
            yield f"{name} {number(value)} on the holdout"
        return
    holdout = evidence["holdout"]
    against = f"version {evidence['champion']}" if evidence["champion"] else "nobody: the first model"
    rows = f"{holdout['rows']:,} rows of {span(holdout['partitions'])}"
    yield f"{evidence['verdict']} (entry {evidence['entry']}), against {against} on {rows}"
    if holdout.get("left_out"):
        yield f"left out {span(holdout['left_out'])}: {holdout['why_left_out']}"
    yield from evidence["reasons"]
    yield f"a gain above 0 is better, whatever the metric; in brackets the interval of {interval(evidence)}"
    for each in evidence["metrics"]:
        yield _measured(each["metric"], each)
    slices = [each for each in evidence.get("slices", ()) if each["regressed"]]
    for each in slices[:_SHOWN_SLICES]:
        yield "worse: " + _measured(f"{each['column']} {each['value']}", each)


def interval(evidence: Mapping[str, Any]) -> str:
    """The confidence of the two-sided intervals of the gains: each side is missed with the gate's alpha."""
    return f"{100 * (1 - 2 * evidence['method']['alpha']):g} %"


def _measured(name: str, each: Mapping[str, Any]) -> str:
    alone = f"{name} {number(each['challenger'])}"
    if each["champion"] is None:
        return alone
    interval = f" [{number(each['low'], sign=True)}, {number(each['high'], sign=True)}]"
    return f"{alone} against {number(each['champion'])}: gain {number(each['gain'], sign=True)}{interval}"


def _cost(story: Story) -> Iterator[str]:
    for job in story.record["jobs"]:
        yield f"{job['verb']} {job['seconds']:.1f} s, {job['cost_usd']:.4f} USD ({job['name']})"
    cost = story.cost
    yield f"together {cost['seconds']:.1f} s, {cost['cost_usd']:.4f} USD"


def _parents(story: Story) -> list[str]:
    return [f"measured against version {story.parent}" if story.parent else "none: there was no champion yet"]


def _decision(each: Decision) -> str:
    reasons = f": {'; '.join(each.reasons)}" if each.reasons else ""
    approved = f", approved by {each.approved_by}" if each.approved_by else ""
    return f"{when(each.at)} (entry {each.seq}) {decided(each)}, by {who(each.who)}{approved}{reasons}"


def decided(each: Decision) -> str:
    """What the entry did, in words."""
    place = f"in place of {each.other}" if each.other else "as the first champion"
    words = {
        "promoted": f"promoted, {place}",
        "held": f"held back, {each.other} stays" if each.other else "held back",
        "adopted": "taken over as the champion that MLflow's alias named",
        "returned": f"champion by a rollback, {place}",
        "rolled back": f"rolled back, {each.other} is champion" if each.other else "rolled back",
        "replaced": f"replaced by {each.other}",
    }
    return words[each.effect]


def who(facts: Mapping[str, str]) -> str:
    """A DAG run or a person."""
    if facts.get("kind") == "dag_run":
        person = f", started by {facts['user']}" if facts.get("user") else ""
        return f"{facts.get('dag', '?')} {facts.get('run', '?')}{person}"
    name, host = facts.get("name", ""), facts.get("host", "")
    return (f"{name}@{host}" if host else name) or "nobody known"


def when(at: str) -> str:
    """``2026-11-22 13:29 UTC`` of an ISO time in UTC."""
    return f"{at[:16].replace('T', ' ')} UTC" if at else "not known"


def span(days: Sequence[str]) -> str:
    """``2013-01-01..2013-01-21 (21 days)``."""
    if not days:
        return "no days"
    first, last = min(days), max(days)
    return first if first == last else f"{first}..{last} ({len(days)} days)"


def number(value: float | None, *, sign: bool = False) -> str:
    """Five decimals, which is what metrics differ in."""
    if value is None or not math.isfinite(value):
        return "undefined"
    return f"{value:+.5f}" if sign else f"{value:.5f}"


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _printable(line: str) -> str:
    """Safe on a terminal: reasons and examples are from outside."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)
