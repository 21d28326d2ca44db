"""What each of our operators reads and writes, told from its arguments and from what it returned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nightshift.operators.lineage.data import Check, Data, Days, Lineage, days_of
from nightshift.operators.lineage.seen import CLEAN, PREDICTIONS, QUARANTINE, RAW, Seen

__all__ = ["verb_of"]

Verb = Callable[[Seen], Lineage]


def verb_of(kind: type) -> Verb | None:
    """How the nearest known class of an operator is told; by name, so that nothing is imported for it."""
    return next((_VERBS[each.__name__] for each in kind.__mro__ if each.__name__ in _VERBS), None)


def _sources(seen: Seen, days: Days, found: Mapping[str, Mapping[str, Any]]) -> list[Data]:
    """The landed files of the raw rows and of every reference.

    :param found: by table, what :class:`Data` is to say besides.
    """
    every = {RAW: seen.pipeline.source.uri} | {n: each.uri for n, each in seen.pipeline.references.items()}
    return [
        seen.landed(template, days=seen.daily(name, days), **found.get(name, {}))
        for name, template in every.items()
    ]


def _wait(seen: Seen) -> Lineage:
    return Lineage(inputs=_sources(seen, days_of([seen.partition]), {}))


def _ingest(seen: Seen) -> Lineage:
    found, days = seen.found, days_of([seen.partition])
    if not found:
        return Lineage(inputs=_sources(seen, days, {}))
    each = {RAW: found, **found["references"]}
    source = {name: {"source_sha256": one["sha256"]} for name, one in each.items()}
    source[RAW] |= {"files": found["files"], "bytes": found["bytes"]}
    return Lineage(
        inputs=_sources(seen, days, source),
        outputs=[
            seen.table(
                name,
                one["version"],
                days=seen.daily(name, days),
                rows=one["rows"],
                source_sha256=one["sha256"],
                changed=one["changed"],
                columns=seen.columns(name),
            )
            for name, one in each.items()
        ],
    )


def _validate(seen: Seen) -> Lineage:
    found, days = seen.found, days_of([seen.partition])
    rows, versions = found.get("rows", {}), found.get("versions", {})
    raw = seen.table(
        RAW, versions.get(RAW), days=days, rows=rows.get("ingested"), checks=tuple(_checks(seen, found))
    )
    counts = {CLEAN: rows.get("clean"), QUARANTINE: rows.get("quarantined")}
    written = [
        seen.table(name, versions[name], days=days, rows=counts[name], columns=seen.columns(name))
        for name in counts
        if name in versions
    ]
    return Lineage(inputs=[raw], outputs=written)


def _checks(seen: Seen, found: Mapping[str, Any]) -> Iterable[Check]:
    """The suite as a whole, then every expectation that did not hold; no value of any row."""
    if not found:
        return
    suite = seen.pipeline.validation.suite
    yield Check(
        rule="suite",
        holds=found["status"] != "blocked",
        critical=True,
        suite=suite,
        words=found["reason"],
        observed=found["status"],
    )
    for one in found["failed"]:
        yield Check(
            rule=one["type"],
            holds=False,
            critical=one["severity"] == "critical",
            column=one["column"],
            suite=suite,
            observed=f"{one['unexpected']} rows" if one["row_level"] else one["observed"],
        )


def _announce(seen: Seen) -> Lineage:
    return Lineage(inputs=[seen.table(CLEAN, days=days_of([seen.partition]))])


def _all_days(plan: Mapping[str, Any], *splits: str) -> list[str]:
    found = plan.get("splits", {})
    return sorted(day for name in splits or found for day in found.get(name, ()))


def _read(seen: Seen, days: Days, plan: Mapping[str, Any]) -> list[Data]:
    """The tables of a plan at their versions; with what their manifests say, once the job is over."""
    manifests = seen.found.get("inputs") or {}
    versions = {**plan.get("versions", {}), **{name: one["version"] for name, one in manifests.items()}}
    return [
        seen.table(
            name,
            version,
            days=seen.daily(name, days),
            rows=manifests.get(name, {}).get("rows"),
            manifest_sha256=manifests.get(name, {}).get("sha256", ""),
        )
        for name, version in versions.items()
    ]


def _plan(seen: Seen) -> Lineage:
    plan = seen.found
    days = days_of(_all_days(plan)) if plan else days_of([seen.partition])
    return Lineage(inputs=_read(seen, days, plan) or [seen.table(CLEAN, days=days)])


def _tune(seen: Seen) -> Lineage:
    plan, found = seen.given("plan"), seen.found
    read = _read(seen, days_of(_all_days(plan, "train", "validation")), plan)
    if not found:
        return Lineage(inputs=read)
    return Lineage(read, [seen.output("tune", found)], _model(seen, found, partition=plan["partition"]))


def _train(seen: Seen) -> Lineage:
    plan, found, tuned = seen.given("plan"), seen.found, seen.given("tuned")
    read = _read(seen, days_of(_all_days(plan)), plan)
    if tuned:
        read.append(seen.output("tune", tuned))
    if not found:
        return Lineage(inputs=read)
    about = _model(
        seen,
        found,
        partition=plan["partition"],
        fingerprint=found["fingerprint"],
        metrics=found.get("metrics"),
    )
    return Lineage(read, [seen.output("train", found, "model")], about)


def _evaluate(seen: Seen) -> Lineage:
    plan, found, trained = seen.given("plan"), seen.found, seen.given("trained")
    unfit = set(found.get("left_out", "").split(","))
    holdout = [day for day in _all_days(plan, "holdout") if day not in unfit]
    read = _read(seen, days_of(holdout), plan)
    if trained:
        read.append(seen.output("train", trained, "model"))
    if not found:
        return Lineage(inputs=read)
    measured, champion = found.get("models", {}), found.get("champion_version", "")
    if champion and "champion" in measured:
        read.append(seen.model(champion))
    about = _model(
        seen,
        found,
        partition=plan["partition"],
        fingerprint=trained["fingerprint"],
        metrics=measured.get("challenger", {}).get("metrics"),
        champion=champion,
    )
    return Lineage(read, [seen.output("evaluate", found)], about)


def _register(seen: Seen) -> Lineage:
    found, read = seen.found, []
    for verb, name, folder in (
        ("train", "trained", "model"),
        ("evaluate", "evaluated", ""),
        ("tune", "tuned", ""),
    ):
        if given := seen.given(name):
            read.append(seen.output(verb, given, folder))
    if not found:
        return Lineage(inputs=read)
    about = {key: found[key] for key in ("version", "partition", "fingerprint")}
    job = seen.given("trained").get("job", "")
    return Lineage(
        read,
        [seen.model(found["version"], found["name"])],
        _model(seen, {"job": job}, **about, metrics=found.get("metrics")),
    )


def _promote(seen: Seen) -> Lineage:
    registered, evaluated, found = seen.given("registered"), seen.given("evaluated"), seen.found
    read = [seen.model(registered["version"])] if registered else []
    if evaluated:
        read.append(seen.output("evaluate", evaluated))
    if not found:
        return Lineage(inputs=read)
    champion = (found.get("champion") or {}).get("version", "")
    about = _model(
        seen,
        {},
        **{key: registered[key] for key in ("version", "partition", "fingerprint")},
        champion=champion,
        verdict=found["verdict"],
        reasons=list(found["reasons"]),
    )
    return Lineage(read, [seen.model(champion)] if found["verdict"] == "promote" else [], about)


def _rollback(seen: Seen) -> Lineage:
    found, form = seen.found, seen.context["params"]
    if not found:
        return Lineage(inputs=[seen.model(str(form["version"]).strip())])
    about = {"version": found["champion"], "champion": found["champion"], "reasons": [form["reason"]]}
    return Lineage(
        [seen.model(found["before"])] if found["before"] else [],
        [seen.model(found["champion"])],
        _model(seen, {}, verdict="rollback", **about),
    )


def _score(seen: Seen) -> Lineage:
    found = seen.found
    days = days_of([seen.partition])
    if not found:
        return Lineage(inputs=[seen.table(CLEAN, days=days)])
    scored_with = seen.model(found["model_version"], found["model_name"])
    return Lineage(
        [*_read(seen, days, {"versions": {CLEAN: found["clean_version"]}}), scored_with],
        [seen.output("score", found, "predictions", rows=found["rows_out"])],
        _model(seen, found, version=found["model_version"], partition=seen.partition),
    )


def _publish(seen: Seen) -> Lineage:
    scored, found = seen.given("scored"), seen.found
    days = days_of([seen.partition])
    read = [
        seen.table(CLEAN, scored.get("clean_version"), days=days, rows=found.get("rows_in")),
        seen.model(scored.get("model_version"), scored.get("model_name", "")),
        seen.output("score", scored, "predictions"),
    ]
    if not found:
        return Lineage(inputs=read)
    return Lineage(
        read,
        [seen.table(PREDICTIONS, found["version"], days=days, rows=found["rows_out"])],
        _model(seen, scored, version=found["model_version"], partition=found["partition"]),
    )


def _score_chunk(seen: Seen) -> Lineage:
    found = seen.found
    days = _span(seen.operator.chunk, found.get("done", 0))
    if not found:
        return Lineage(inputs=[seen.table(CLEAN, days=days)])
    scored_with = seen.model(found["model_version"], found["model_name"])
    return Lineage(
        [*_read(seen, days, {"versions": {CLEAN: found["clean_version"]}}), scored_with],
        [seen.table(PREDICTIONS, found.get("version"), days=days, rows=found["rows_out"])],
        _model(seen, found, version=found["model_version"]),
    )


def _chunk(seen: Seen) -> Lineage:
    """A chunk of a backfill; the versions are those that hold all of its partitions."""
    found, ingests = seen.found, seen.operator.step == "ingest"
    days = _span(seen.operator.chunk, found.get("done", 0))
    versions = found.get("versions", {})
    read = _sources(seen, days, {}) if ingests else [seen.table(RAW, days=days)]
    names = (RAW, *seen.pipeline.references) if ingests else (CLEAN, QUARANTINE)
    return Lineage(
        read,
        [
            seen.table(name, versions[name], days=seen.daily(name, days), columns=seen.columns(name))
            for name in names
            if name in versions
        ],
    )


def _span(chunk: str, count: int) -> Days:
    first, _, last = chunk.partition("..")
    return Days(first=first, last=last or first, count=count)


def _replay(seen: Seen) -> Lineage:
    found, form = seen.found, seen.context["params"]
    days = Days(first=form["from"], last=form["to"], count=found.get("partitions", {}).get("replayed", 0))
    read = [seen.table(name, days=days) for name in (RAW, QUARANTINE)]
    if not found or found["dry_run"]:
        return Lineage(inputs=read)
    rows = {CLEAN: found["rows"]["clean"]["after"], QUARANTINE: found["rows"]["quarantined"]["after"]}
    written = [
        seen.table(name, version, days=days, rows=rows.get(name), columns=seen.columns(name))
        for name, version in found["versions"].items()
    ]
    return Lineage(read, written)


def _model(seen: Seen, job: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    """The fields of the facet that says which model a task was about; what is not known is left out."""
    told = {"model": seen.name, "job": job.get("job"), **facts}
    measured = (facts.get("metrics") or {}).items()
    numbers = {name: value for name, value in measured if value is not None and math.isfinite(value)}
    return {name: value for name, value in {**told, "metrics": numbers}.items() if value}


_VERBS: Mapping[str, Verb] = {
    "WaitForLandingOperator": _wait,
    "IngestOperator": _ingest,
    "ValidateOperator": _validate,
    "AnnounceOperator": _announce,
    "PlanOperator": _plan,
    "TuneOperator": _tune,
    "TrainOperator": _train,
    "EvaluateOperator": _evaluate,
    "RegisterOperator": _register,
    "PromoteOperator": _promote,
    "RollbackOperator": _rollback,
    "BatchScoreOperator": _score,
    "PublishOperator": _publish,
    "ScoreChunkOperator": _score_chunk,
    "ChunkOperator": _chunk,
    "ReplayOperator": _replay,
}
