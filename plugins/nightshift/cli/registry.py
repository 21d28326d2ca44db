"""``nightshift rollback`` and ``nightshift registry``: the way back, and the ledger read and checked."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from nightshift.cli.commands import of_the_running_stack, pipeline_of
from nightshift.cli.text import text
from nightshift.config.loader import load_all
from nightshift.config.settings import Settings
from nightshift.platforms.endpoints import ENDPOINT_PLATFORMS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction
    from collections.abc import Sequence

    from nightshift.config.pipeline import Pipeline
    from nightshift.registry.champion import Finding
    from nightshift.registry.ledger import Entry, Ledger
    from nightshift.registry.models import Models

__all__ = ["add_commands", "check", "history", "rollback"]


def add_commands(verbs: _SubParsersAction[ArgumentParser]) -> None:
    """``rollback``, and ``registry`` with its ``check`` and ``history``."""
    _add_rollback(verbs)
    registry = verbs.add_parser(
        "registry",
        help="check the ledger and its alias, show who was champion when and why",
        description="The ledger holds every decision about the champion; MLflow's alias shows its last word.",
    )
    each = registry.add_subparsers(title="commands", metavar="COMMAND", required=True)
    checking = each.add_parser(
        "check",
        help="find what is not in order between ledger and alias, and repair it",
        description="Look whether the ledger is whole, its champion is in MLflow and the alias shows it. The "
        "alias is set to what the ledger says; a champion from before the ledger goes into it. The exit code "
        "is 1 when something cannot be repaired; in a dry run, when anything is not in order.",
    )
    checking.set_defaults(command=check)
    checking.add_argument("pipeline", metavar="PIPELINE", nargs="?", help="default: all of them")
    checking.add_argument("--dry-run", action="store_true", help="only look, and write nothing")
    _json(checking)
    showing = each.add_parser(
        "history",
        help="every decision about the champion, oldest first",
        description="Every decision about the champion, oldest first, as the ledger has it.",
    )
    showing.set_defaults(command=history)
    _pipeline(showing)
    _json(showing)


def _add_rollback(verbs: _SubParsersAction[ArgumentParser]) -> None:
    back = verbs.add_parser(
        "rollback",
        help="make an earlier champion the champion again",
        description="Make an earlier champion the champion again. The next scoring run takes it. The version "
        "that had to go comes back only when it beats the gate's margin again. Repeating it does nothing.",
    )
    back.set_defaults(command=rollback)
    _pipeline(back)
    back.add_argument("--to", required=True, metavar="N", help="the model version")
    back.add_argument("--reason", required=True, metavar="WORDS", help="why; it goes into the ledger")
    back.add_argument("--anyway", action="store_true", help="also to a version that never was champion")
    back.add_argument("--dry-run", action="store_true", help="look whether it can be done, and write nothing")


def rollback(options: Namespace) -> int:
    """The way back."""
    from nightshift.provenance.tell import tell_change
    from nightshift.registry.champion import champion_version, plan_return, roll_back
    from nightshift.registry.who import user

    settings = of_the_running_stack(Settings.from_environment())
    pipeline = pipeline_of(settings, options.pipeline)
    models, ledger = _open(settings, pipeline)
    name, to = ledger.model, options.to.strip()
    if options.dry_run:
        found = plan_return(models, ledger, to=to, anyway=options.anyway)
        print(f"{name}: {_planned(found.target.version, found.before, done=found.is_done)}")
        print("a dry run: nothing was written")
        return 0
    before = champion_version(models, ledger)
    entry = roll_back(models, ledger, to=to, reason=options.reason, who=user(), anyway=options.anyway)
    if entry.champion == before:
        print(f"{name}: version {before} is the champion already")
    else:
        print(f"{name}: champion {before or 'none'} -> {entry.champion} (entry {entry.seq} of the ledger)")
        changed = [before, entry.champion]
        tell_change(models, ledger, changed, pipeline=pipeline, jobs_dir=settings.jobs_dir)
        if pipeline.endpoint is not None and pipeline.platform in ENDPOINT_PLATFORMS:
            print(f"its endpoint follows when {name}_deploy is started")
    return 0


def check(options: Namespace) -> int:
    """Ledger and alias of one pipeline, or of all."""
    settings = of_the_running_stack(Settings.from_environment())
    chosen, wrong = (
        ([pipeline_of(settings, options.pipeline)], {}) if options.pipeline else load_all(settings)
    )
    found = [_checked(*_open(settings, pipeline), repair=not options.dry_run) for pipeline in chosen]
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        for each in found:
            _print_checked(each)
    for file in wrong:
        print(f"{file.name} is wrong and was not looked at: see 'nightshift pipelines'", file=sys.stderr)
    states = {finding["state"] for each in found for finding in each["findings"]}
    return 1 if wrong or states - {"repaired"} else 0


_WHY = 110
"""Characters of a reason in the table."""


def history(options: Namespace) -> int:
    """The ledger as a table."""
    from nightshift.hooks.storage import open_lake
    from nightshift.registry.ledger import Ledger

    settings = Settings.from_environment()
    pipeline = pipeline_of(settings, options.pipeline)
    entries = Ledger(open_lake(settings, pipeline)).entries()
    if options.json:
        print(json.dumps([each.to_dict() for each in entries], indent=1))
        return 0
    if not entries:
        print(f"nothing was decided about {pipeline.pipeline} yet")
        return 0
    head = ("seq", "when (UTC)", "action", "version", "champion", "who", "why")
    before = ["", *(each.champion for each in entries)]
    for line in _aligned([head, *map(_row, entries, before)]):
        print(line)
    print(f"\nall of it: --json; the evidence: nightshift why {pipeline.pipeline} VERSION")
    return 0


def _open(settings: Settings, pipeline: Pipeline) -> tuple[Models, Ledger]:
    from nightshift.hooks.storage import open_lake
    from nightshift.registry.ledger import Ledger
    from nightshift.registry.models import Models

    return Models(settings.mlflow_tracking_uri), Ledger(open_lake(settings, pipeline))


def _checked(models: Models, ledger: Ledger, *, repair: bool) -> dict[str, Any]:
    from nightshift.registry.champion import check
    from nightshift.registry.who import user

    findings: list[Finding] = check(models, ledger, repair=repair, who=user())
    entries = ledger.audit()[0]
    return {
        "pipeline": ledger.model,
        "entries": len(entries),
        "champion": entries[-1].champion if entries else "",
        "findings": [each.to_dict() for each in findings],
    }


def _print_checked(found: dict[str, Any]) -> None:
    order = "" if found["findings"] else "in order, "
    print(
        f"{found['pipeline']}: {order}{found['entries']} entries in the ledger, "
        f"champion {found['champion'] or 'none'}"
    )
    for each in found["findings"]:
        print(f"  {each['state']}: {text(each['what'])}\n    {text(each['fix'])}")


def _planned(to: str, before: str, *, done: bool) -> str:
    if done:
        return f"version {to} is the champion already"
    return f"version {to} is whole and would take the place of {f'version {before}' if before else 'none'}"


def _row(entry: Entry, before: str) -> tuple[str, ...]:
    """``before`` is the champion that the entry found."""
    who = entry.who.get("user") or entry.who.get("name") or ""
    by = ", ".join(filter(None, (who, entry.who.get("dag")))) or "-"
    when = entry.at[:19].replace("T", " ")
    champion = entry.champion or "-"
    if before != entry.champion:
        champion = f"{before or '-'} -> {champion}"
    why = text("; ".join(entry.reasons) or "-")
    short = why if len(why) <= _WHY else f"{why[: _WHY - 1]}…"
    return (str(entry.seq), when, entry.action, entry.version, champion, text(by), short)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """In columns; the last one is as long as it is."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]


def _pipeline(parser: ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", help="name of a pipeline file, e.g. flight_delays")


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
