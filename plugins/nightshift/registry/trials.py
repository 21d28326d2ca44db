"""The trials of a tuning job as nested runs: one per trial, found by its number."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nightshift.registry.names import LOGGED, TRIAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

__all__ = ["log_trials"]

# Optuna's word for how a trial ended -> MLflow's word for how a run did
_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
_PARENT = "mlflow.parentRunId"


def log_trials(client: MlflowClient, parent: Run, trials: Sequence[Mapping[str, Any]]) -> None:
    """Store every trial below ``parent``; those that are there already are left alone.

    :param trials: the job's trials.json: ``number``, ``state``, ``params``, ``value``, ``seconds`` and
        ``intermediate`` as ``[[step, value], ...]``.
    """
    stored = _stored(client, parent)
    for trial in trials:
        if stored.get(str(trial["number"])) != "true":
            _log_trial(client, parent, trial, stored)


def _stored(client: MlflowClient, parent: Run) -> dict[str, str]:
    """Trial number -> ``true`` when whole, else the id of the run that a crash left half-filled."""
    found = client.search_runs(
        [parent.info.experiment_id], f"tags.`{_PARENT}` = '{parent.info.run_id}'", max_results=10_000
    )
    return {
        run.data.tags[TRIAL]: run.data.tags.get(LOGGED, run.info.run_id)
        for run in found
        if TRIAL in run.data.tags
    }


def _log_trial(
    client: MlflowClient, parent: Run, trial: Mapping[str, Any], stored: Mapping[str, str]
) -> None:
    from mlflow.entities import Param, RunTag

    number, start = str(trial["number"]), int(parent.info.start_time)
    run_id = stored.get(number) or _create(client, parent, number)
    params = [
        Param(key, value if isinstance(value, str) else json.dumps(value))
        for key, value in trial["params"].items()
    ]
    tags = [RunTag("nightshift.state", trial["state"]), RunTag(LOGGED, "true")]
    client.log_batch(run_id, metrics=_metrics(trial, start), params=params, tags=tags)
    client.set_terminated(run_id, _STATUS[trial["state"]], end_time=start + _milliseconds(trial))


def _create(client: MlflowClient, parent: Run, number: str) -> str:
    run = client.create_run(
        parent.info.experiment_id,
        start_time=parent.info.start_time,
        tags={_PARENT: parent.info.run_id, TRIAL: number},
        run_name=f"trial {int(number):03d}",
    )
    return str(run.info.run_id)


def _metrics(trial: Mapping[str, Any], start: int) -> list[Metric]:
    from mlflow.entities import Metric

    steps = [Metric("value", value, start, step) for step, value in trial["intermediate"]]
    if trial["value"] is not None and trial["state"] == "COMPLETE":
        last = max((step for step, _ in trial["intermediate"]), default=-1)
        steps.append(Metric("value", trial["value"], start, last + 1))
    return [*steps[-990:], Metric("seconds", trial["seconds"] or 0.0, start, 0)]


def _milliseconds(trial: Mapping[str, Any]) -> int:
    return int((trial["seconds"] or 0.0) * 1000)
