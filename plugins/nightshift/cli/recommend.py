"""``nightshift recommend``: which AWS service for which need of a pipeline, with reasons and prices."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from nightshift.advice.services import NEEDS
from nightshift.cli.commands import pipeline_of
from nightshift.config.settings import Settings
from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace

    from nightshift.advice.situation import Seen
    from nightshift.config.pipeline import Pipeline

__all__ = ["add_commands", "recommend"]


def add_commands(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    parser = verbs.add_parser(
        "recommend",
        help="say which AWS service a pipeline needs for what, why, and for how much",
        description="Read a pipeline file, and the lake where there is one, and say which AWS service does "
        "what: why, what instead when, what a month costs, and what is not needed. Nothing is written and no "
        "account is asked.",
    )
    parser.set_defaults(command=recommend)
    parser.add_argument("pipeline", metavar="PIPELINE", nargs="?", help="name of a pipeline file")
    parser.add_argument(
        "--need",
        action="append",
        choices=[need.name for need in NEEDS],
        metavar="NEED",
        help="only this one, may be repeated: %(choices)s",
    )
    parser.add_argument("--rows-per-day", type=_positive, metavar="N", help="default: what the lake shows")
    parser.add_argument(
        "--latency-ms", type=_positive, metavar="MS", help="a prediction is wanted so soon; default: by night"
    )
    parser.add_argument("--team", choices=("small", "platform"), default="small", help="default: %(default)s")
    parser.add_argument(
        "--budget", type=_positive, metavar="USD", help="a month; default: alerts.budget_usd_per_month"
    )
    parser.add_argument("--region", metavar="REGION", help="default: AWS_DEFAULT_REGION, else us-east-1")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--table", action="store_true", help="print the whole decision table instead")


def recommend(options: Namespace) -> int:
    """Print the answer."""
    from nightshift.advice.answer import recommend as answer
    from nightshift.advice.page import table
    from nightshift.advice.situation import Situation
    from nightshift.platforms.sagemaker.prices import read_prices

    if options.table:
        print(table())
        return 0
    if not options.pipeline:
        raise ConfigError("no pipeline is named", fix="nightshift recommend PIPELINE, or --table")
    settings = Settings.from_environment()
    pipeline = pipeline_of(settings, options.pipeline)
    region = options.region or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    situation = Situation(
        pipeline,
        read_prices(settings.sagemaker.get("prices", ""), region),
        _seen(settings, pipeline),
        asked_rows=options.rows_per_day,
        latency_ms=options.latency_ms,
        team=options.team,
        budget_usd=options.budget,
        has_catalog=bool(settings.glue_database),
    )
    found = answer(situation, options.need or ())
    print(json.dumps(found.to_dict(), indent=1) if options.json else "\n".join(found.lines()))
    return 0


def _seen(settings: Settings, pipeline: Pipeline) -> Seen:
    """What the lake shows; a recommendation can do without."""
    from nightshift.advice.situation import Seen, look_at
    from nightshift.hooks.storage import open_lake

    try:
        return look_at(open_lake(settings, pipeline))
    except Exception as error:  # noqa: BLE001 no network, no sign-in, no such connection: asked from anywhere
        print(f"the lake cannot be read ({type(error).__name__}: {error}): going on without", file=sys.stderr)
        return Seen()


def _positive(text: str) -> float:
    found = float(text)
    if found <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return found
