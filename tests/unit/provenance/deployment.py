"""A deployment small enough to train in: real flights in a lake, MLflow, the local platform, no scheduler."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
import yaml

from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT, Settings
from nightshift.hooks.storage import open_lake
from nightshift.operators.night import job_document, manifests, pin_versions, plan_splits, table_inputs
from nightshift.operators.register import RegisterOperator
from nightshift.platforms.base import JobRef, JobSpec, Machine, error_of
from nightshift.platforms.code import code_sha256
from nightshift.platforms.local import LocalPlatform
from nightshift.validation.report import Page, to_json
from nightshift.validation.summary import ValidationSummary, report_path
from tests.fakes.job_inputs import PARTITIONS, write_inputs

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.tables import Lake
    from nightshift.registry.models import ModelVersion

__all__ = ["DAG_RUN", "Deployment", "output_of", "version_of"]

DAG_RUN = {"dag": "flights_retrain", "run": "manual__2013-01-12T02:00:00+00:00"}
_WINDOW = {"train": 4, "validation": 1, "holdout": 2}
_LOOKBACK = 2
_FEW_TREES = {"max_iter": 40}
_FEW_EPOCHS = {"max_epochs": 3, "patience": 3}
HYPERPARAMETERS = {"hist_gradient_boosting": _FEW_TREES, "torch_mlp": _FEW_EPOCHS}


@dataclass(frozen=True, slots=True)
class Deployment:
    """One pipeline of a name of its own, with twelve days in its lake."""

    settings: Settings
    pipeline: Pipeline

    @classmethod
    def make(cls, home: Path, name: str, mlflow_uri: str) -> Deployment:
        """Write the pipeline file and fill the lake."""
        document = yaml.safe_load((PROJECT / "include/pipelines/flight_delays.yaml").read_text())
        document["pipeline"] = name
        document["training"] |= {"window": _WINDOW, "hyperparameters": _FEW_TREES}
        document["features"]["lookback"] = _LOOKBACK
        (home / "pipelines").mkdir(parents=True)
        file = home / "pipelines" / f"{name}.yaml"
        file.write_text(yaml.safe_dump(document))
        options = {"home": str(home), "pipelines_dir": str(file.parent), "mlflow_tracking_uri": mlflow_uri}
        made = cls(Settings.from_lookup(options.get), load_pipeline(file))
        made._fill(home / "staged")
        return made

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this deployment has in its environment."""
        options = {
            "home": self.settings.home,
            "pipelines_dir": self.settings.pipelines_dir,
            "mlflow_tracking_uri": self.settings.mlflow_tracking_uri,
        }
        return {f"AIRFLOW__NIGHTSHIFT__{name.upper()}": str(value) for name, value in options.items()}

    @property
    def lake(self) -> Lake:
        return open_lake(self.settings, self.pipeline)

    @property
    def platform(self) -> LocalPlatform:
        return LocalPlatform(self.settings.jobs_home, self.settings.jobs_dir, usd_per_hour=3.6, gpus=0)

    def _fill(self, staged: Path) -> None:
        inputs = write_inputs(staged, PARTITIONS[:12]).folder
        for day in PARTITIONS[:12]:
            for name in ("clean", "weather"):
                rows = pq.ParquetFile(inputs / name / f"partition={day}" / "part-0.parquet").read()
                self.lake.table(name).replace_partition(day, rows)
        self.lake.table("planes").replace_all(pq.ParquetFile(inputs / "planes" / "part-0.parquet").read())
        for day in PARTITIONS[:11]:  # the newest has no report
            self.report(day)

    def report(self, day: str, *, quarantined: int = 0) -> None:
        """A validation report of a day, as validation writes it."""
        rows = self.lake.table("clean").partitions()[day].rows
        failed = SimpleNamespace(
            type="expect_column_values_to_be_between",
            columns=("distance",),
            label="expect_column_values_to_be_between(distance, 1, 5000)",
            description="",
            severity="warning",
            row_level=True,
            kwargs={},
        )
        verdict: Any = SimpleNamespace(
            check=failed,
            success=False,
            unexpected=quarantined,
            examined=rows,
            observed=None,
            examples=(),
            error="",
        )
        summary = ValidationSummary(
            pipeline=self.pipeline.pipeline,
            partition=day,
            status="warned" if quarantined else "passed",
            ingested=rows + quarantined,
            clean=rows,
            quarantined=quarantined,
            failed=(),
            reason="",
            report="",
            engine="pandas",
            seconds=0.1,
            suite="flights",
        )
        page = Page(summary, (), (verdict,) if quarantined else (), (), (), {}, {})
        self.lake.write_file(report_path(day, "json"), to_json(page))

    def plan(self, partition: str) -> dict[str, Any]:
        """What the plan task returns."""
        splits, missing = plan_splits(self.pipeline, partition, self.lake)
        versions = pin_versions(self.pipeline, self.lake)
        return {
            "partition": partition,
            "splits": splits,
            "versions": versions,
            "tune": False,
            "missing": missing,
        }

    def submit(self, model: str, plan: dict[str, Any]) -> tuple[JobRef, JobSpec]:
        """Start the training of one kind of model, as the train task does."""
        pipeline = self.pipeline.model_copy(
            update={"training": self.pipeline.training.model_copy(update={"model": model})}
        )
        every = sorted(day for days in plan["splits"].values() for day in days)
        found = manifests(pipeline, self.lake, plan["versions"], every[0], every[-1])
        document = job_document(
            pipeline,
            "train",
            plan["partition"],
            days_by_split=plan["splits"],
            found=found,
            hyperparameters=HYPERPARAMETERS[model],
        )
        spec = JobSpec(
            kind="train",
            job=document,
            inputs=table_inputs(self.lake, found),
            code_sha256=code_sha256(self.settings.jobs_dir),
            candidates=(Machine(cpus=1),),
            tags={"run": "the first one"},
        )
        return self.platform.submit(spec, f"{self.pipeline.pipeline}-{model}".replace("_", "-")), spec

    def trained(self, ref: JobRef, spec: JobSpec) -> dict[str, Any]:
        """Wait for it; what the train task returns."""
        while not (status := self.platform.status(ref)) or not status.state.is_terminal:
            time.sleep(0.1)
        error = error_of(ref, status)
        assert error is None, (error, self.platform.last_lines(ref, 30))
        result = self.platform.result(ref)
        return {
            "job": ref.name,
            "fingerprint": spec.fingerprint,
            "output_uri": result.output_uri,
            "seconds": result.seconds,
            "billable_seconds": result.billable_seconds,
            "cost_usd": result.cost_usd,
        }

    def register(
        self, plan: dict[str, Any], trained: dict[str, Any], *, tuned: Any = None, compared: str = ""
    ) -> dict[str, Any]:
        """The register task itself; environment variables must be those of this deployment."""
        output = output_of(trained)
        holdout = json.loads((output / "metrics.json").read_text())
        metrics = {name: holdout[f"holdout_{name}"] for name in ("average_precision", "roc_auc")}
        evaluated = output.parent / "evaluated"
        evaluated.mkdir(exist_ok=True)
        models = {"challenger": {"metrics": metrics}}
        (evaluated / "evaluation.json").write_text(json.dumps({"models": models}))
        operator = RegisterOperator(
            task_id="register",
            pipeline=self.pipeline,
            plan=plan,
            tuned=tuned,
            trained=trained,
            evaluated={
                **trained,
                "job": "evaluate-1",
                "output_uri": evaluated.as_uri(),
                "models": models,
                "champion_version": compared,
            },
        )
        context: Any = {"ti": SimpleNamespace(dag_id=DAG_RUN["dag"], run_id=DAG_RUN["run"])}
        return operator.execute(context)


def output_of(trained: dict[str, Any]) -> Path:
    """The folder that a job left."""
    return Path(unquote(urlsplit(trained["output_uri"]).path))


def version_of(found: dict[str, Any]) -> ModelVersion:
    """What the register task returned, as a model version."""
    from nightshift.registry.models import ModelVersion

    return ModelVersion(**{key: value for key, value in found.items() if key != "uri"})
