"""A whole night with S3 and SageMaker on a loopback AWS whose jobs really run, and its model in real time."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from nightshift.backfill.days import ingest_days
from nightshift.config.loader import load_pipeline
from nightshift.config.partitions import days
from nightshift.config.settings import PROJECT, Settings
from nightshift.embedded.airflow_api import AirflowApi
from nightshift.embedded.night import Night, follow, prepare, result
from nightshift.embedded.ports import Ports, free_port
from nightshift.embedded.sample_data import seed_landing
from nightshift.embedded.stack import Stack
from nightshift.hooks.endpoints import endpoints
from nightshift.hooks.platform import connect
from nightshift.hooks.storage import landing_zone, open_lake
from nightshift.operators.rollout import endpoint_spec
from nightshift.platforms.endpoints import EndpointState
from nightshift.registry.artifacts import Artifacts
from nightshift.registry.models import Models
from tests.contract.platform_contract import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from localcloud.aws import LoopbackAws
    from nightshift.config.pipeline import Pipeline

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

NIGHT = "2013-01-13"
VERBS = ("tune", "train", "evaluate")
HISTORY = days("2013-01-01", "2013-01-12")


@dataclass(frozen=True)
class Cloud:
    """A running stack whose lake is on S3 and whose jobs run on SageMaker."""

    settings: Settings
    api: AirflowApi
    aws: LoopbackAws
    pipeline: Pipeline

    def created(self, *jobs: str) -> Counter[tuple[str, str]]:
        """How often SageMaker's Create calls were made for these jobs so far."""
        calls = [call for call in self.aws.calls() if call["operation"].startswith("Create")]
        named = [(call["operation"], _name_in(call["parameters"])) for call in calls]
        return Counter(call for call in named if call[1] in jobs)


_NAMES = ("TrainingJobName", "HyperParameterTuningJobName", "TransformJobName", "ModelName")


def _name_in(parameters: Mapping[str, Any]) -> str:
    """The name that a Create call gives."""
    return next((str(parameters[key]) for key in _NAMES if key in parameters), "")


def _small_pipeline(folder: Path) -> Path:
    """The shipped pipeline, its platform in one line; small windows and few trials."""
    folder.mkdir(parents=True)
    text = (PROJECT / "include" / "pipelines" / "flight_delays.yaml").read_text()
    document = yaml.safe_load(text.replace("platform: local", "platform: sagemaker"))
    document["training"]["window"] = {"train": 8, "validation": 2, "holdout": 3}
    document["training"]["hyperparameters"]["max_iter"] = 60
    document["features"]["lookback"] = 4
    document["tuning"] |= {"trials": 2, "every": 1}
    document["endpoint"] = {"check": {"rows": 20}}
    path = folder / "flight_delays.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, loopback_aws: LoopbackAws) -> Iterator[Cloud]:
    """Twelve days in the lake on S3, nothing trained; ended with every process it started."""
    home = tmp_path_factory.mktemp("cloud")
    pipeline = load_pipeline(_small_pipeline(home / "pipelines"))
    options = {
        **loopback_aws.options,
        "home": str(home),
        "pipelines_dir": str(home / "pipelines"),
        "sagemaker_poll_s": "0.5",
    }
    settings = Settings.from_lookup(options.get)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in loopback_aws.environment.items():
            patch.setenv(name, value)
        seed_landing(landing_zone(settings), HISTORY[0], NIGHT)
        found = ingest_days(pipeline, HISTORY, settings)
        assert all(day.is_good for day in found), found
        stack = Stack(settings, Ports(free_port(), free_port()))
        try:
            stack.start()
            api = AirflowApi(stack.airflow_url)
            prepare(api, pipeline.pipeline)
            api.unpause("flight_delays_deploy")
            live = replace(settings, mlflow_tracking_uri=stack.mlflow_url, ui_url=stack.airflow_url)
            yield Cloud(live, api, loopback_aws, pipeline)
        finally:
            stack.stop()
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def night(cloud: Cloud) -> Night:
    """The night."""
    return follow(cloud.api, cloud.pipeline.pipeline, NIGHT, print, timeout_s=600)


def test_a_night_on_sagemaker_ends_with_a_champion_and_one_prediction_for_every_row(
    cloud: Cloud, night: Night
) -> None:
    lake = open_lake(cloud.settings, cloud.pipeline)
    clean, predictions = (lake.table(name).read([NIGHT]) for name in ("clean", "predictions"))
    champion = Models(cloud.settings.mlflow_tracking_uri).champion("flight_delays")
    assert champion is not None
    assert champion.partition == NIGHT
    assert sorted(predictions["row_id"].to_pylist()) == sorted(clean["row_id"].to_pylist())
    assert set(predictions["model_version"].to_pylist()) == {champion.version}
    assert result(cloud.api, night, "tune", dag="retrain")["trials"] == 2


def test_every_job_of_the_night_was_one_of_sagemakers(cloud: Cloud, night: Night) -> None:
    tune, train, evaluate = (result(cloud.api, night, verb, dag="retrain") for verb in VERBS)
    score = result(cloud.api, night, "score", dag="score")["job"]
    assert cloud.created(tune["job"], train["job"], evaluate["job"], score, f"{score}-f") == {
        ("CreateHyperParameterTuningJob", tune["job"]): 1,
        ("CreateTrainingJob", train["job"]): 1,
        ("CreateTrainingJob", evaluate["job"]): 1,
        ("CreateTrainingJob", f"{score}-f"): 1,
        ("CreateModel", score): 1,
        ("CreateTransformJob", score): 1,
    }
    assert train["output_uri"].startswith("s3://")
    assert train["billable_seconds"] > 0
    assert train["cost_usd"] > 0


def test_mlflow_has_what_sagemaker_says_of_the_training(cloud: Cloud, night: Night) -> None:
    version = result(cloud.api, night, "register", dag="retrain")
    said = Artifacts(cloud.settings.mlflow_tracking_uri).read_json(version["run_id"], "platform.json")
    assert said is not None
    assert said["job"] == result(cloud.api, night, "train", dag="retrain")["job"]
    assert said["metrics"]


def test_the_log_of_a_deferred_task_has_the_lines_of_cloudwatch(cloud: Cloud, night: Night) -> None:
    task = night.task("train", dag="retrain")
    assert task is not None
    assert any("[job] [metric]" in line for line in cloud.api.log(task, 400))


def test_a_cleared_training_adopts_its_job(cloud: Cloud, night: Night) -> None:
    train = night.task("train", dag="retrain")
    assert train is not None
    job = result(cloud.api, night, "train", dag="retrain")["job"]
    before = cloud.created(job)
    body = {"dry_run": False, "only_failed": False, "task_ids": [train.task_id], "dag_run_id": train.run_id}
    cloud.api.call("POST", f"dags/{train.dag_id}/clearTaskInstances", json=body)

    def again() -> Any:
        (found,) = [t for t in cloud.api.tasks(night.runs["retrain"]) if t.task_id == train.task_id]
        return found.try_number > train.try_number and found.state == "success" and found

    wait_for(again, 90)
    assert cloud.created(job) == before


def test_the_champion_answers_in_real_time(cloud: Cloud, night: Night) -> None:
    begun = datetime.now(UTC) - timedelta(hours=1)
    (run,) = wait_for(lambda: cloud.api.runs("flight_delays_deploy", NIGHT, begun), 120)
    wait_for(lambda: cloud.api.run(run.dag_id, run.run_id).is_over, 240)
    assert cloud.api.run(run.dag_id, run.run_id).state == "success"
    there, name = endpoints("sagemaker", cloud.settings), endpoint_spec(cloud.pipeline, cloud.settings).name
    status = there.status(name)
    assert status is not None
    assert status.state is EndpointState.SERVING
    assert [each.version for each in status.variants] == ["1"]
    there.delete(name)
    wait_for(lambda: there.status(name) is None, 60)


def test_nothing_runs_on_for_nobody(cloud: Cloud, night: Night) -> None:
    platform = connect("sagemaker", cloud.settings)
    assert platform.find({"deployment": cloud.settings.deployment}, live=True) == []
