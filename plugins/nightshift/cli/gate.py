"""``nightshift gate``: what the gate would do with many retrains of which the truth is known."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightshift.cli.commands import of_the_running_stack, pipeline_of
from nightshift.cli.text import text
from nightshift.config.settings import Settings
from nightshift.errors import ConfigError, LakeError, RegistryError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction
    from collections.abc import Callable

    from nightshift.config.pipeline import GateConfig, Pipeline
    from nightshift.gate.predictions import Predictions
    from nightshift.gate.simulation import Simulation

__all__ = ["add_commands", "run_simulation"]

_LINES = 10
"""Lines of progress of one simulation."""


def add_commands(verbs: _SubParsersAction[ArgumentParser]) -> None:
    """``gate`` with its ``simulate``."""
    gate = verbs.add_parser(
        "gate",
        help="simulate retrains to choose the margin of the promotion gate",
        description="Try the promotion gate of a pipeline. Nothing is written.",
    )
    each = gate.add_subparsers(title="commands", metavar="COMMAND", required=True)
    simulation = each.add_parser(
        "simulate",
        help="count how often the gate would promote challengers of which the truth is known",
        description="Put simulated challengers, drawn from real predictions, through the gate of a pipeline, "
        "and count how many it promotes: with --effect 0 they are truly no better than the champion, with "
        "--effect 2 truly better by twice the minimum effect. Predictions come from --predictions, else from "
        "the newest comparison with a champion in MLflow, else from the recorded sample of flight_delays.",
    )
    simulation.set_defaults(command=run_simulation)
    _options(simulation)


def _options(parser: ArgumentParser) -> None:
    shown = "default: %(default)s"
    of_file = "default: the pipeline file's"
    parser.add_argument("--pipeline", default="flight_delays", metavar="PIPELINE", help=shown)
    parser.add_argument("--retrains", type=int, default=200, metavar="N", help=shown)
    parser.add_argument(
        "--effect", type=float, default=0.0, metavar="K", help=f"multiples of the minimum effect; {shown}"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help=shown)
    parser.add_argument("--min-effect", type=float, metavar="X", help=of_file)
    parser.add_argument("--alpha", type=float, metavar="X", help=of_file)
    parser.add_argument("--resamples", type=int, metavar="N", help=of_file)
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="predictions.parquet of an evaluation job"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_simulation(options: Namespace) -> int:
    """Simulated retrains through the pipeline's gate."""
    from nightshift.gate.simulation import simulate

    settings = of_the_running_stack(Settings.from_environment())
    pipeline = pipeline_of(settings, options.pipeline)
    gate = _gate(pipeline, options)
    predictions, source = _predictions(settings, pipeline, gate, options.predictions)
    print(f"{options.retrains} retrains of {len(predictions):,} rows, from {text(source)}", file=sys.stderr)
    found = simulate(
        predictions,
        gate,
        retrains=options.retrains,
        effect=options.effect,
        seed=options.seed,
        source=source,
        each=_progress(options.retrains),
    )
    print(json.dumps(found.to_dict(), indent=1) if options.json else "\n".join(_lines(found)))
    return 0


def _gate(pipeline: Pipeline, options: Namespace) -> GateConfig:
    """The pipeline's gate with what the command line says instead."""
    from pydantic import ValidationError

    said = {name: getattr(options, name) for name in ("min_effect", "alpha", "resamples")}
    chosen = {name: value for name, value in said.items() if value is not None}
    try:
        return type(pipeline.gate).model_validate({**pipeline.gate.model_dump(), **chosen})
    except ValidationError as error:
        wrong = "; ".join(
            f"--{str(one['loc'][0]).replace('_', '-')}: {one['msg']}" for one in error.errors() if one["loc"]
        )
        raise ConfigError(wrong) from None


def _predictions(
    settings: Settings, pipeline: Pipeline, gate: GateConfig, file: Path | None
) -> tuple[Predictions, str]:
    """Real predictions with a champion's beside them, and where they come from."""
    from nightshift.gate.predictions import Predictions

    if file is not None:
        if not file.is_file():
            raise ConfigError(f"there is no file {file}")
        return Predictions.read(file, gate.columns), str(file)
    if (found := _of_mlflow(settings, pipeline, gate)) is not None:
        return found
    sample = settings.project / "include" / "samples" / f"{pipeline.pipeline}_predictions.parquet"
    if sample.is_file():
        return Predictions.read(sample, gate.columns), f"the recorded sample {sample.name}"
    raise ConfigError(
        f"there are no predictions of {pipeline.pipeline}: MLflow at {settings.mlflow_tracking_uri} has no "
        "evaluation of it with a champion, or is down",
        fix="give the predictions.parquet of an evaluation with --predictions, or run two nights first",
    )


def _of_mlflow(settings: Settings, pipeline: Pipeline, gate: GateConfig) -> tuple[Predictions, str] | None:
    from nightshift.gate.predictions import Predictions
    from nightshift.registry.evaluations import newest_comparison

    with tempfile.TemporaryDirectory(prefix="nightshift-gate-") as folder:
        uri, name = settings.mlflow_tracking_uri, pipeline.pipeline
        try:
            found = newest_comparison(uri, name, gate.metric, Path(folder))
        except RegistryError as error:
            print(f"MLflow is not asked: {error.what}", file=sys.stderr)
            return None
        if found is None:
            return None
        try:
            predictions = Predictions.read(found.file, gate.columns)
        except LakeError as error:  # written by an older pipeline file
            print(f"run {found.run_name} of MLflow is not taken: {error.what}", file=sys.stderr)
            return None
        return predictions, f"run {found.run_name} of MLflow at {uri}"


def _progress(total: int) -> Callable[[int], None]:
    step = max(1, total // _LINES)

    def each(done: int) -> None:
        if done % step == 0 or done == total:
            print(f"[{done}/{total}]", file=sys.stderr, flush=True)

    return each


def _lines(found: Simulation) -> list[str]:
    truth = f"truly {_better(found)} in {found.metric}"
    rows: list[tuple[str, Any, float]] = [
        ("greater than", found.naive_promoted, found.naive_share),
        ("the gate", found.promoted, found.promoted_share),
    ]
    return [
        f"{found.retrains} retrains, {truth}; seed {found.seed}, {found.resamples:,} resamples each",
        f"{found.rows:,} rows of {found.partitions} partitions, from {text(found.source)}",
        "",
        f"{'rule':14}{'promoted':>9}{'share':>8}",
        *(f"{name:14}{count:>9}{share:>8.1%}" for name, count, share in rows),
        "",
        *_meaning(found),
    ]


def _better(found: Simulation) -> str:
    if not found.true_difference:
        return "no better than the champion"
    than = "better" if found.true_difference > 0 else "worse"
    return f"{than} than the champion by {abs(found.true_difference):.5g} ({found.effect:g} x the margin)"


def _meaning(found: Simulation) -> list[str]:
    """What the numbers say about the margin."""
    lines = []
    if found.true_difference <= 0:
        kept = "within" if found.promoted <= found.bound else "OUTSIDE"
        lines.append(
            f"Promotions here are false. {found.promoted} is {kept} what alpha {found.alpha:g} allows: up to "
            f"{found.alpha * found.retrains:g} expected, over {found.bound} with a probability under 1 %."
        )
    margin = f"the margin is {found.min_effect:g}" if found.min_effect else "there is no margin"
    lines.append(
        f"The measured difference varies by {found.standard_error:.4f} from retrain to retrain (standard "
        f"error); {margin}."
    )
    if not found.effect:  # a better model varies differently: of one margin there is one word
        fits = "is large enough" if found.min_effect >= found.least_margin else "is too small"
        lines.append(
            "A challenger that is better by twice the margin is promoted 8 times of 10 from a margin of "
            f"about {found.least_margin:.4f} on: this margin {fits} for this holdout. A longer holdout "
            "allows a smaller one."
        )
    return lines
