"""The search of a tuning job: which values come next, what is finished, what a killed job had begun.

One process asks and tells, so the study needs no database and no heartbeat: it is a file of appended lines
(Optuna's journal) in the checkpoint folder, which a killed job leaves usable. A trial that was running
when the job died is run again under its own number with its own values.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from jobs.contract import BadInput, say
from jobs.metrics import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import optuna

    from jobs.contract import JobSpec, TuningSpec

__all__ = ["Ended", "Search"]

_FEWEST_RANDOM, _MOST_RANDOM = 4, 10
_FEWEST_POINTS = 3
"""No trial is given up before this many points of its learning curve: the first ones say little."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial that ended: COMPLETE, PRUNED or FAIL. ``value`` is NaN where it has none."""

    number: int
    state: str
    params: dict[str, Any]
    value: float
    seconds: float
    error: str | None
    intermediate: tuple[tuple[int, float], ...]


class Search:
    """The trials of one tuning job, numbered from 0; those of an earlier, killed try are taken over."""

    def __init__(self, spec: JobSpec, tuning: TuningSpec, checkpoints: Path) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.asked = tuning.trials
        self.minimised = not _is_maximised(tuning.metric)
        self._pruning = tuning.pruning
        self._seed = spec.seed
        self._space = {name: _distribution(name, words) for name, words in tuning.search_space.items()}
        self.study = optuna.create_study(
            storage=_journal(checkpoints / "study.journal"),
            study_name=_identity(spec, tuning),
            direction="minimize" if self.minimised else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_FEWEST_RANDOM, n_min_trials=_FEWEST_RANDOM),
            load_if_exists=True,
        )
        before = self.study.get_trials(deepcopy=False)
        self._begun = [trial for trial in before if trial.state.name == "RUNNING"]
        if not before:
            self._start_from(spec.hyperparameters)

    def _start_from(self, hyperparameters: Mapping[str, Any]) -> None:
        """Try the pipeline's own values first, so that a search never ends worse than no search."""
        inside = {
            name: hyperparameters[name]
            for name, distribution in self._space.items()
            if name in hyperparameters and _contains(distribution, hyperparameters[name])
        }
        if inside:
            self.study.enqueue_trial(inside)

    def ended(self, state: str | None = None) -> list[Ended]:
        """The trials that ended, by number; only those in ``state`` where it is given."""
        trials = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        return [_ended(trial) for trial in trials if state in (None, trial.state.name)]

    def next(self) -> optuna.Trial | None:
        """The next trial to run, its values chosen; None when as many as asked are running or done."""
        import optuna

        if self._begun:
            begun = self._begun.pop(0)
            self.study.sampler = self._sampler(begun.number)
            # The class is public, the id it wants is not; there is no other way to take a trial up again.
            return self._fill(optuna.Trial(self.study, begun._trial_id))
        number = sum(trial.state.name != "WAITING" for trial in self.study.get_trials(deepcopy=False))
        if number >= self.asked:
            return None
        self.study.sampler = self._sampler(number)
        return self._fill(self.study.ask())

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """One for each trial: a search that is resumed does not draw its first values once more."""
        import optuna

        return optuna.samplers.TPESampler(
            seed=self._seed + number,
            n_startup_trials=max(_FEWEST_RANDOM, min(_MOST_RANDOM, self.asked // 3)),
        )

    def _fill(self, trial: optuna.Trial) -> optuna.Trial:
        import optuna

        for name, of in self._space.items():
            if isinstance(of, optuna.distributions.FloatDistribution):
                trial.suggest_float(name, of.low, of.high, log=of.log)
            elif isinstance(of, optuna.distributions.IntDistribution):
                trial.suggest_int(name, of.low, of.high, log=of.log)
            else:
                trial.suggest_categorical(name, of.choices)
        return trial

    def report(self, trial: optuna.Trial, step: int, value: float) -> bool:
        """Take a point of a trial's learning curve; True when the trial should be given up."""
        if math.isnan(value):
            return False
        points = trial.storage.get_trial(trial._trial_id).intermediate_values
        if step not in points:
            trial.report(value, step)
        return self._pruning and len(points) >= _FEWEST_POINTS - 1 and trial.should_prune()

    def complete(self, trial: optuna.Trial, value: float, seconds: float) -> None:
        """Close a trial with its value; one that is no number counts as failed."""
        if math.isnan(value):
            self.fail(trial, "the metric is not a number", seconds)
            return
        trial.set_user_attr("seconds", seconds)
        self.study.tell(trial, value)

    def prune(self, trial: optuna.Trial, seconds: float) -> None:
        """Close a trial that was given up."""
        import optuna

        trial.set_user_attr("seconds", seconds)
        self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def fail(self, trial: optuna.Trial, reason: str, seconds: float) -> None:
        """Close a trial whose fit raised or whose worker died."""
        import optuna

        trial.set_user_attr("seconds", seconds)
        trial.set_user_attr("error", reason)
        self.study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def best(self) -> Ended | None:
        """The best completed trial, the first of equals; None while there is none."""
        sign = 1 if self.minimised else -1
        return min(self.ended("COMPLETE"), key=lambda trial: sign * trial.value, default=None)


def _ended(trial: optuna.trial.FrozenTrial) -> Ended:
    return Ended(
        number=trial.number,
        state=trial.state.name,
        params=dict(trial.params),
        value=math.nan if trial.value is None else trial.value,
        seconds=trial.user_attrs.get("seconds", math.nan),
        error=trial.user_attrs.get("error"),
        intermediate=tuple(sorted(trial.intermediate_values.items())),
    )


def _is_maximised(metric: str) -> bool:
    if metric not in HIGHER_IS_BETTER:
        near = difflib.get_close_matches(metric, HIGHER_IS_BETTER, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"there is no metric {metric!r} (there are {', '.join(HIGHER_IS_BETTER)}){hint}")
    return HIGHER_IS_BETTER[metric]


def _distribution(name: str, words: Mapping[str, Any]) -> Any:
    """One entry of the search space as Optuna understands it.

    :raises BadInput: naming the entry and what is wrong with it.
    """
    import optuna

    makers: dict[str, Callable[..., Any]] = {
        "float": optuna.distributions.FloatDistribution,
        "int": optuna.distributions.IntDistribution,
        "categorical": optuna.distributions.CategoricalDistribution,
    }
    kind = words.get("type") if isinstance(words, dict) else None
    if kind not in makers:
        near = difflib.get_close_matches(str(kind), makers, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise BadInput(f"search_space.{name}: type must be one of {', '.join(makers)}, not {kind!r}{hint}")
    try:
        return makers[kind](**{key: value for key, value in words.items() if key != "type"})
    except (TypeError, ValueError) as error:
        raise BadInput(f"search_space.{name}: {error}") from error


def _contains(distribution: Any, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def _identity(spec: JobSpec, tuning: TuningSpec) -> str:
    """Another data set, model or search space is another study; more trials of the same are not."""
    document = asdict(replace(spec, tmp=None, tuning=None))
    document |= {"search_space": dict(tuning.search_space), "metric": tuning.metric}
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _journal(path: Path) -> Any:
    """The journal at ``path``, healed: no lock of a dead job, nothing from the first damaged line on."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".lock").unlink(missing_ok=True)  # nobody else runs this job
    if path.exists():
        data = path.read_bytes()
        keep = _whole(data)
        if keep < len(data):
            say(f"{path.name}: its last {len(data) - keep} bytes are damaged or half-written and left out")
            os.truncate(path, keep)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileSymlinkLock(str(path))))


def _whole(data: bytes) -> int:
    """How many bytes there are up to the first line that is no whole entry."""
    end = 0
    for line in data.splitlines(keepends=True):
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            break
        if not isinstance(entry, dict):
            break
        end += len(line)
    return end
