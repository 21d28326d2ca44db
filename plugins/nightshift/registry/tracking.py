"""What a job leaves in MLflow: one run per job, found by its tag, filled from the job's output folder."""

from __future__ import annotations

import datetime as dt
import json
import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from nightshift.errors import RegistryError
from nightshift.registry.names import FAILURE, JOB, LOGGED
from nightshift.registry.server import but_not_if_there, connect, speaking_to
from nightshift.registry.trials import log_trials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

__all__ = ["Tracking"]

Outcome = Literal["FINISHED", "FAILED", "KILLED"]
MODEL = "model"
# What one log_batch call may carry.
_BILL = ("seconds", "billable_seconds", "cost_usd", "saved_usd")
_METRICS_AT_ONCE = 1000
_PARAMS_AT_ONCE = 100
_DIGEST_CHARS = 36

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow's UI opens the experiment as one of language models."""


class Tracking:
    """The runs of the MLflow server at ``uri``.

    Every method may be called again after a crash or by a second process: a run is known by the tag
    ``nightshift.job``, and metrics carry the run's own start time, so repeating them adds nothing.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self.uri)

    def find_or_create_run(
        self, experiment: str, job_name: str, run_name: str, tags: Mapping[str, str]
    ) -> str:
        """The id of the run of job ``job_name``, made when there is none.

        MLflow has no uniqueness to lean on: of runs that several writers made at once, all take the oldest,
        and whoever sees a younger one without results takes it away, at the latest the next caller.

        :raises RegistryError: when MLflow cannot be reached or refuses.
        """
        client = self._client
        with speaking_to(self.uri, f"a run for job {job_name}"):
            experiment_id = self._experiment(experiment)
            found = self._runs_of(experiment_id, job_name)
            if found:
                return self._keep_oldest(found)
            labels = {**tags, JOB: job_name, "mlflow.source.name": job_name, "mlflow.source.type": "JOB"}
            client.create_run(experiment_id, tags=labels, run_name=run_name)
            return self._keep_oldest(self._runs_of(experiment_id, job_name))

    def _keep_oldest(self, runs: list[Run]) -> str:
        for younger in runs[1:]:
            if LOGGED not in younger.data.tags:
                self._client.delete_run(younger.info.run_id)
        return str(runs[0].info.run_id)

    def _experiment(self, name: str) -> str:
        client = self._client
        if (found := client.get_experiment_by_name(name)) is None:
            with but_not_if_there():
                client.create_experiment(name, tags=_KIND)
            found = client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise RegistryError(
                f"the MLflow experiment {name} was deleted", fix=f"restore the experiment {name} in MLflow"
            )
        return str(found.experiment_id)

    def _runs_of(self, experiment_id: str, job_name: str) -> list[Run]:
        """The live runs of a job, oldest first."""
        found = self._client.search_runs([experiment_id], f"tags.`{JOB}` = '{job_name}'")
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def log_training(
        self,
        run_id: str,
        output: Path,
        manifests: Mapping[str, Mapping[str, Any]],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Store what a training job wrote to ``output``, and close the run as finished.

        Parameters, metrics, pictures, holdout predictions, the data as dataset inputs and
        ``manifests.json``, and the model folder as the run's model ``model``.

        :param manifests: table name -> manifest, as :meth:`Manifest.to_dict` gives it.
        """
        run = self._open(run_id)
        if run is None:
            return
        with speaking_to(self.uri, f"the training results of run {run_id}"):
            self._log_inputs(run_id, manifests)
            self._log_params(run_id, _json(output / "params.json"))
            self._log_folder(run_id, output / "pictures", "pictures")
            self._log_files(run_id, [output / "holdout_predictions.parquet"])
            model_id = self._log_model(run, output / MODEL)
            self._log_metrics(run, _json(output / "metrics.json"), model_id)
            self._log_platform(run, output)
            self._close(run_id, "FINISHED", tags or {})

    def log_tuning(self, run_id: str, output: Path, tags: Mapping[str, str] | None = None) -> None:
        """Store a tuning job's output: its best trial and pictures here, every trial as a nested run."""
        run = self._open(run_id)
        if run is None:
            return
        best = _json(output / "best.json")
        with speaking_to(self.uri, f"the tuning results of run {run_id}"):
            log_trials(self._client, run, _json(output / "trials.json"))
            self._log_params(run_id, {f"best_{key}": value for key, value in best["params"].items()})
            self._log_metrics(run, {**_json(output / "metrics.json"), "best_value": best["value"]})
            self._log_folder(run_id, output / "pictures", "pictures")
            self._log_files(run_id, [output / "trials.json", output / "best.json"])
            self._log_platform(run, output)
            self._close(run_id, "FINISHED", {**(tags or {}), "nightshift.best_trial": str(best["number"])})

    def log_evaluation(self, run_id: str, output: Path) -> None:
        """Add the comparison with the champion on the same holdout to the challenger's run."""
        evaluation = _json(output / "evaluation.json")
        numbers = {
            f"compared_{who}_{name}": value
            for who, model in evaluation["models"].items()
            for name, value in model["metrics"].items()
        }
        with speaking_to(self.uri, f"the evaluation of run {run_id}"):
            self._log_metrics(self._client.get_run(run_id), numbers)
            self._log_files(run_id, [output / "evaluation.json", output / "predictions.parquet"])

    def log_series(
        self, run_id: str, series: Mapping[str, Mapping[str, float]], files: Iterable[Path]
    ) -> None:
        """Metrics by partition, as MLflow's steps in the order of the partitions, and files beside them.

        May be called again with more partitions: a value is stored at its partition's own day.
        """
        from mlflow.entities import Metric

        entities = [
            Metric(name, float(value), _midnight_ms(partition), step)
            for step, partition in enumerate(sorted(series))
            for name, value in series[partition].items()
            if math.isfinite(value)
        ]
        with speaking_to(self.uri, f"the series of run {run_id}"):
            for part in _parts(entities, _METRICS_AT_ONCE):
                self._client.log_batch(run_id, metrics=part)
            self._log_files(run_id, files)
            self._close(run_id, "FINISHED", {"nightshift.partitions": str(len(series))})

    def fail(self, run_id: str, reason: str, outcome: Outcome = "FAILED") -> None:
        """Close a run whose job ended badly; a run that already holds results stays as it is."""
        if self._open(run_id) is None:
            return
        with speaking_to(self.uri, f"to close run {run_id}"):
            self._client.set_tag(run_id, FAILURE, reason[:4000])
            self._client.set_terminated(run_id, outcome)

    def page(self, run_id: str) -> str:
        """Where a browser shows the run."""
        with speaking_to(self.uri, f"run {run_id}"):
            experiment_id = self._client.get_run(run_id).info.experiment_id
        return f"{self.uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"

    def _open(self, run_id: str) -> Run | None:
        """The run, or None when its results are stored already."""
        with speaking_to(self.uri, f"run {run_id}"):
            run = self._client.get_run(run_id)
        return None if LOGGED in run.data.tags else run

    def _close(self, run_id: str, outcome: Outcome, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        labels = {**tags, LOGGED: "true"}
        self._client.log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in labels.items()])
        self._client.set_terminated(run_id, outcome)

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        entities = [Param(key, _word(value)) for key, value in params.items()]
        for part in _parts(entities, _PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=part)

    def _log_metrics(self, run: Run, numbers: Mapping[str, Any], model_id: str | None = None) -> None:
        from mlflow.entities import Metric

        # The run's start as the time of every value: the same value at the same time is stored once.
        entities = [
            Metric(key, float(value), run.info.start_time, 0, model_id=model_id)
            for key, value in numbers.items()
            if value is not None and math.isfinite(float(value))
        ]
        for part in _parts(entities, _METRICS_AT_ONCE):
            self._client.log_batch(run.info.run_id, metrics=part)

    def _log_platform(self, run: Run, output: Path) -> None:
        """What a cloud says of the job, where it says something: its machine, its bill, its own metrics."""
        file = output / "platform.json"
        if not file.is_file():
            return
        said = _json(file)
        bill = {f"job_{name}": said.get(name) for name in _BILL}
        reported = {f"reported_{name}": value for name, value in said.get("metrics", {}).items()}
        self._log_metrics(run, {**bill, **reported})
        self._log_files(run.info.run_id, [file])

    def _log_inputs(self, run_id: str, manifests: Mapping[str, Mapping[str, Any]]) -> None:
        if not manifests:
            return
        self._client.log_inputs(run_id, [_dataset(name, manifest) for name, manifest in manifests.items()])
        self._client.log_dict(run_id, {name: dict(one) for name, one in manifests.items()}, "manifests.json")

    def _log_folder(self, run_id: str, folder: Path, where: str) -> None:
        if folder.is_dir() and any(folder.iterdir()):
            self._client.log_artifacts(run_id, str(folder), where)

    def _log_files(self, run_id: str, files: Iterable[Path]) -> None:
        for file in files:
            if file.is_file():
                self._client.log_artifact(run_id, str(file))

    def _log_model(self, run: Run, folder: Path) -> str | None:
        """The id of the run's model; stored on the first call, byte for byte as the job wrote it."""
        from mlflow.entities import LoggedModelOutput

        if run.outputs is not None and run.outputs.model_outputs:
            return str(run.outputs.model_outputs[0].model_id)
        if not (folder / "MLmodel").is_file():
            return None
        client, run_id = self._client, run.info.run_id
        made = client.create_logged_model(run.info.experiment_id, name=MODEL, source_run_id=run_id)
        client.log_model_artifacts(made.model_id, str(folder))
        client.finalize_logged_model(made.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
        return str(made.model_id)


def _dataset(name: str, manifest: Mapping[str, Any]) -> DatasetInput:
    """A manifest as an MLflow dataset: the Delta table at its version, known by the digest of its files."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    partitions: Sequence[str] = manifest["partitions"]
    profile = {
        "num_rows": manifest["rows"],
        "bytes": manifest["bytes"],
        "partitions": len(partitions),
        "first": min(partitions, default=None),
        "last": max(partitions, default=None),
        "sha256": manifest["sha256"],
    }
    source = {"path": manifest["uri"], "delta_table_version": manifest["version"]}
    dataset = Dataset(
        name=name,
        digest=manifest["sha256"][:_DIGEST_CHARS],
        source_type="delta_table",
        source=json.dumps(source),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise RegistryError(
            f"the job's {file.name} cannot be read: {error}", fix="look into the job's log and output folder"
        ) from error


def _midnight_ms(partition: str) -> int:
    return int(dt.datetime.fromisoformat(partition).replace(tzinfo=dt.UTC).timestamp() * 1000)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _parts(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
