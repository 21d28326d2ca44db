"""The story of a version in MLflow: files with its run, descriptions, a picture."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from nightshift.errors import ModelVersionAbsent
from nightshift.lake.storage import Location
from nightshift.lake.tables import Lake
from nightshift.provenance.tell import PAGE, PICTURE, STORY, leave_story, tell_story
from nightshift.provenance.why import find_version
from nightshift.registry.artifacts import Artifacts
from nightshift.registry.ledger import Draft, Ledger
from nightshift.registry.models import Models
from nightshift.registry.tracking import Tracking
from tests.unit.provenance.deployment import output_of
from tests.unit.provenance.evidence import evidence_of
from tests.unit.registry.outputs import MANIFESTS

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.provenance.why import Story
    from nightshift.registry.models import ModelVersion
    from tests.unit.provenance.conftest import Nights

pytestmark = pytest.mark.server
MEAN = 'bad on <EWR> | "[x](javascript:1)"'


@pytest.fixture(scope="module")
def ledger(nights_made_once: Nights) -> Ledger:
    """The trees were promoted, then the network, which was rolled back."""
    nights = nights_made_once
    made, trees, network = Ledger(nights.deployment.lake), nights.trees.version, nights.network.version
    run = {"kind": "dag_run", "dag": "d", "run": "r", "url": "http://127.0.0.1:8080/dags/d/runs/r"}
    made.append(
        Draft(action="promote", version=trees, champion=trees, reasons=("every floor holds",), who=run)
    )
    weighed = evidence_of(network, trees)
    made.append(
        Draft(
            action="promote",
            version=network,
            champion=network,
            reasons=tuple(weighed["reasons"]),
            who=run,
            approved_by="ann",
            evidence=weighed,
        )
    )
    person = {"kind": "user", "name": "bob", "host": "desk"}
    made.append(Draft(action="rollback", version=trees, champion=trees, reasons=(MEAN,), who=person))
    return made


def told(nights: Nights, ledger: Ledger, version: ModelVersion) -> Story:
    settings = nights.deployment.settings
    uri = settings.mlflow_tracking_uri
    return leave_story(
        Tracking(uri),
        Models(uri),
        ledger,
        version,
        pipeline=nights.deployment.pipeline,
        jobs_dir=settings.jobs_dir,
    )


def test_the_story_is_left_with_the_run_as_json_as_a_page_and_as_a_picture(
    nights: Nights, ledger: Ledger
) -> None:
    story = told(nights, ledger, nights.network)
    artifacts = Artifacts(nights.deployment.settings.mlflow_tracking_uri)
    left = {name: artifacts.read(nights.network.run_id, name) for name in (STORY, PAGE, PICTURE)}
    assert all(left.values())
    assert json.loads(left[STORY] or b"") == json.loads(json.dumps(story.to_dict()))
    assert (left[PICTURE] or b"").startswith(b"\x89PNG")
    page = (left[PAGE] or b"").decode()
    assert "bad on &lt;EWR&gt;" in page
    assert "<EWR>" not in page
    assert "<script" not in page
    assert f"rolled back, {nights.trees.version} is champion" in page


def test_the_story_says_who_approved_what_was_decided_and_what_the_gate_saw(
    nights: Nights, ledger: Ledger
) -> None:
    story = told(nights, ledger, nights.network)
    assert story.state == "was champion"
    assert [each.effect for each in story.decisions] == ["promoted", "rolled back"]
    assert story.decisions[1].who["name"] == "bob"
    assert story.approved_by == "ann"
    assert story.primary["gain"] == 0.01
    assert story.same_code is True
    assert story.to_dict()["parents"] == [nights.trees.version]
    assert not story.not_known

    other = told(nights, ledger, nights.trees)
    assert other.state == "champion"
    assert [each.effect for each in other.decisions] == ["promoted", "replaced", "returned"]
    assert len(other.trials) == 4
    assert other.cost["cost_usd"] > 0.004


def test_the_pages_of_model_and_version_in_mlflow_tell_it_in_short(nights: Nights, ledger: Ledger) -> None:
    told(nights, ledger, nights.network)
    client, name = MlflowClient(nights.deployment.settings.mlflow_tracking_uri), nights.network.name
    version = client.get_model_version(name, nights.network.version).description
    assert (
        f"| metric on the same rows | this version | champion {nights.trees.version} | gain, above 0 is"
        in version
    )
    assert "approved by ann" in version
    assert "[why](http://127.0.0.1:" in version
    assert "/nightshift/reports/" in version
    assert "[Airflow run](http://127.0.0.1:8080/dags/flights_retrain/runs/" in version
    model = client.get_registered_model(name).description
    assert nights.deployment.pipeline.description.split(",")[0] in model
    assert f"**Champion: version {nights.trees.version}**" in model
    assert "bad on \\<EWR\\> \\|" in model
    assert "[x](" not in model


def test_a_version_of_before_the_records_says_what_is_not_known(
    nights: Nights, mlflow_server: str, tmp_path: Path
) -> None:
    name = f"old_{uuid.uuid4().hex[:8]}"
    tracking, models = Tracking(mlflow_server), Models(mlflow_server)
    run_id = tracking.find_or_create_run(name, "job", "train", {})
    tracking.log_training(run_id, output_of(nights.trained["hist_gradient_boosting"]), MANIFESTS)
    version = models.register(name, run_id, "2013-01-05", "f" * 64, {"average_precision": 0.4})
    models.set_alias(name, "champion", version.version)
    ledger = Ledger(Lake(Location((tmp_path / "lake").as_uri()), name))
    story = leave_story(
        tracking, models, ledger, version, pipeline=_pipeline(), jobs_dir=tmp_path / "no-jobs"
    )
    assert story.state == "champion"
    assert story.same_code is None
    assert len(story.not_known) == 2
    assert "before records were kept" in story.not_known[0]
    page = Artifacts(mlflow_server).read(run_id, PAGE)
    assert b"Not known" in (page or b"")

    with pytest.raises(ModelVersionAbsent, match="has no version '9'; there are 1"):
        find_version(models, name, "9")
    with pytest.raises(ModelVersionAbsent, match="it has none yet"):
        find_version(models, f"{name}_x", "1")


def test_a_story_that_cannot_be_told_fails_no_night(
    nights: Nights, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(
        "nightshift.provenance.tell._LOG.warning", lambda text, *words: warned.append(text % words)
    )
    nowhere = "http://127.0.0.1:9"
    settings = nights.deployment.settings
    tell_story(
        Tracking(nowhere),
        Models(nowhere),
        ledger,
        nights.trees,
        pipeline=_pipeline(),
        jobs_dir=settings.jobs_dir,
    )
    assert "MLflow does not answer" in warned[0]
    assert f"'nightshift why {nights.trees.name} {nights.trees.version}' does it later" in warned[0]


def _pipeline():
    from nightshift.config.loader import load_pipeline
    from nightshift.config.settings import PROJECT

    return load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
