"""``nightshift quarantine``: what lies in quarantine, why, and its replay after a fix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nightshift.cli.commands import pipeline_of
from nightshift.cli.text import plain, text
from nightshift.config.partitions import check_key, days
from nightshift.config.settings import Settings

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction

    from nightshift.validation.quarantine import Held
    from nightshift.validation.replayed import Replay, Replayed

__all__ = ["add_commands", "list_partitions", "replay", "show"]

_REASONS = 3


def add_commands(verbs: _SubParsersAction[ArgumentParser]) -> None:
    """``quarantine`` with its ``list``, ``show`` and ``replay``."""
    quarantine = verbs.add_parser(
        "quarantine",
        help="list, show and replay the rows that validation set apart",
        description="List, show and replay the rows that validation set apart. Nothing but 'replay' writes.",
    )
    each = quarantine.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = each.add_parser(
        "list",
        help="partitions with rows in quarantine, their share and their reasons",
        description="The partitions with rows in quarantine: how many, their share of the ingested rows, and "
        "the most frequent reasons with the rows they hold back.",
    )
    listing.set_defaults(command=list_partitions)
    _pipeline(listing)
    _range(listing, required=False)
    _json(listing)
    showing = each.add_parser(
        "show",
        help="quarantined rows of a partition, each with its reasons",
        description="The quarantined rows of a partition as they came, each with the expectations it broke.",
    )
    showing.set_defaults(command=show)
    _pipeline(showing)
    showing.add_argument("partition", metavar="PARTITION", help="its day, as 2013-01-05")
    showing.add_argument("--limit", type=int, default=20, metavar="N", help="rows; default: %(default)s")
    _json(showing)
    again = each.add_parser(
        "replay",
        help="judge quarantined partitions again after a fix; what passes joins the clean rows",
        description="Judge again every partition of the range that has rows in quarantine, by the suite as "
        "it is now. What passes joins the clean rows, for all partitions in one commit; what fails stays. "
        "The exit code is 1 when a partition is still blocked or could not be ingested.",
    )
    again.set_defaults(command=replay)
    _pipeline(again)
    _range(again, required=True)
    again.add_argument(
        "--ingest-again", action="store_true", help="first ingest them again: the source was fixed"
    )
    again.add_argument("--dry-run", action="store_true", help="judge only, and write nothing")
    _json(again)


def list_partitions(options: Namespace) -> int:
    """Partitions with quarantined rows."""
    from nightshift.hooks.storage import open_lake
    from nightshift.validation.quarantine import held_partitions

    settings = Settings.from_environment()
    pipeline = pipeline_of(settings, options.pipeline)
    first, last = (check_key(pipeline, key) if key else None for key in (options.first, options.last))
    if first and last:
        days(first, last)  # says so when they are the wrong way round
    found = held_partitions(open_lake(settings, pipeline), first, last)
    if options.json:
        print(json.dumps([each.to_dict() for each in found], indent=1))
        return 0
    for each in found:
        _print_held(each)
    rows = sum(each.quarantined for each in found)
    print(f"{rows:,} rows of {len(found)} partitions of {pipeline.pipeline} are in quarantine")
    return 0


def show(options: Namespace) -> int:
    """Rows with their reasons."""
    from nightshift.hooks.storage import open_lake
    from nightshift.validation.quarantine import held_rows

    settings = Settings.from_environment()
    pipeline = pipeline_of(settings, options.pipeline)
    lake, key = open_lake(settings, pipeline), check_key(pipeline, options.partition)
    found = held_rows(lake, key, options.limit)
    if options.json:
        print(json.dumps(found, indent=1, default=plain))
        return 0
    for row in found:
        _print_row(row)
    stats = lake.table("quarantine").partitions().get(key)
    print(f"{len(found)} of {stats.rows if stats else 0} quarantined rows of {key}")
    return 0


def replay(options: Namespace) -> int:
    """The replay of a range."""
    from nightshift.backfill.replay import replay_range

    settings = Settings.from_environment()
    done = replay_range(
        pipeline_of(settings, options.pipeline),
        options.first,
        options.last,
        settings,
        ingest_again=options.ingest_again,
        dry_run=options.dry_run,
    )
    if options.json:
        print(json.dumps(done.to_dict(), indent=1))
    else:
        _print_replay(done)
    return 1 if done.bad else 0


def _pipeline(parser: ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", help="name of a pipeline file, e.g. flight_delays")


def _range(parser: ArgumentParser, *, required: bool) -> None:
    for name, what in (("from", "first"), ("to", "last")):
        parser.add_argument(
            f"--{name}", dest=what, metavar="DAY", required=required, help=f"{what} partition, as 2013-01-05"
        )


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _print_held(held: Held) -> None:
    whole = "" if held.clean else ", all of it"
    print(f"{held.partition}  {held.quarantined} of {held.ingested} rows ({held.share:.1%}){whole}")
    if not held.adds_up:
        print(f"    {held.clean} clean + {held.quarantined} quarantined do not add up: replay it")
    for reason, rows in list(held.reasons.items())[:_REASONS]:
        print(f"    {rows} rows: {text(reason)}")
    more = len(held.reasons) - _REASONS
    if more > 0:
        print(f"    and {more} more reasons")


def _print_row(row: dict[str, Any]) -> None:
    hidden = ("row_id", "reasons", "partition")
    print(
        f"row {row.get('row_id')}: " + ", ".join(f"{k}={text(v)}" for k, v in row.items() if k not in hidden)
    )
    for reason in row["reasons"] or ():
        print(f"    {text(reason)}")


def _print_replay(done: Replay) -> None:
    for each in done.partitions:
        print(_line(each))
    if not done.partitions:
        print(f"nothing from {done.first} to {done.last} is in quarantine")
        return
    clean, aside = (done.sums()[name] for name in ("clean", "quarantined"))
    would = "would change" if done.dry_run else "changed"
    print(
        f"{len(done.changed)} of {len(done.partitions)} partitions {would}: "
        f"{clean['before']:,} -> {clean['after']:,} rows clean, "
        f"{aside['before']:,} -> {aside['after']:,} quarantined in {done.seconds:.1f} s"
    )
    if done.dry_run:
        print("a dry run: nothing was written")
    for name, version in done.versions.items():
        print(f"  table {name} is at version {version}")


def _line(each: Replayed) -> str:
    before, after = each.before, each.after
    same = "" if each.changed else ", unchanged"
    return (
        f"{each.partition} {each.status:8} {after.ingested} rows, {before.clean} -> {after.clean} clean, "
        f"{before.quarantined} -> {after.quarantined} quarantined{same}"
        + (f"\n    {text(each.reason)}" if each.reason else "")
    )
