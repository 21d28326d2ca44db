"""A real stack for the tests of whole nights: MLflow, scheduler, dag-processor, triggerer, api-server."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import yaml

from nightshift.backfill.days import ingest_days
from nightshift.config.loader import load_pipeline
from nightshift.config.partitions import days
from nightshift.config.settings import PROJECT, Settings
from nightshift.embedded.airflow_api import AirflowApi
from nightshift.embedded.night import prepare
from nightshift.embedded.ports import Ports, free_port
from nightshift.embedded.sample_data import seed_landing
from nightshift.embedded.stack import Stack
from nightshift.hooks.storage import open_lake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nightshift.config.pipeline import Pipeline
    from nightshift.lake.tables import Lake
    from tests.fakes.alerts import WebhookServer

HISTORY = days("2013-01-01", "2013-01-12")
"""Days in the lake before the first test."""


@dataclass(frozen=True)
class Deployment:
    """A running stack and what the tests ask it with."""

    settings: Settings
    api: AirflowApi
    stack: Stack
    pipeline: Pipeline

    @property
    def lake(self) -> Lake:
        """The pipeline's lake."""
        return open_lake(self.settings, self.pipeline)

    @property
    def landing(self) -> Path:
        """The landing zone's flights."""
        return self.settings.home / "landing" / "flights"


def _small_pipeline(folder: Path) -> Pipeline:
    """The shipped pipeline with small windows, few trials and an alert; beside it a broken one."""
    folder.mkdir(parents=True)
    document = yaml.safe_load((PROJECT / "include" / "pipelines" / "flight_delays.yaml").read_text())
    document["training"]["window"] = {"train": 8, "validation": 2, "holdout": 3}
    document["training"]["hyperparameters"]["max_iter"] = 60
    document["features"]["lookback"] = 4
    document["tuning"] |= {"trials": 4, "every": 12}  # due on the 1st and the 13th
    document["alerts"]["connections"] = ["ops_webhook"]
    path = folder / "flight_delays.yaml"
    path.write_text(yaml.safe_dump(document))
    (folder / "broken.yaml").write_text("pipeline: broken\nplatfrom: local\n")
    return load_pipeline(path)


def _add_pipelines_with_deadlines(folder: Path) -> None:
    """Two that go on after the sample data end, so that their nights find nothing, and that care soon."""
    for name, minutes in (("late_flights", 0.4), ("slow_flights", 0.3)):
        document = yaml.safe_load((folder / "flight_delays.yaml").read_text())
        document["pipeline"] = name
        document["source"]["uri"] = f"{{landing}}/{name}/dt={{partition}}"
        document["references"]["weather"]["marker"] = ""
        del document["partitions"]["end"]
        document["alerts"]["partition_deadline_minutes"] = minutes
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))


def _add_a_pipeline_that_asks(folder: Path) -> None:
    """One whose gate leaves every promotion to a person."""
    document = yaml.safe_load((folder / "flight_delays.yaml").read_text())
    document["pipeline"] = "asked_flights"
    document["gate"]["promote"] = "ask"
    (folder / "asked_flights.yaml").write_text(yaml.safe_dump(document))


@pytest.fixture(scope="package")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, webhook_server: WebhookServer
) -> Iterator[Deployment]:
    """Twelve days in the lake, nothing trained; ended with every process it started."""
    home = tmp_path_factory.mktemp("stack")
    pipeline = _small_pipeline(home / "pipelines")
    _add_pipelines_with_deadlines(home / "pipelines")
    _add_a_pipeline_that_asks(home / "pipelines")
    settings = Settings.from_lookup({"home": str(home), "pipelines_dir": str(home / "pipelines")}.get)
    seed_landing(home / "landing", HISTORY[0], "2013-01-31")
    found = ingest_days(pipeline, HISTORY, settings)
    assert all(day.is_good for day in found), found
    connection = json.dumps({"conn_type": "apprise", "password": webhook_server.apprise_url})
    ports = Ports(free_port(), free_port())
    stack = Stack(settings, ports)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_OPS_WEBHOOK", connection)
        stack.start()
        try:
            api = AirflowApi(stack.airflow_url)
            prepare(api, pipeline.pipeline)
            live = replace(settings, mlflow_tracking_uri=stack.mlflow_url, ui_url=stack.airflow_url)
            yield Deployment(live, api, stack, pipeline)
        finally:
            stack.stop()
            shutil.rmtree(home, ignore_errors=True)
