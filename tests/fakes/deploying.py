"""The deploy operators as a worker calls them, without Airflow's scheduler: context, registry, form."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from nightshift.config.loader import load_pipeline
from nightshift.config.pipeline import EndpointConfig
from nightshift.config.settings import PROJECT
from nightshift.operators import rollout as rollout_module
from nightshift.operators.deploy import DEPLOY, ROLL_BACK, DeployOperator, RollbackEndpointOperator
from nightshift.triggers import endpoint as trigger_module
from tests.fakes.registry import FakeModels

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from nightshift.config.pipeline import Pipeline
    from nightshift.platforms.endpoints import Endpoints
    from nightshift.registry.models import ModelVersion

__all__ = ["NAME", "Deployer", "Folders", "pipeline_with"]

NAME = "flight_delays"
_STARTED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def pipeline_with(**section: Any) -> Pipeline:
    """The shipped pipeline on SageMaker, with an endpoint."""
    found = load_pipeline(PROJECT / "include" / "pipelines" / f"{NAME}.yaml")
    return found.model_copy(update={"platform": "sagemaker", "endpoint": EndpointConfig(**section)})


class Folders(FakeModels):
    """A registry whose versions are folders of this machine."""

    def __init__(self, folders: dict[str, Path]) -> None:
        super().__init__(NAME, list(folders))
        self.folders = folders

    def download(self, version: ModelVersion, folder: Path) -> Path:
        return self.folders[version.version]


@dataclass
class Deployer:
    """Starts tasks; ``runs`` is how many DAG runs there were, each later than the one before."""

    there: Endpoints
    pipeline: Pipeline
    models: Folders
    probes: Path
    monkeypatch: pytest.MonkeyPatch
    runs: int = 0
    store: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.monkeypatch.setattr(rollout_module, "endpoints", lambda *_: self.there)
        self.monkeypatch.setattr(trigger_module, "endpoints", lambda *_: self.there)
        self.monkeypatch.setattr(rollout_module, "settling_s", lambda: 0.0)
        self.monkeypatch.setattr(rollout_module.EndpointOperator, "models", lambda _: self.models)

    @property
    def name(self) -> str:
        operator = DeployOperator(task_id="deploy", pipeline=self.pipeline)
        return operator.spec.name

    def context(self, run: int | None = None) -> Any:
        """Of a new run, or of one that was there."""
        if run is None:
            self.runs += 1
            run, self.store = self.runs, {}
        ti = SimpleNamespace(dag_id=f"{NAME}_deploy", run_id=f"run-{run}", task_id="deploy", map_index=-1)
        dag_run = SimpleNamespace(start_date=_STARTED + dt.timedelta(minutes=run))
        return {"ti": ti, "dag_run": dag_run, "params": {}, "task_state_store": _Store(self.store)}

    def operator(self, version: str, *, weight: float = 1.0, deferrable: bool = False) -> DeployOperator:
        plan = {"action": DEPLOY, "version": version, "partition": "2013-01-20", "weight": weight}
        probed = {"output_uri": (self.probes / version).as_uri()}
        return DeployOperator(
            task_id="deploy",
            pipeline=self.pipeline,
            plan=plan,
            probed=probed,
            deferrable=deferrable,
            defer_after_s=0.0,
        )

    def deploy(self, version: str, *, weight: float = 1.0, run: int | None = None) -> dict[str, Any]:
        """The task, to its end."""
        return self.operator(version, weight=weight).execute(self.context(run))

    def roll_back(self, run: int | None = None) -> dict[str, Any]:
        """The form's *roll back*."""
        operator = RollbackEndpointOperator(
            task_id="rollback", pipeline=self.pipeline, plan={"action": ROLL_BACK}, deferrable=False
        )
        return operator.execute(self.context(run))


class _Store:
    """What Airflow keeps for a task over its tries."""

    def __init__(self, kept: dict[str, Any]) -> None:
        self._kept = kept

    def get(self, key: str) -> Any:
        return self._kept.get(key)

    def set(self, key: str, value: Any) -> None:
        self._kept[key] = value
