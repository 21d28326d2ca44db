"""How a tuning job runs: trials in parallel, the best of them, early ends, and every way it can end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.aws.ended import outcome
from localcloud.aws.errors import AwsError, JobError
from localcloud.aws.search import Search
from localcloud.aws.training_calls import stop_record
from localcloud.aws.trials import objective_of, start_trial, summary_of, trials_of

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.records import Record

__all__ = ["run_tuning"]

_LOOK_S = 0.02
# So many failures before the first success, and AWS gives up.
_HOPELESS = 5
_STATUS = "HyperParameterTuningJobStatus"


def run_tuning(cloud: Cloud, tuning: Record) -> None:
    """Run a tuning job from its first moment to its last."""
    runs: list[_Run] = []

    def work() -> str:
        runs.append(_Run(cloud, tuning))
        return runs[0].to_the_end()

    ended, reason = outcome(cloud, tuning, work, waits=False)
    for run in runs:
        run.end_trials()
        run.count()
    failure = {"FailureReason": reason} if reason else {}
    shown = {_STATUS: ended, "HyperParameterTuningEndTime": time.time(), **failure}
    cloud.records.change(tuning, **shown)


@dataclass(slots=True)
class _Trial:
    """A trial that runs: optuna's side, the training job, and the objective's values so far."""

    asked: Any
    job: Record
    values: list[float]
    told: int = 0
    given_up: bool = False


@dataclass(slots=True)
class _Run:
    """One tuning job while it runs."""

    cloud: Cloud
    tuning: Record
    search: Search = field(init=False)
    live: list[_Trial] = field(default_factory=list)
    ended: list[Record] = field(default_factory=list)
    began: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.search = Search(self._config)
        self.search.inherit(self._parents())

    @property
    def _config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.tuning.request["HyperParameterTuningJobConfig"]
        return found

    def _parents(self) -> list[Record]:
        """Trials of the tuning jobs that this one starts from, with their values."""
        warm = self.tuning.request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", ())
        found = []
        for parent in warm:
            for trial in trials_of(self.cloud, parent["HyperParameterTuningJobName"]):
                value = objective_of(trial)
                if value is not None:
                    trial.state["value"] = value
                    found.append(trial)
        return found

    def to_the_end(self) -> str:
        """The status that the tuning job ends with.

        :raises JobError: when no trial succeeds.
        """
        limits = self._config["ResourceLimits"]
        while True:
            self.cloud.check()
            self._collect()
            over_time = time.time() - self.began > limits.get("MaxRuntimeInSeconds", float("inf"))
            if self.tuning.stop.is_set() or over_time:
                return "Stopped"
            self._despair(limits["MaxNumberOfTrainingJobs"])
            started = len(self.live) + len(self.ended)
            if started < limits["MaxNumberOfTrainingJobs"]:
                if len(self.live) < limits["MaxParallelTrainingJobs"]:
                    self._start(started + 1)
                    continue
            elif not self.live:
                return "Completed"
            time.sleep(_LOOK_S)

    def end_trials(self) -> None:
        """Stop what still runs, and wait for it."""
        for trial in self.live:
            self._stop(trial)
        for trial in self.live:
            while not trial.job.done.wait(0.1):
                self.cloud.check()
        self._collect()

    def _start(self, number: int) -> None:
        asked, tuned = self.search.propose()
        try:
            job = start_trial(self.cloud, self.tuning, number, tuned)
        except AwsError as error:
            raise JobError(f"ClientError: {error.message}") from error
        trial = _Trial(asked, job, [])
        wanted = self._config["HyperParameterTuningJobObjective"]["MetricName"]
        job.watchers.append(lambda name, value: trial.values.append(value) if name == wanted else None)
        self.live.append(trial)
        self.count()

    def _collect(self) -> None:
        """Learn from trials that ended, and give up those that are not worth their time."""
        for trial in list(self.live):
            ended = trial.job.done.is_set()
            values = list(trial.values)
            hopeless = self.search.hear(trial.asked, values, trial.told)
            trial.told = len(values)
            if ended:
                self.live.remove(trial)
                self.ended.append(trial.job)
                self.search.learn(trial.asked, self._value(trial), given_up=trial.given_up)
                self.count()
            elif hopeless and not trial.given_up:
                trial.given_up = True
                self._stop(trial)

    def _value(self, trial: _Trial) -> float | None:
        completed = trial.job.shown["TrainingJobStatus"] == "Completed"
        return objective_of(trial.job) if completed else None

    def _stop(self, trial: _Trial) -> None:
        try:
            stop_record(self.cloud, trial.job)
        except AwsError:  # it ended by itself meanwhile
            return

    def _despair(self, most: int) -> None:
        if any(job.shown["TrainingJobStatus"] == "Completed" for job in self.ended):
            return
        failed = sum(job.shown["TrainingJobStatus"] == "Failed" for job in self.ended)
        if failed >= min(_HOPELESS, most):
            raise JobError(
                f"No training job succeeded after {failed} attempts. For additional details, please take a "
                "look at the training job failures by listing training jobs for the hyperparameter "
                "tuning job."
            )

    def count(self) -> None:
        """Write the counters and the best trial."""
        jobs = [*(trial.job for trial in self.live), *self.ended]
        statuses = [self._counted(job) for job in jobs]
        told = [summary_of(job) for job in jobs]
        objectives = [one["ObjectiveStatus"] for one in told]
        names = ("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped")
        shown: dict[str, Any] = {
            "TrainingJobStatusCounters": {name: statuses.count(name) for name in names},
            "ObjectiveStatusCounters": {n: objectives.count(n) for n in ("Succeeded", "Pending", "Failed")},
        }
        best = self._best(told)
        if best:
            shown["BestTrainingJob"] = best
        self.cloud.records.change(self.tuning, **shown)

    def _best(self, told: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Among those that ran to their end (assumed: AWS may also take one that it ended early)."""
        key = "FinalHyperParameterTuningJobObjectiveMetric"
        found = [one for one in told if key in one and one["TrainingJobStatus"] == "Completed"]
        greatest = self._config["HyperParameterTuningJobObjective"]["Type"] == "Maximize"
        sign = 1 if greatest else -1
        return max(found, key=lambda one: sign * one[key]["Value"], default=None)

    @staticmethod
    def _counted(job: Record) -> str:
        status = str(job.shown["TrainingJobStatus"])
        if status == "Failed":
            internal = job.shown.get("FailureReason", "").startswith("InternalServerError")
            return "RetryableError" if internal else "NonRetryableError"
        return "InProgress" if status == "Stopping" else status
