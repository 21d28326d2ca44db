"""The champion of a model: the ledger says who it is, MLflow's alias shows it, and every change is here.

What changes the champion asks MLflow first, then writes the ledger, then sets the alias: a server that is
down leaves nothing half-done, and an alias that a crash left behind is set by whoever comes next.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from nightshift.errors import (
    AliasMoved,
    ConfigError,
    LedgerBroken,
    LedgerConflict,
    ModelVersionAbsent,
    RegistryError,
)
from nightshift.registry.ledger import Draft
from nightshift.registry.names import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nightshift.registry.ledger import Entry, Ledger
    from nightshift.registry.models import Models, ModelVersion

__all__ = [
    "Finding",
    "Return",
    "adopt",
    "champion_version",
    "check",
    "current",
    "decide",
    "plan_return",
    "project",
    "roll_back",
]

_TRIES = 5  # at what other writers may change meanwhile
_SHOWN = 10

Who = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Return:
    """A rollback that may be done: to ``target``, from version ``before`` (empty where there is none)."""

    target: ModelVersion
    before: str

    @property
    def is_done(self) -> bool:
        """Whether it is the champion already."""
        return self.target.version == self.before


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not in order, and what cures it; ``repaired`` says what was done."""

    what: str
    fix: str
    state: Literal["repaired", "repairable", "broken"]

    def to_dict(self) -> dict[str, str]:
        """JSON-safe form."""
        return asdict(self)


def champion_version(models: Models, ledger: Ledger) -> str:
    """The number of the version that is champion, empty for none, whether MLflow still has it or not."""
    last = ledger.last()
    if last is not None:
        return last.champion
    alias = models.champion(ledger.model)
    return alias.version if alias else ""


def current(models: Models, ledger: Ledger) -> ModelVersion | None:
    """The champion: the ledger's word, and where nothing is in the ledger yet, the alias's.

    :raises ModelVersionAbsent: when MLflow no longer has that version.
    """
    version = champion_version(models, ledger)
    return _there(models, ledger, version) if version else None


def project(models: Models, ledger: Ledger) -> ModelVersion | None:
    """Make the alias what the ledger says, and read it back; the champion.

    Nothing is done where the ledger is empty. Whoever sets the alias looks at the ledger again afterwards:
    so the last one to set it sets what the last entry says.

    :raises ModelVersionAbsent: when MLflow no longer has that version.
    """
    for _ in range(_TRIES):
        last = ledger.last()
        if last is None:
            return None
        with suppress(AliasMoved):
            champion = _point(models, ledger, last.champion)
            again = ledger.last()
            if again is not None and again.champion == last.champion:
                return champion
    raise AliasMoved(f"the champion of {ledger.model} changes faster than its alias can be set")


def adopt(models: Models, ledger: Ledger, who: Who) -> Entry | None:
    """Take a champion that only the alias knows into an empty ledger; the entry, None if there was none."""
    if ledger.last() is not None:
        return None
    alias = models.champion(ledger.model)
    if alias is None:
        return None
    why = f"version {alias.version} was the champion before there was a ledger"
    return ledger.append(_draft("adopt", alias, why, who), after=0)


def decide(models: Models, ledger: Ledger, draft: Draft, *, after: int) -> Entry:
    """Write the decision down and make the alias follow; the entry that stands.

    Safe to repeat: the decision of a run about a version on some evidence is not written twice, unless
    another one has changed the champion since. A champion that only the alias knows goes into the empty
    ledger first.

    :param after: the number of the ledger's last entry when it was looked at for this decision, 0 for none.
    :raises LedgerConflict: when another decision came first; nothing was written then.
    :raises RegistryError: when MLflow cannot be reached; nothing was written, or only the alias is missing,
        which a repetition sets.
    """
    models.get(ledger.model, draft.version)
    entry = _written(ledger.entries(), draft)
    if entry is None:
        if after == 0 and (adopted := adopt(models, ledger, draft.who)):
            after = adopted.seq
        _check_hold(ledger, draft)
        entry = ledger.append(draft, after=after)
    _shown(models, ledger, entry)
    return entry


def plan_return(models: Models, ledger: Ledger, *, to: str, anyway: bool = False) -> Return:
    """What a rollback to version ``to`` would do; nothing is written.

    :raises ModelVersionAbsent: when MLflow has no such version, or not all of its files.
    :raises ConfigError: when it never was champion, unless ``anyway``.
    """
    before = champion_version(models, ledger)
    try:
        target = models.get(ledger.model, to)
    except ModelVersionAbsent:
        raise _unknown(models, ledger, to) from None
    if target.version == before:
        return Return(target, before)
    if not anyway:
        _check_was_champion(ledger, target.version)
    models.check_files(target)
    return Return(target, before)


def roll_back(
    models: Models, ledger: Ledger, *, to: str, reason: str, who: Who, anyway: bool = False
) -> Entry:
    """Make version ``to`` the champion again.

    Repeating it does nothing twice: where it is the champion already, the ledger's last entry says so and
    is returned, and the alias is set if it has to be. A DAG run rolls back once, whatever came after it.

    :param anyway: also to a version that never was champion.
    :raises ConfigError: when there is no reason, or it never was champion.
    :raises ModelVersionAbsent: when MLflow has no such version, or not all of its files.
    """
    if not reason.strip():
        raise ConfigError("a rollback needs a reason", fix="say why the champion has to go")
    target = plan_return(models, ledger, to=to, anyway=anyway).target
    draft = _draft("rollback", target, reason.strip(), who)
    for _ in range(_TRIES):
        try:
            if done := _rolled_back_by(ledger, draft):
                project(models, ledger)
                return done
            last = adopt(models, ledger, who) or ledger.last()
            if last is None or last.champion != target.version:
                last = ledger.append(draft, after=last.seq if last else 0)
        except LedgerConflict:
            continue
        _shown(models, ledger, last)
        return last
    raise LedgerConflict(f"other decisions about {ledger.model} came first, {_TRIES} times", fix="try again")


def check(models: Models, ledger: Ledger, *, repair: bool, who: Who) -> list[Finding]:
    """All that is not in order with the ledger and the alias.

    :param repair: set the alias to what the ledger says; take a champion that only the alias knows into
        the ledger.
    """
    findings = [Finding(each.what, each.fix, "broken") for each in ledger.audit()[1]]
    try:
        last = ledger.last()
    except LedgerBroken:
        return findings
    if last is None:
        return [*findings, *_check_alias_only(models, ledger, repair=repair, who=who)]
    try:
        if last.champion:
            _there(models, ledger, last.champion)
    except ModelVersionAbsent as error:
        return [*findings, Finding(error.what, error.fix, "broken")]
    return [*findings, *_check_alias(models, ledger, last.champion, repair=repair)]


def _check_alias_only(models: Models, ledger: Ledger, *, repair: bool, who: Who) -> list[Finding]:
    alias = models.champion(ledger.model)
    if alias is None:
        return []
    what = f"version {alias.version} of {ledger.model} is champion by its alias, and the ledger is empty"
    if not repair:
        return [Finding(what, "its champion goes into the ledger", "repairable")]
    adopt(models, ledger, who)
    return [Finding(what, "its champion went into the ledger", "repaired")]


def _check_alias(models: Models, ledger: Ledger, champion: str, *, repair: bool) -> list[Finding]:
    alias = models.champion(ledger.model)
    shown = alias.version if alias else ""
    if shown == champion:
        return []
    what = (
        f"the alias of {ledger.model} shows {_named(shown)} as champion, the ledger says {_named(champion)}"
    )
    if not repair:
        return [Finding(what, f"the alias is set to {_named(champion)}", "repairable")]
    project(models, ledger)
    return [Finding(what, f"the alias was set to {_named(champion)}", "repaired")]


def _there(models: Models, ledger: Ledger, version: str) -> ModelVersion:
    try:
        return models.get(ledger.model, version)
    except ModelVersionAbsent:
        raise ModelVersionAbsent(
            f"the ledger says that version {version} is the champion of {ledger.model}, and MLflow has none",
            fix=f"restore it in MLflow, or 'nightshift rollback {ledger.model} --to' another one",
        ) from None


def _point(models: Models, ledger: Ledger, version: str) -> ModelVersion | None:
    if not version:
        models.remove_alias(ledger.model, CHAMPION)
        return None
    _there(models, ledger, version)
    return models.set_alias(ledger.model, CHAMPION, version)


def _shown(models: Models, ledger: Ledger, entry: Entry) -> ModelVersion | None:
    """Both aliases as the decision leaves them; errors say that the decision itself stands."""
    try:
        if entry.action in ("promote", "hold"):
            with suppress(AliasMoved):  # to the challenger of another decision of this moment
                models.set_alias(ledger.model, CHALLENGER, entry.version)
        return project(models, ledger)
    except RegistryError as error:
        raise type(error)(
            f"entry {entry.seq} is in the ledger of {ledger.model}, but MLflow's alias does not show it: "
            f"{error.what}",
            fix=f"a retry sets it, and so does 'nightshift registry check {ledger.model}'",
        ) from error


def _draft(action: Literal["adopt", "rollback"], version: ModelVersion, why: str, who: Who) -> Draft:
    return Draft(
        action=action,
        version=version.version,
        champion=version.version,
        partition=version.partition,
        fingerprint=version.fingerprint,
        reasons=(why,),
        who=who,
    )


def _written(entries: Sequence[Entry], draft: Draft) -> Entry | None:
    """The entry of an earlier try of this decision, if the champion is still the one that it left."""
    for place in range(len(entries) - 1, -1, -1):
        entry, before = entries[place], entries[place - 1].champion if place else ""
        if _is_same(entry, draft):
            return entry
        if entry.champion != before:
            return None
    return None


def _rolled_back_by(ledger: Ledger, draft: Draft) -> Entry | None:
    """What this DAG run has rolled back to this version already; a person may ask for it again."""
    if draft.who.get("kind") != "dag_run":
        return None
    return next(
        (
            each
            for each in ledger.entries()
            if each.action == "rollback" and each.version == draft.version and each.who == draft.who
        ),
        None,
    )


def _is_same(entry: Entry, draft: Draft) -> bool:
    """Whether an earlier try of the same run has written this decision.

    After a promotion whose task died, its next try finds its own model in the champion's place and holds.
    A promotion after a hold is another decision: a person has approved since.
    """

    def identity(each: Draft) -> tuple[object, ...]:
        who = {key: each.who.get(key) for key in ("kind", "dag", "run", "name", "host")}
        return each.version, who, each.evidence.get("id", "")

    return identity(entry) == identity(draft) and (
        entry.action == draft.action or (entry.action, draft.action) == ("promote", "hold")
    )


def _check_hold(ledger: Ledger, draft: Draft) -> None:
    last = ledger.last()
    champion = last.champion if last else ""
    if draft.action == "hold" and draft.champion != champion:
        raise LedgerConflict(
            f"the champion of {ledger.model} is {_named(champion)}, the decision takes it to be "
            f"{_named(draft.champion)}",
            fix="decide again by what the ledger says now; a retry does",
        )


def _check_was_champion(ledger: Ledger, version: str) -> None:
    champions = _champions(ledger.entries())
    if version in champions:
        return
    earlier = champions[1:]  # the first one is champion now
    known = f"choose one of {', '.join(earlier)}, or " if earlier else "none was before this one; "
    raise ConfigError(
        f"version {version} of {ledger.model} never was its champion",
        fix=f"{known}say --anyway ('anyway' in the form) if you mean it",
    )


def _champions(entries: Sequence[Entry]) -> list[str]:
    """Every version that was champion, newest first."""
    return list(dict.fromkeys(each.champion for each in reversed(entries) if each.champion))


def _unknown(models: Models, ledger: Ledger, to: str) -> ModelVersionAbsent:
    known = [each.version for each in models.versions(ledger.model)]
    if not known:
        return ModelVersionAbsent(f"{ledger.model} has no version at all in MLflow")
    some = ", ".join(known[-_SHOWN:]) + (f" and {len(known) - _SHOWN} older ones" * (len(known) > _SHOWN))
    earlier = ", ".join(_champions(ledger.entries())[1:]) or "none"
    return ModelVersionAbsent(
        f"{ledger.model} has no version {to!r}",
        fix=f"MLflow has {some}; champions before this one: {earlier}",
    )


def _named(version: str) -> str:
    return f"version {version}" if version else "no version"
