"""The search of a tuning job: optuna proposes, and says which trials to give up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from localcloud.aws.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localcloud.aws.records import Record

__all__ = ["Search"]

_FIRST_AT_RANDOM = 3


class Search:
    """One study, made from a tuning job's configuration.

    The median rule of optuna compares a trial's best value so far with the median of the others at the same
    report; AWS describes the median of the others' running averages.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._ranges: dict[str, list[dict[str, Any]]] = config.get("ParameterRanges", {})
        objective = config["HyperParameterTuningJobObjective"]
        self._study = optuna.create_study(
            direction=objective["Type"].lower(), sampler=_sampler(config), pruner=_pruner(config)
        )

    def propose(self) -> tuple[Any, dict[str, str]]:
        """A trial of optuna's, and its hyperparameters as strings."""
        trial = self._study.ask()
        tuned: dict[str, str] = {}
        for one in self._ranges.get("ContinuousParameterRanges", ()):
            low, high = float(one["MinValue"]), float(one["MaxValue"])
            tuned[one["Name"]] = repr(trial.suggest_float(one["Name"], low, high, log=_log(one)))
        for one in self._ranges.get("IntegerParameterRanges", ()):
            first, last = int(one["MinValue"]), int(one["MaxValue"])
            tuned[one["Name"]] = str(trial.suggest_int(one["Name"], first, last, log=_log(one)))
        for one in self._ranges.get("CategoricalParameterRanges", ()):
            tuned[one["Name"]] = trial.suggest_categorical(one["Name"], one["Values"])
        return trial, tuned

    def hear(self, trial: Any, values: Sequence[float], seen: int) -> bool:
        """Take the reports after the first ``seen``; whether the trial is not worth its time."""
        for step, value in enumerate(values[seen:], seen + 1):
            trial.report(value, step)
        return bool(len(values) > seen and trial.should_prune())

    def learn(self, trial: Any, value: float | None, *, given_up: bool) -> None:
        """Tell how a trial ended."""
        from optuna.trial import TrialState

        if given_up:
            self._study.tell(trial, state=TrialState.PRUNED)
        elif value is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, value)

    def inherit(self, parents: Sequence[Record]) -> None:
        """Warm start: the trials of earlier tuning jobs whose hyperparameters lie in these ranges."""
        import optuna

        space = self._space()
        for parent in parents:
            try:
                values = {name: _typed(parent.state["tuned"][name], kind) for name, kind in space.items()}
                past = optuna.create_trial(params=values, distributions=space, value=parent.state["value"])
            except (KeyError, ValueError):  # other hyperparameters, or outside the ranges
                continue
            self._study.add_trial(past)

    def _space(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, Any] = {}
        for one in self._ranges.get("ContinuousParameterRanges", ()):
            low, high = float(one["MinValue"]), float(one["MaxValue"])
            found[one["Name"]] = FloatDistribution(low, high, log=_log(one))
        for one in self._ranges.get("IntegerParameterRanges", ()):
            found[one["Name"]] = IntDistribution(int(one["MinValue"]), int(one["MaxValue"]), log=_log(one))
        for one in self._ranges.get("CategoricalParameterRanges", ()):
            found[one["Name"]] = CategoricalDistribution(one["Values"])
        return found


def _typed(text: str, distribution: Any) -> Any:
    name = type(distribution).__name__
    return {"FloatDistribution": float, "IntDistribution": int}.get(name, str)(text)


def _log(one: dict[str, Any]) -> bool:
    scaling = one.get("ScalingType", "Auto")
    if scaling == "ReverseLogarithmic":
        raise JobError("ClientError: the loopback AWS does not do ScalingType ReverseLogarithmic")
    return bool(scaling == "Logarithmic")


def _sampler(config: dict[str, Any]) -> Any:
    import optuna

    seed = config.get("RandomSeed")
    if config["Strategy"] == "Random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_FIRST_AT_RANDOM, constant_liar=True)


def _pruner(config: dict[str, Any]) -> Any:
    import optuna

    if config["Strategy"] == "Hyperband":
        limits = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
        return optuna.pruners.HyperbandPruner(
            min_resource=limits.get("MinResource", 1), max_resource=limits.get("MaxResource", "auto")
        )
    if config.get("TrainingJobEarlyStoppingType") == "Auto":
        return optuna.pruners.MedianPruner(n_startup_trials=_FIRST_AT_RANDOM)
    return optuna.pruners.NopPruner()
