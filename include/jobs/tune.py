"""The tune job: search hyperparameters on the validation days, trials in parallel, resumable after a kill."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from jobs.contract import BadInput, metric, say, write_json
from jobs.features import build
from jobs.metrics import compute
from jobs.models import module
from jobs.trial_workers import Crew, Died, Done, Failed, GivenUp, Point
from jobs.trials import Search
from jobs.tune_pictures import draw, importances

if TYPE_CHECKING:
    from pathlib import Path

    import optuna
    import pandas as pd

    from jobs.contract import Job, TuningSpec
    from jobs.trial_workers import Event, Fit, Worker

__all__ = ["objective", "run"]

_IMPORTS = {
    "hist_gradient_boosting": ("sklearn.compose", "sklearn.ensemble", "sklearn.metrics", "sklearn.pipeline"),
    "torch_mlp": ("sklearn.metrics", "torch"),
}
"""What a fit imports: done once, before the workers are forked."""
_HOPELESS = 3
"""This many failed trials, and none that completed, end the job."""


def run(job: Job) -> None:
    """Run as many trials as asked and write trials.json, best.json, metrics.json and pictures.

    :raises BadInput: when the specification has no search, or the days have no labelled rows.
    """
    started, spec = time.perf_counter(), job.spec
    if spec.tuning is None:
        raise BadInput("job.json: a tune job needs the field tuning")
    search = Search(spec, spec.tuning, job.checkpoints)
    before = len(search.ended())
    if before:
        say(f"resumed: {before} of {search.asked} trials are done already")
    if before < search.asked:
        _Tuning(search, spec.tuning, objective(job, spec.tuning)).go()
    _write(job, search, spec.tuning.metric, time.perf_counter() - started)


def objective(job: Job, tuning: TuningSpec, checkpoints: Path | None = None) -> Fit:
    """What is done with one set of values. The frames are built here, once: workers share them by fork.

    :raises BadInput: when the days have no labelled rows.
    """
    spec, model = job.spec, module(job.spec.model)
    for name in _IMPORTS.get(spec.model, ()):
        import_module(name)
    frame = build(spec, job.input, [*spec.splits.train, *spec.splits.validation])
    frame = frame[frame[spec.target].notna()]
    held = frame["partition"].isin(spec.splits.validation)
    train, validation = frame[~held], frame[held]
    for name, rows in (("train", train), ("validation", validation)):
        _check_labels(name, rows, spec.target)
    say(f"{len(train)} rows to fit, {len(validation)} to judge")

    def fit(values: Any, report: Any) -> float:
        fitted = model.fit(
            train,
            validation,
            target=spec.target,
            hyperparameters={**spec.hyperparameters, **values},
            seed=spec.seed,
            checkpoints=checkpoints,
            report=report,
            metric=tuning.metric,
        )
        labels = validation[spec.target].to_numpy(dtype=float)
        return compute(labels, fitted.predict_proba(validation), (tuning.metric,))[tuning.metric]

    return fit


def _check_labels(name: str, rows: pd.DataFrame, target: str) -> None:
    if rows[target].nunique() < 2:
        raise BadInput(f"the {name} days have {len(rows)} labelled rows, not of both classes")


class _Tuning:
    """Hands trials to workers and takes what they say to the search."""

    def __init__(self, search: Search, tuning: TuningSpec, fit: Fit) -> None:
        self._search, self._metric, self._fit = search, tuning.metric, fit
        self._count = min(tuning.parallelism, search.asked - len(search.ended()))
        self._busy: dict[Worker, optuna.Trial] = {}
        self._started: dict[int, float] = {}
        self._died: set[int] = set()

    def go(self) -> None:
        """Run until the asked number of trials is finished."""
        with Crew(self._fit, self._count) as crew:
            for worker in crew.workers:
                self._begin(worker)
            while self._busy:
                for worker, event in crew.events(self._busy):
                    self._take(crew, worker, event)

    def _begin(self, worker: Worker, trial: optuna.Trial | None = None) -> None:
        trial = trial or self._search.next()
        if trial is None:
            return
        self._busy[worker] = trial
        self._started[trial.number] = time.perf_counter()
        worker.assign(trial.params)

    def _take(self, crew: Crew, worker: Worker, event: Event) -> None:
        trial = self._busy[worker]
        if isinstance(event, Point):
            worker.answer(self._search.report(trial, event.step, event.value))
            return
        del self._busy[worker]
        if isinstance(event, Died):
            worker = crew.replace(worker)
            if trial.number not in self._died:
                self._died.add(trial.number)
                say(f"trial {trial.number}: {event.how}; once more in a new process")
                self._begin(worker, trial)
                return
        self._close(trial, event)
        self._begin(worker)

    def _close(self, trial: optuna.Trial, event: Done | GivenUp | Failed | Died) -> None:
        search = self._search
        seconds = time.perf_counter() - self._started[trial.number]
        if isinstance(event, Done):
            search.complete(trial, event.value, seconds)
        elif isinstance(event, GivenUp):
            search.prune(trial, seconds)
        else:
            search.fail(trial, event.how if isinstance(event, Died) else event.reason, seconds)
        self._tell(trial, seconds)
        if isinstance(event, Failed):
            say(event.trace.rstrip())
            if event.bad_input:
                raise BadInput(event.reason)
        self._check_hope()

    def _tell(self, trial: optuna.Trial, seconds: float) -> None:
        search = self._search
        ended, best = search.ended(), search.best()
        closed = next(one for one in ended if one.number == trial.number)
        words = " ".join(f"{name}={_short(given)}" for name, given in closed.params.items())
        say(
            f"trial {len(ended)}/{search.asked} (number {closed.number}) {closed.state.lower()} "
            f"value={closed.value:.4f} best={'-' if best is None else f'{best.value:.4f}'} "
            f"{seconds:.1f} s {words}"
        )
        if closed.state == "COMPLETE":
            metric(f"validation_{self._metric}", closed.value, trial.number)

    def _check_hope(self) -> None:
        failed = self._search.ended("FAIL")
        if len(failed) >= _HOPELESS and self._search.best() is None:
            raise RuntimeError(f"the first {len(failed)} trials failed: {failed[-1].error}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write(job: Job, search: Search, name: str, seconds: float) -> None:
    ended, best = search.ended(), search.best()
    write_json(job.output / "trials.json", [asdict(trial) for trial in ended])
    if best is None:
        raise RuntimeError(f"none of {len(ended)} trials completed: see trials.json")
    document = {"number": best.number, "value": best.value, "params": best.params, "metric": name}
    write_json(job.output / "best.json", document | {"importances": importances(search)})
    numbers: dict[str, float] = {
        "trials": len(ended),
        "seconds": seconds,
        f"best_validation_{name}": best.value,
    }
    for state in ("COMPLETE", "PRUNED", "FAIL"):
        numbers[f"trials_{state.lower()}"] = len(search.ended(state))
    write_json(job.output / "metrics.json", numbers)
    draw(search, name, job.output / "pictures")
    metric(f"best_validation_{name}", best.value)
    say(f"best of {len(ended)} trials is number {best.number}: {name} {best.value:.4f}, {best.params}")
