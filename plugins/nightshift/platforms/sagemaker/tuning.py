"""Searches by SageMaker's tuner: our search space in its words, its trials in the words of ``jobs.tune``."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

from nightshift.errors import ConfigError, JobFailed
from nightshift.platforms.sagemaker.metrics import objective
from nightshift.platforms.sagemaker.requests import definition_of_trials
from nightshift.platforms.sagemaker.tags import SEARCH_SPACE, aws_tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nightshift.platforms.sagemaker.config import SageMakerConfig
    from nightshift.platforms.sagemaker.logs import Line
    from nightshift.platforms.sagemaker.requests import Order, Request

__all__ = ["parameter_ranges", "progress", "results", "search_space_id", "trials", "tuning_request"]

_STRATEGIES = {"bayesian": "Bayesian", "random": "Random", "hyperband": "Hyperband"}
_RESOURCES = ("epochs", "max_iter")
"""Hyperparameters that say how long one trial may learn."""
_SHORTEST_S, _LONGEST_S = 120, 15_768_000
_SEEDS = 2**31


def tuning_request(
    config: SageMakerConfig, region: str, order: Order, document: Mapping[str, Any], parent: str | None
) -> Request:
    """CreateHyperParameterTuningJob.

    :param document: the job's own JSON document, with its ``tuning``.
    :param parent: an ended tuning job whose trials this one starts from.
    """
    tuning = document["tuning"]
    request: Request = {
        "HyperParameterTuningJobName": order.name,
        "HyperParameterTuningJobConfig": {
            **_strategy(document),
            "HyperParameterTuningJobObjective": objective(tuning),
            "ParameterRanges": parameter_ranges(tuning["search_space"]),
            "ResourceLimits": _limits(order, tuning),
            "RandomSeed": int(document.get("seed", 0)) % _SEEDS,
        },
        "TrainingJobDefinition": definition_of_trials(config, region, order, tuning),
        "Tags": [*order.aws_tags(config), *aws_tags({SEARCH_SPACE: search_space_id(config, document)}, {})],
    }
    if parent:  # the data are a day older there: not identical, so what was learned is transferred
        request["WarmStartConfig"] = {
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent}],
            "WarmStartType": "TransferLearning",
        }
    return request


def _limits(order: Order, tuning: Mapping[str, Any]) -> Request:
    trials = int(tuning.get("trials", 12))
    return {
        "MaxNumberOfTrainingJobs": trials,
        "MaxParallelTrainingJobs": min(trials, int(tuning.get("parallelism", 2))),
        "MaxRuntimeInSeconds": min(_LONGEST_S, max(_SHORTEST_S, order.max_runtime_s)),
    }


def _strategy(document: Mapping[str, Any]) -> Request:
    """Hyperband ends hopeless trials itself, and needs to know how long a trial may be."""
    tuning = document["tuning"]
    strategy = _STRATEGIES[tuning.get("strategy", "bayesian")]
    if strategy != "Hyperband":
        early = "Auto" if tuning.get("pruning", True) else "Off"
        return {"Strategy": strategy, "TrainingJobEarlyStoppingType": early}
    hyperband = {"MinResource": 1, "MaxResource": _most_resource(document)}
    return {
        "Strategy": strategy,
        "TrainingJobEarlyStoppingType": "Off",
        "StrategyConfig": {"HyperbandStrategyConfig": hyperband},
    }


def _most_resource(document: Mapping[str, Any]) -> int:
    """The longest that a trial may learn, in steps.

    :raises ConfigError: when the pipeline file does not say.
    """
    for name in _RESOURCES:
        words = document["tuning"]["search_space"].get(name, {})
        found = words.get("high", document.get("hyperparameters", {}).get(name))
        if found is not None:
            return int(found)
    raise ConfigError(
        "strategy hyperband needs to know how long a trial may learn",
        fix=f"set training.hyperparameters.{_RESOURCES[0]} (or {_RESOURCES[1]}) in the pipeline file",
    )


def parameter_ranges(space: Mapping[str, Mapping[str, Any]]) -> Request:
    """Our search space as SageMaker's. All numbers are text there; a range of one value is a category."""
    ranges: Request = {}
    for name, words in space.items():
        if words["type"] == "categorical" or words["low"] == words["high"]:
            choices = words.get("choices") or (words["low"],)
            entry: Request = {"Name": name, "Values": [_text(choice) for choice in choices]}
            ranges.setdefault("CategoricalParameterRanges", []).append(entry)
            continue
        entry = {"Name": name, "MinValue": _text(words["low"]), "MaxValue": _text(words["high"])}
        entry["ScalingType"] = "Logarithmic" if words.get("log") else "Linear"
        kind = "IntegerParameterRanges" if words["type"] == "int" else "ContinuousParameterRanges"
        ranges.setdefault(kind, []).append(entry)
    return ranges


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(words: Mapping[str, Any], text: str) -> Any:
    """A tuned value with the type that the search space gives it."""
    if words["type"] == "categorical":
        return next((choice for choice in words["choices"] if text in (_text(choice), str(choice))), text)
    return int(float(text)) if words["type"] == "int" else float(text)


def search_space_id(config: SageMakerConfig, document: Mapping[str, Any]) -> str:
    """What two tuning jobs must share for one to start from the other's trials: SageMaker refuses others.

    In script mode trials have hyperparameters besides.
    """
    tuning, runs = document["tuning"], [config.image, config.script_mode]
    shared = [document.get("model"), tuning.get("metric"), tuning["search_space"], *runs]
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:32]


# -- what came of it ----------------------------------------------------------------------------


def trials(
    found: Sequence[Mapping[str, Any]],
    tuning: Mapping[str, Any],
    told: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Trials that ended, as ``jobs.tune`` writes them into trials.json; NaN is null there.

    A trial that SageMaker ended early keeps its last value.

    :param found: in the order in which they were started.
    :param told: by name, the trial.json of those that left one: the exact value, and the points on the way.
    """
    return [
        {**_trial(number, each, tuning), **_told((told or {}).get(each["TrainingJobName"]))}
        for number, each in enumerate(found)
        if each["TrainingJobStatus"] in ("Completed", "Failed", "Stopped")
    ]


def _told(document: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: (document or {})[key] for key in ("value", "seconds", "intermediate") if document}


def _trial(number: int, each: Mapping[str, Any], tuning: Mapping[str, Any]) -> dict[str, Any]:
    space = tuning["search_space"]
    value = each.get("FinalHyperParameterTuningJobObjectiveMetric", {}).get("Value")
    state = {"Completed": "COMPLETE", "Stopped": "PRUNED", "Failed": "FAIL"}[each["TrainingJobStatus"]]
    error = each.get("FailureReason")
    if state == "COMPLETE" and (value is None or not math.isfinite(value)):
        state, error, value = "FAIL", "it never told the metric", None
    start, end = each.get("TrainingStartTime"), each.get("TrainingEndTime")
    tuned = each["TunedHyperParameters"]
    return {
        "number": number,
        "state": state,
        "params": {name: _value(words, tuned[name]) for name, words in space.items() if name in tuned},
        "value": value,
        "seconds": (end - start).total_seconds() if start and end else None,
        "error": error,
        "intermediate": [],
    }


def _best(ended: Sequence[Mapping[str, Any]], tuning: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The best completed trial, the first of equals."""
    sign = 1 if objective(tuning)["Type"] == "Minimize" else -1
    complete = [trial for trial in ended if trial["state"] == "COMPLETE"]
    return min(complete, key=lambda trial: sign * trial["value"], default=None)


def results(
    found: Sequence[Mapping[str, Any]],
    tuning: Mapping[str, Any],
    seconds: float,
    told: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """trials.json, best.json and metrics.json by name, as ``jobs.tune`` leaves them.

    :raises JobFailed: when no trial completed.
    """
    ended, metric = trials(found, tuning, told), tuning.get("metric", "average_precision")
    best = _best(ended, tuning)
    if best is None:
        raise JobFailed(f"none of {len(ended)} trials completed", fix="look at their logs")
    numbers = {"trials": len(ended), "seconds": seconds, f"best_validation_{metric}": best["value"]}
    for state in ("COMPLETE", "PRUNED", "FAIL"):
        numbers[f"trials_{state.lower()}"] = sum(trial["state"] == state for trial in ended)
    chosen = {name: best[name] for name in ("number", "value", "params")}
    return {
        "trials.json": ended,
        "best.json": {**chosen, "metric": metric, "importances": {}},
        "metrics.json": numbers,
    }


def progress(found: Sequence[Mapping[str, Any]], tuning: Mapping[str, Any]) -> list[Line]:
    """A line for each trial that ended, as ``jobs.tune`` prints them, in the order of their ends."""
    ends = [each["TrainingEndTime"].timestamp() if "TrainingEndTime" in each else 0.0 for each in found]
    ended = sorted(trials(found, tuning), key=lambda trial: (ends[trial["number"]], trial["number"]))
    lines = _lines(ended, tuning)
    return [(int(ends[trial["number"]] * 1000), line) for trial, line in zip(ended, lines, strict=True)]


def _lines(ended: Sequence[Mapping[str, Any]], tuning: Mapping[str, Any]) -> Iterator[str]:
    for count, trial in enumerate(ended, 1):
        best = _best(ended[:count], tuning)
        words = " ".join(f"{name}={_short(value)}" for name, value in trial["params"].items())
        told = "nan" if trial["value"] is None else f"{trial['value']:.4f}"
        yield (
            f"trial {count}/{tuning.get('trials', 12)} (number {trial['number']}) {trial['state'].lower()} "
            f"value={told} best={'-' if best is None else format(best['value'], '.4f')} "
            f"{trial['seconds'] or 0.0:.1f} s {words}" + (f": {trial['error']}" if trial["error"] else "")
        )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
