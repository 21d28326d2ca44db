"""``nightshift catalog`` and ``nightshift view``: the lake as Athena and people see it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from nightshift.cli.commands import pipeline_of
from nightshift.config.partitions import check_key
from nightshift.config.settings import Settings
from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction

__all__ = ["add_commands", "sync", "view"]


def add_commands(verbs: _SubParsersAction[ArgumentParser]) -> None:
    """``catalog sync`` and ``view``."""
    catalog = verbs.add_parser(
        "catalog",
        help="keep the Glue Data Catalog in step with the lake",
        description="Keep the Glue Data Catalog in step with the lake: the database of the option "
        "[nightshift] glue_database, one table for each table of a pipeline.",
    )
    each = catalog.add_subparsers(title="commands", metavar="COMMAND", required=True)
    again = each.add_parser(
        "sync",
        help="make or correct the catalog's tables of a pipeline",
        description="Make the catalog's tables of a pipeline, or correct their columns, place, version and "
        "Lake Formation tags. Ingestion, validation and scoring do it by themselves; what is in step stays.",
    )
    again.set_defaults(command=sync)
    _common(again)
    looking = verbs.add_parser(
        "view",
        help="show what was train, validation and test of a night",
        description="Show what was train, validation and test of a night: days, rows and files, and where "
        "their lists lie in the lake.",
    )
    looking.set_defaults(command=view)
    _common(looking)
    looking.add_argument("partition", metavar="PARTITION", help="its day, as 2013-01-29")


def _common(parser: ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", help="name of a pipeline file, e.g. flight_delays")
    parser.add_argument("--json", action="store_true", help="print JSON")


def sync(options: Namespace) -> int:
    """Every table of the pipeline, in step."""
    from nightshift.catalog.glue import tables_of
    from nightshift.hooks.catalog import open_catalog
    from nightshift.hooks.storage import open_lake

    settings = Settings.from_environment()
    pipeline = pipeline_of(settings, options.pipeline)
    catalog = open_catalog(settings)
    if catalog is None:
        raise ConfigError("there is no catalog", fix="set [nightshift] glue_database to a Glue database")
    done = catalog.sync(open_lake(settings, pipeline), tables_of(pipeline))
    if options.json:
        print(json.dumps([asdict(each) for each in done], indent=1))
        return 0
    width = max([len(each.table) for each in done], default=0)
    for each in done:
        print(f"{each.table:{width}}  {each.change:9}  version {each.version:>4}, {each.columns} columns")
    changed = sum(each.change != "unchanged" for each in done)
    print(f"{catalog.database}: {len(done)} tables, {changed} changed")
    return 0


def view(options: Namespace) -> int:
    """The index of a night's view."""
    from nightshift.hooks.storage import open_lake
    from nightshift.lake.views import FOLDERS, read_view, view_path

    settings = Settings.from_environment()
    pipeline = pipeline_of(settings, options.pipeline)
    lake = open_lake(settings, pipeline)
    index = read_view(lake, check_key(pipeline, options.partition))
    if options.json:
        print(json.dumps(index, indent=1))
        return 0
    print(f"{index['pipeline']} {index['partition']}: clean at version {index['versions']['clean']}")
    for name in FOLDERS.values():
        part = index["splits"][name]
        days = part["days"]
        span = f"{days[0]}..{days[-1]}" if days else "none"
        print(f"  {name:10} {len(days):3} days {span:24} {part['rows']:>9,} rows, {part['files']} files")
    print(f"  {lake.location.child(view_path(options.partition, '')).uri}")
    return 0
