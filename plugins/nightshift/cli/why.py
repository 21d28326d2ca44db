"""``nightshift why`` and ``nightshift reproduce``: where a model version came from, and making it again."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from nightshift.cli.commands import of_the_running_stack, pipeline_of
from nightshift.config.settings import Settings
from nightshift.errors import NightshiftError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction

    from nightshift.provenance.reproduce import Reproduction

__all__ = ["add_commands", "reproduce", "why"]

_SHOWN_METRICS = 8


def add_commands(verbs: _SubParsersAction[ArgumentParser]) -> None:
    """Both commands."""
    story = verbs.add_parser(
        "why",
        help="say where a model version came from and what was decided about it",
        description="Say where a model version came from: data, validation, code, parameters, environment, "
        "tuning, cost; what the gate measured, and every decision about it. The same is left as why.json and "
        "why.html with the version's run in MLflow.",
    )
    story.set_defaults(command=why)
    _version(story)
    story.add_argument("--open-nothing", action="store_true", help="do not open the page in a browser")
    again = verbs.add_parser(
        "reproduce",
        help="train a model version again from its record, and compare",
        description="Train a model version again on this machine, by its recorded job and the recorded files "
        "of the lake, and compare metrics and holdout predictions. Exit code: 0 the same, 1 different, 2 it "
        "could not be made again.",
    )
    again.set_defaults(command=reproduce)
    _version(again)


def _version(parser: ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", help="name of a pipeline file, e.g. flight_delays")
    parser.add_argument("version", metavar="VERSION", help="number of a version of its model, e.g. 13")
    parser.add_argument("--json", action="store_true", help="print JSON")


def why(options: Namespace) -> int:
    """The story of a version, printed and left in MLflow."""
    from nightshift.hooks.storage import open_lake
    from nightshift.provenance.tell import PAGE, STORY, leave_story
    from nightshift.provenance.why import find_version
    from nightshift.provenance.words import lines
    from nightshift.registry.ledger import Ledger
    from nightshift.registry.models import Models
    from nightshift.registry.tracking import Tracking

    settings = of_the_running_stack(Settings.from_environment())
    pipeline = pipeline_of(settings, options.pipeline)
    models = Models(settings.mlflow_tracking_uri)
    version = find_version(models, pipeline.pipeline, options.version)
    story = leave_story(
        Tracking(settings.mlflow_tracking_uri),
        models,
        Ledger(open_lake(settings, pipeline)),
        version,
        pipeline=pipeline,
        jobs_dir=settings.jobs_dir,
    )
    if options.json:
        print(json.dumps(story.to_dict(), indent=1))
        return 0
    print("\n".join(lines(story)))
    if "why" in story.links:
        print(f"\n{STORY} and {PAGE} are with its run: {story.links['why']}")
        if not options.open_nothing:
            _open(story.links["why"])
    return 0


def reproduce(options: Namespace) -> int:
    """The version again, and whether it is the same."""
    try:
        found = _reproduced(options)
    except NightshiftError as error:
        if options.debug:
            raise
        print(f"nightshift: {error}", file=sys.stderr)
        return 2  # 1 says that it is different
    if options.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        _print(found)
    return 0 if found.compared.equal else 1


def _reproduced(options: Namespace) -> Reproduction:
    from nightshift.hooks.storage import open_lake
    from nightshift.platforms.local import LocalPlatform
    from nightshift.provenance import reproduce as again
    from nightshift.provenance.why import find_version
    from nightshift.registry.models import Models

    settings = of_the_running_stack(Settings.from_environment())
    pipeline = pipeline_of(settings, options.pipeline)
    models = Models(settings.mlflow_tracking_uri)
    return again.reproduce(
        find_version(models, pipeline.pipeline, options.version),
        mlflow_uri=settings.mlflow_tracking_uri,
        lake=open_lake(settings, pipeline),
        platform=LocalPlatform(settings.jobs_home, settings.jobs_dir),
        say=lambda line: print(line, file=sys.stderr if options.json else sys.stdout, flush=True),
    )


def _print(found: Reproduction) -> None:
    compared = found.compared
    for warning in found.warnings:
        print(f"not as it was: {warning}")
    for name, pair in list(compared.metrics.items())[:_SHOWN_METRICS]:
        print(f"{name}: {_number(pair['now'])}, it was {_number(pair['then'])}")
    if compared.rows < 0:
        print("the holdout rows or their labels are not the recorded ones")
    elif compared.differing:
        rows = f"{compared.differing:,} of {compared.rows:,} predictions"
        print(f"{rows} differ, by {compared.largest:.3g} at most")
    print(f"{found.pipeline} version {found.version} ({found.model}) {_verdict(found)}")
    print(f"trained in {found.seconds:.1f} s; what was made is in {found.output}")


def _verdict(found: Reproduction) -> str:
    compared = found.compared
    if compared.bit_equal:
        return f"is the same to the last bit: every metric and {compared.rows:,} holdout predictions"
    allowed = f"{compared.tolerance:g} is allowed" if compared.tolerance else "it has to be the same bits"
    return f"is {'the same' if compared.equal else 'DIFFERENT'}: {allowed}"


def _number(value: Any) -> str:
    return "undefined" if value is None else f"{value:.9g}"


def _open(url: str) -> None:
    """In a browser, where a person sits at a desktop; a terminal alone gets the address."""
    import webbrowser

    if sys.stdout.isatty() and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        webbrowser.open(url)
