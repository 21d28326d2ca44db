"""Two models trained once for all tests: one of each kind, on the same few days."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.job_inputs import PARTITIONS
from tests.unit.provenance.deployment import Deployment, version_of
from tests.unit.registry.outputs import write_tuning

if TYPE_CHECKING:
    from nightshift.registry.models import ModelVersion

__all__ = ["Nights"]


@dataclass(frozen=True, slots=True)
class Nights:
    """What a deployment has after two nights of training. Do not write into its lake."""

    deployment: Deployment
    plan: dict[str, Any]
    trained: dict[str, dict[str, Any]]
    tuned: dict[str, Any]
    trees: ModelVersion
    network: ModelVersion


@pytest.fixture(scope="session")
def nights_made_once(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """The boosted trees, tuned, and the network, which was compared with them."""
    home = tmp_path_factory.mktemp("nights")
    made = Deployment.make(home, f"flights_{uuid.uuid4().hex[:8]}", mlflow_server)
    plan = made.plan(PARTITIONS[11])
    started = {model: made.submit(model, plan) for model in ("hist_gradient_boosting", "torch_mlp")}
    trained = {model: made.trained(*job) for model, job in started.items()}
    best = {"number": 1, "value": 0.41, "params": {"learning_rate": 0.02}, "metric": "average_precision"}
    job = {"seconds": 4.0, "billable_seconds": 4.0, "cost_usd": 0.004}
    output = write_tuning(home / "tuned").as_uri()
    tuned = {"job": "tune-1", "output_uri": output, "trials": 4, "best": best, **job}
    with pytest.MonkeyPatch.context() as patched:
        _enter(made, patched)
        trees = made.register(plan, trained["hist_gradient_boosting"], tuned=tuned)
        network = made.register(plan, trained["torch_mlp"], compared=trees["version"])
    return Nights(made, plan, trained, tuned, version_of(trees), version_of(network))


@pytest.fixture
def nights(nights_made_once: Nights, monkeypatch: pytest.MonkeyPatch) -> Nights:
    """The same, with this process in their deployment."""
    _enter(nights_made_once.deployment, monkeypatch)
    return nights_made_once


def _enter(deployment: Deployment, patched: pytest.MonkeyPatch) -> None:
    for name, value in deployment.environment.items():
        patched.setenv(name, value)
