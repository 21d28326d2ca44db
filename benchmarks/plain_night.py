"""The night's steps called one after the other in one plain Python process: the yardstick for Airflow.

``python -m benchmarks.plain_night HOME PARTITION MLFLOW_URI`` works on the landing zone and lake below
``HOME`` and prints one JSON line with the seconds of the imports and of every step, without Airflow.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from nightshift.config.pipeline import Pipeline
    from nightshift.config.settings import Settings

__all__ = ["PlainNight", "import_everything", "main"]


def import_everything() -> float:
    """Import what the steps need, so that their times are their work; the seconds it took."""
    begun = time.monotonic()
    import mlflow.sklearn
    import sklearn.ensemble

    import nightshift.validation.run  # noqa: F401

    del mlflow, sklearn
    return time.monotonic() - begun


class PlainNight:
    """One night without Airflow, jobs called as functions of this process."""

    def __init__(self, pipeline: Pipeline, settings: Settings, partition: str, scratch: Path) -> None:
        from nightshift.hooks.storage import landing_zone, open_lake

        self.pipeline = pipeline
        self.settings = settings
        self.partition = partition
        self.scratch = scratch
        self.lake = open_lake(settings, pipeline)
        self.landing = landing_zone(settings)
        self.seconds: dict[str, float] = {}

    def run(self) -> dict[str, float]:
        """All steps; seconds of each."""
        self._timed("ingest", self._ingest)
        self._timed("validate", self._validate)
        tuned = self._timed("tune", lambda: self.job("tune", self.splits(holdout=False), {}))
        best = json.loads((tuned / "best.json").read_text())["params"]
        trained = self._timed("train", lambda: self.job("train", self.splits(), best))
        models, before = {"models/challenger": trained / "model"}, self.settings.home / "champion"
        if before.is_dir():
            models["models/champion"] = before
        evaluated = self._timed("evaluate", lambda: self.job("evaluate", self.only_holdout(), {}, models))
        version = self._timed("register", lambda: self._register(tuned, trained))
        self._timed("gate", lambda: self._gate(evaluated))
        shutil.copytree(trained / "model", before, dirs_exist_ok=True)
        champion = {"models/champion": trained / "model"}
        only = {"train": [], "validation": [], "holdout": [self.partition]}
        scored = self._timed("score", lambda: self.job("score", only, {}, champion))
        self._timed("publish", lambda: self._publish(scored, version))
        return self.seconds

    def _timed(self, name: str, step: Callable[[], Any]) -> Any:
        begun = time.monotonic()
        found = step()
        self.seconds[name] = round(time.monotonic() - begun, 3)
        return found

    def _ingest(self) -> None:
        from nightshift.lake.ingest import ingest_partition

        ingest_partition(
            self.pipeline,
            self.partition,
            landing=self.landing,
            lake=self.lake,
            staging=self.settings.staging,
        )

    def _validate(self) -> None:
        from nightshift.validation.run import validate_partition

        suite = self.settings.expectations_dir / self.pipeline.validation.suite
        validate_partition(
            self.pipeline, self.partition, lake=self.lake, suite_file=suite, staging=self.settings.staging
        )

    def splits(self, *, holdout: bool = True) -> dict[str, list[str]]:
        """The night's days of each split."""
        from nightshift.operators.night import plan_splits

        found, _ = plan_splits(self.pipeline, self.partition, self.lake)
        return found if holdout else {**found, "holdout": []}

    def only_holdout(self) -> dict[str, list[str]]:
        """The days that a model is judged on."""
        return {"train": [], "validation": [], "holdout": self.splits()["holdout"]}

    def job(
        self,
        kind: str,
        splits: dict[str, list[str]],
        best: dict[str, Any],
        models: dict[str, Path] | None = None,
    ) -> Path:
        """Run one job here; its output folder."""
        from jobs.__main__ import main as job
        from nightshift.operators.night import job_document, manifests, pin_versions, table_inputs
        from nightshift.platforms.staging import stage

        every = sorted(day for part in splits.values() for day in part)
        found = manifests(
            self.pipeline, self.lake, pin_versions(self.pipeline, self.lake), every[0], every[-1]
        )
        document = job_document(
            self.pipeline,
            kind,
            self.partition,
            days_by_split=splits,
            found=found,
            hyperparameters={**self.pipeline.training.hyperparameters, **best},
        )
        folder = self.scratch / kind
        inputs = [
            {"channel": i.channel, "uri": i.uri, "files": list(i.files)}
            for i in table_inputs(self.lake, found)
        ]
        inputs += [{"channel": c, "uri": p.as_uri(), "files": []} for c, p in (models or {}).items()]
        for name in ("input", "output", "checkpoints"):
            (folder / name).mkdir(parents=True)
        stage(inputs, folder / "input", {})
        (folder / "job.json").write_text(json.dumps(document))
        flags = ["--spec", f"{folder}/job.json", "--input", f"{folder}/input", "--output", f"{folder}/output"]
        code = job([kind, *flags, "--checkpoints", f"{folder}/checkpoints"])
        if code:
            raise RuntimeError(f"the {kind} job ended with exit code {code}")
        return folder / "output"

    def _register(self, tuned: Path, trained: Path) -> str:
        from nightshift.registry.models import Models
        from nightshift.registry.tracking import Tracking

        tracking, name = Tracking(self.settings.mlflow_tracking_uri), self.pipeline.pipeline
        label = f"plain-{time.time_ns()}"
        tracking.log_tuning(tracking.find_or_create_run(name, f"{label}-tune", "plain tune", {}), tuned)
        run = tracking.find_or_create_run(name, f"{label}-train", "plain train", {})
        tracking.log_training(run, trained, {})
        evaluation = json.loads((self.scratch / "evaluate" / "output" / "evaluation.json").read_text())
        metrics = evaluation["models"]["challenger"]["metrics"]
        models = Models(self.settings.mlflow_tracking_uri)
        version = models.register(name, run, self.partition, label, metrics)
        models.set_alias(name, "champion", version.version)
        return version.version

    def _gate(self, evaluated: Path) -> None:
        from nightshift.gate.evidence import Holdout, candidate_of, weigh
        from nightshift.gate.page import render
        from nightshift.gate.picture import draw
        from nightshift.gate.predictions import Predictions

        gate = self.pipeline.gate
        document = json.loads((evaluated / "evaluation.json").read_text())
        models = document["models"]
        evidence = weigh(
            Predictions.read(evaluated / "predictions.parquet", gate.columns),
            gate,
            candidate_of(models["challenger"], "2", self.partition),
            candidate_of(models["champion"], "1", self.partition) if "champion" in models else None,
            evaluation="0" * 64,
            holdout=Holdout(document["partitions"]),
        )
        page = render(evidence, self.pipeline.pipeline, draw(evidence))
        self.lake.write_file("gate/plain.html", page.encode())

    def _publish(self, scored: Path, version: str) -> None:
        from nightshift.lake.predictions import publish_predictions

        publish_predictions(
            self.lake,
            self.partition,
            scored / "predictions" / self.partition,
            clean_version=self.lake.table("clean").version(),
            model_name=self.pipeline.pipeline,
            model_version=version,
        )


def main(home: str, partition: str, mlflow_uri: str) -> None:
    """Run the night and print its seconds."""
    import tempfile

    from nightshift.config.loader import load_pipeline
    from nightshift.config.settings import Settings

    imports = import_everything()
    settings = Settings.from_lookup({"home": home, "mlflow_tracking_uri": mlflow_uri}.get)
    pipeline = load_pipeline(settings.pipelines_dir / "flight_delays.yaml")
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.monotonic()
        steps = PlainNight(pipeline, settings, partition, Path(scratch)).run()
        night = time.monotonic() - begun
    print("RESULT" + json.dumps({"imports": round(imports, 3), "night": round(night, 3), "steps": steps}))


if __name__ == "__main__":
    main(*sys.argv[1:])
