"""``nightshift endpoint``: what answers requests now and what it costs; and its end."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nightshift.cli.commands import of_the_running_stack, pipeline_of
from nightshift.cli.text import text
from nightshift.config.loader import load_all
from nightshift.config.settings import Settings
from nightshift.errors import ConfigError
from nightshift.platforms.endpoints import (
    BARRED,
    ENDPOINT_PLATFORMS,
    OWNER,
    PREVIOUS,
    SINCE,
    STABLE,
    UNDO,
    endpoint_name,
)

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction

    from nightshift.platforms.endpoints import Endpoints, EndpointStatus, VariantStatus

__all__ = ["add_commands", "delete", "status"]

_MONTH_H = 730
_NAMED = re.compile(r"-[0-9a-f]{12}$")
"""How an endpoint's name ends, and a pipeline's does not."""


def add_commands(verbs: _SubParsersAction[ArgumentParser]) -> None:
    """``endpoint`` with its ``status`` and ``delete``."""
    endpoint = verbs.add_parser(
        "endpoint",
        help="say what answers requests now and what it costs an hour, or end it",
        description="The endpoint of a pipeline: its file's section 'endpoint'. It costs as long as it is "
        "there, whether anybody asks it or not.",
    )
    each = endpoint.add_subparsers(title="commands", metavar="COMMAND", required=True)
    looking = each.add_parser(
        "status",
        help="which versions answer, with which share, on which machines, for how much",
        description="Which versions answer, with which share of the requests, on which machines and for how "
        "much an hour. The exit code is 1 when there is no endpoint, or it does not serve. Without "
        "PIPELINE: every endpoint of this deployment, also those that no pipeline file asks for any more.",
    )
    looking.set_defaults(command=status)
    looking.add_argument("--json", action="store_true", help="print JSON")
    ending = each.add_parser(
        "delete",
        help="end the endpoint and remove all that belongs to it",
        description="End the endpoint: its machines, releases and models, autoscaling, alarms and monitoring "
        "schedule. What it has captured stays. The next deployment makes it anew.",
    )
    ending.set_defaults(command=delete)
    ending.add_argument("--yes", action="store_true", help="do it; without it, only say what would go")
    looking.add_argument(
        "pipeline", metavar="PIPELINE", nargs="?", default="", help="name of a pipeline file; left out: all"
    )
    ending.add_argument(
        "pipeline",
        metavar="PIPELINE",
        help="name of a pipeline file, e.g. flight_delays, or of an endpoint whose file is gone",
    )


def status(options: Namespace) -> int:
    """What the endpoint is."""
    if not options.pipeline:
        return _every(as_json=options.json)
    there, name = _open(options.pipeline)
    found = there.status(name)
    if options.json:
        told = {**asdict(found), "usd_per_hour": found.usd_per_hour} if found else None
        print(json.dumps(told, indent=1))
    elif found is None:
        print(f"{options.pipeline}: there is no endpoint {name}: nothing answers and nothing costs")
    else:
        for line in _told(options.pipeline, found, there.console_url(name)):
            print(line)
    return 0 if found is not None and found.state == "serving" else 1


def delete(options: Namespace) -> int:
    """Its end."""
    there, name = _open(options.pipeline)
    found = there.status(name)
    if found is not None and found.state == "changing":
        raise ConfigError(f"endpoint {name} is being changed", fix="wait a few minutes and try again")
    if not options.yes:
        cost = f", {found.usd_per_hour:.4f} USD an hour" if found else ""
        what = f"endpoint {name}{cost}" if found else f"what is left of endpoint {name}"
        raise ConfigError(f"this would end {what}, and whoever asks it gets no answer", fix="say --yes")
    gone = there.delete(name)
    for each in gone:
        print(f"deleted: {each}")
    print(f"{options.pipeline}: " + ("its endpoint is gone" if gone else "there was nothing to delete"))
    return 0


def _open(pipeline: str) -> tuple[Endpoints, str]:
    """The endpoints of the pipeline's platform, and the name of its own."""
    from nightshift.hooks.endpoints import endpoints

    settings = of_the_running_stack(Settings.from_environment())
    try:
        found = pipeline_of(settings, pipeline)
    except ConfigError:
        if not _NAMED.search(pipeline):
            raise
        return _left_over(settings, pipeline), pipeline
    return endpoints(found.platform, settings), endpoint_name(found.pipeline, settings.deployment)


def _left_over(settings: Settings, name: str) -> Endpoints:
    """Where the endpoint of that name is.

    :raises ConfigError: when this deployment has none of that name.
    """
    from nightshift.hooks.endpoints import endpoints

    for platform in _platforms(settings):
        there = endpoints(platform, settings)
        if name in {each.name for each in there.find({"deployment": settings.deployment})}:
            return there
    raise ConfigError(
        f"deployment {settings.deployment!r} has neither a pipeline nor an endpoint {name!r}",
        fix="see 'nightshift endpoint status'",
    )


def _platforms(settings: Settings) -> list[str]:
    """Those with endpoints that pipelines run on, or that are set up at all."""
    used = {settings.platform, *(each.platform for each in load_all(settings)[0])}
    return [each for each in ENDPOINT_PLATFORMS if each in used] or list(ENDPOINT_PLATFORMS)


def _every(*, as_json: bool) -> int:
    """All endpoints of this deployment, with who wants them."""
    from nightshift.hooks.endpoints import endpoints

    settings = of_the_running_stack(Settings.from_environment())
    good, bad = load_all(settings)
    wanting = [each.pipeline for each in good if each.endpoint is not None] + [path.stem for path in bad]
    wanted = {endpoint_name(each, settings.deployment): each for each in wanting}
    found = [
        each
        for platform in _platforms(settings)
        for each in endpoints(platform, settings).find({"deployment": settings.deployment})
    ]
    if as_json:
        rows = [{**asdict(e), "usd_per_hour": e.usd_per_hour, "pipeline": wanted.get(e.name)} for e in found]
        print(json.dumps(rows, indent=1))
        return 0
    for each in found:
        whose = wanted.get(each.name) or f"NO PIPELINE WANTS IT: nightshift endpoint delete {each.name} --yes"
        print(f"{each.name}  {each.state}  {each.usd_per_hour:.4f} USD an hour  {text(whose)}")
    total = sum(each.usd_per_hour for each in found)
    print(f"{len(found)} endpoints, {total:.4f} USD an hour" if found else "there are no endpoints")
    return 0


def _told(pipeline: str, found: EndpointStatus, url: str | None) -> list[str]:
    rows = [_row(each, sum(one.weight for one in found.variants)) for each in found.variants]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))] if rows else []
    table = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    ]
    hourly = found.usd_per_hour
    return [
        f"{pipeline}: endpoint {found.name} is {found.state}",
        *(line.rstrip() for line in table),
        f"  {hourly:.4f} USD an hour, about {hourly * _MONTH_H:,.0f} USD a month, as long as it is there",
        *(f"  {line}" for line in _notes(found)),
        *([f"  {url}"] if url else []),
    ]


def _row(variant: VariantStatus, all_weights: float) -> tuple[str, ...]:
    share = variant.weight / all_weights if all_weights else 0.0
    machines = f"{variant.instances} x {variant.instance_type}"
    return (variant.name, f"version {variant.version or '?'}", f"{share:.1%} of the requests", machines)


def _notes(found: EndpointStatus) -> list[str]:
    notes: dict[str, Any] = dict(found.notes)
    told = [f"release {found.release}, before it {notes.get(PREVIOUS) or 'none'}"]
    if found.going_to:
        told.append(f"it is being changed to {found.going_to}")
    if found.reason:
        told.append(f"the last change failed: {text(found.reason)}")
    if notes.get(STABLE) not in (None, found.release) or notes.get(OWNER):
        told.append(f"a deployment is under way: {text(notes.get(OWNER) or 'of nobody')}")
    if notes.get(SINCE):
        when = time.gmtime(float(notes[SINCE].rpartition(" ")[2]))
        told.append(f"both models answer since {time.strftime('%Y-%m-%d %H:%M', when)} UTC")
    if notes.get(UNDO):
        told.append(f"it is to go back: {text(notes[UNDO])}")
    if notes.get(BARRED):
        told.append(f"version {notes[BARRED]} was taken off by a person")
    return told
