"""``nightshift plan``: what a backfill of a range would do, on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nightshift.backfill.steps import CHUNK_SIZE, REPROCESS, STEPS
from nightshift.cli.commands import of_the_running_stack, pipeline_of
from nightshift.config.settings import Settings

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Collection

__all__ = ["add_options", "plan"]


def add_options(parser: ArgumentParser) -> None:
    """The options beyond the pipeline and the range."""
    parser.add_argument(
        "--steps",
        default="ingest,validate",
        metavar="STEP,STEP",
        help=f"among {', '.join(STEPS)}; default: %(default)s",
    )
    parser.add_argument(
        "--reprocess", default="missing", choices=list(REPROCESS), help="default: %(default)s"
    )
    parser.add_argument(
        "--chunk-size",
        type=int,
        default=CHUNK_SIZE,
        metavar="N",
        help="partitions of a task; default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="print the whole plan as JSON")


def plan(options: Namespace) -> int:
    """Print what the DAG's dry run would show; nothing is written."""
    from nightshift.backfill.plan import Request, plan_id, plan_range
    from nightshift.backfill.table import plan_lines
    from nightshift.hooks.storage import open_lake

    settings = of_the_running_stack(Settings.from_environment())
    pipeline = pipeline_of(settings, options.pipeline)

    def models() -> Collection[str]:
        from nightshift.registry.models import Models

        return Models(settings.mlflow_tracking_uri).by_partition(pipeline.pipeline)

    form = {
        "from": options.first,
        "to": options.last,
        "steps": [step.strip() for step in options.steps.split(",") if step.strip()],
        "reprocess": options.reprocess,
        "chunk_size": options.chunk_size,
        "dry_run": True,
    }
    request = Request.of(pipeline, form)
    found = plan_range(
        open_lake(settings, pipeline),
        request,
        name=plan_id(request, "nightshift", "plan"),
        pipeline=pipeline.pipeline,
        models=models,
    )
    print(json.dumps(found.to_dict(), indent=1) if options.json else "\n".join(plan_lines(found)))
    return 0
