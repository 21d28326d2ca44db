"""What each command of ``nightshift`` does; heavy imports wait until a command needs them."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from nightshift.config.loader import json_schema, load_all, load_pipeline
from nightshift.config.partitions import check_key, days
from nightshift.config.settings import Settings
from nightshift.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from nightshift.backfill.days import Day
    from nightshift.config.pipeline import Pipeline

__all__ = [
    "demo",
    "down",
    "ingest",
    "of_the_running_stack",
    "pipeline_of",
    "pipelines",
    "seed",
    "status",
    "up",
]

SAMPLES = ("flight_delays",)


def seed(options: Namespace) -> int:
    """Sample data into the landing zone."""
    from nightshift.embedded.sample_data import seed_landing
    from nightshift.hooks.storage import landing_zone

    settings = Settings.from_environment()
    pipeline = pipeline_of(settings, options.pipeline)
    if pipeline.pipeline not in SAMPLES:
        raise ConfigError(f"there are no sample data for {pipeline.pipeline}", fix=f"only for {SAMPLES[0]}")
    partitions = _partitions(pipeline, options)
    done = seed_landing(landing_zone(settings), partitions[0], partitions[-1])
    print(f"{done.folders} folders written, {done.kept} were there already, in {done.landing}")
    return 0


def ingest(options: Namespace) -> int:
    """A range of partitions, ingested and validated here and now."""
    from nightshift.backfill.days import ingest_days

    settings = Settings.from_environment()
    pipeline = pipeline_of(settings, options.pipeline)
    partitions = _partitions(pipeline, options)
    found = ingest_days(pipeline, partitions, settings, force=options.force, each=_printer(len(partitions)))
    bad = [day for day in found if not day.is_good]
    rows, aside = sum(day.clean for day in found), sum(day.quarantined for day in found)
    print(
        f"{len(found) - len(bad)} of {len(found)} days are good: {rows:,} rows clean, {aside:,} quarantined"
        f" in {sum(day.seconds for day in found):.1f} s"
    )
    for day in bad:
        print(f"  {day.partition} {day.status}: {day.reason}")
    return 1 if bad else 0


def pipelines(options: Namespace) -> int:
    """The pipeline files, good and bad; or what they may say."""
    if options.schema:
        print(json.dumps(json_schema(), indent=1))
        return 0
    good, bad = load_all(Settings.from_environment())
    for one in good:
        first, last = one.partitions.start, one.partitions.end or ""
        print(f"{one.pipeline:24} {one.platform:10} {first}..{last}  {one.description}")
    for file, error in bad.items():
        print(f"{file.name}: WRONG\n    " + str(error).replace("\n", "\n    "))
    return 1 if bad else 0


def up(options: Namespace) -> int:
    """The stack, started and ready."""
    from nightshift.embedded.cloud import start_cloud
    from nightshift.embedded.ports import Ports
    from nightshift.embedded.stack import Stack

    settings = Settings.from_environment()
    ports = Ports.from_environment()
    Stack.asked_for(settings, ports)
    if settings.loopback:
        settings = start_cloud(settings)
    stack = Stack.asked_for(settings, ports)
    started = stack.start()
    print("the stack runs already" if started.reused else f"the stack is up after {started.seconds:.0f} s")
    print(
        f"  Airflow  {stack.airflow_url}\n  MLflow   {stack.mlflow_url}\n  logs     {settings.home / 'logs'}"
    )
    return 0


def down(options: Namespace) -> int:
    """Every stack, ended; verified by looking for its processes again."""
    from nightshift.embedded.cloud import stacks
    from nightshift.embedded.ports import Ports
    from nightshift.embedded.stack import Stack

    ended = sum(Stack(each, Ports()).stop() for each in stacks(Settings.from_environment()))
    print(f"the stack is down: {ended} processes ended, none left" if ended else "nothing was running")
    return 0


def status(options: Namespace) -> int:
    """Which parts run."""
    from nightshift.embedded.cloud import stacks
    from nightshift.embedded.stack import Stack

    stack = next(filter(None, map(Stack.running, stacks(Settings.from_environment()))), None)
    if stack is None:
        print("the stack is down; 'make up' starts it")
        return 1
    health = stack.health()
    running = stack.status()
    for name, runs in running.items():
        said = health.get(name.replace("-", "_"), {}).get("status", "") if runs else ""
        print(f"{name:14} {'runs' if runs else 'DOWN':6} {said}")
    print(f"Airflow {stack.airflow_url}  MLflow {stack.mlflow_url}")
    return 0 if all(running.values()) else 1


def demo(options: Namespace) -> int:
    """One night, end to end."""
    from nightshift.embedded.console import Console
    from nightshift.embedded.demo import STEPS, Demo, summary_lines
    from nightshift.embedded.ports import Ports

    settings = Settings.from_environment()
    console = Console(STEPS + bool(settings.loopback))
    show = Demo(
        pipeline=pipeline_of(settings, options.pipeline),
        partition=options.partition,
        settings=settings,
        ports=Ports.from_environment(),
        console=console,
    )
    report = show.run(timeout_s=options.timeout)
    console.line(f"\nThe night of {options.partition} is done.")
    for line in summary_lines(report):
        console.line(line)
    console.line(f"\n  {settings.home / 'demo.json'} has the numbers; 'make down' ends the stack.")
    return 0


def pipeline_of(settings: Settings, name: str) -> Pipeline:
    """The pipeline of that name.

    :raises ConfigError: when there is none; names the nearest.
    """
    file = settings.pipelines_dir / f"{name}.yaml"
    if file.exists():
        return load_pipeline(file, settings.platform)
    known = sorted(path.stem for path in settings.pipelines_dir.glob("*.yaml"))
    near = difflib.get_close_matches(name, known, n=1)
    raise ConfigError(
        f"there is no pipeline {name!r} in {settings.pipelines_dir}",
        fix=f"did you mean {near[0]!r}?"
        if near
        else f"choose one of: {', '.join(known) or 'none is there yet'}",
    )


def of_the_running_stack(settings: Settings) -> Settings:
    """With the MLflow server of the stack that runs here, whatever its port; as they are where none does."""
    from nightshift.embedded.stack import Stack

    stack = Stack.running(settings)
    return settings if stack is None else replace(settings, mlflow_tracking_uri=stack.mlflow_url)


def _partitions(pipeline: Pipeline, options: Namespace) -> list[str]:
    return days(check_key(pipeline, options.first), check_key(pipeline, options.last))


def _printer(total: int) -> Callable[[Day], None]:
    done = 0

    def each(day: Day) -> None:
        nonlocal done
        done += 1
        print(f"[{done}/{total}] {day.line()}", flush=True)

    return each
