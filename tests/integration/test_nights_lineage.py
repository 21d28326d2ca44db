"""The lineage of a night on a real Airflow, as the stack's file has it: from landed files to predictions."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.embedded.night import follow
from nightshift.registry.models import Models

if TYPE_CHECKING:
    from tests.integration.conftest import Deployment

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

NIGHT = "2013-01-13"
"""The night of test_nights, whose events are there when both run; else it is run here."""

CHAIN = (
    "ingest.ingest", "ingest.validate", "retrain.plan", "retrain.learn.train", "retrain.learn.evaluate",
    "retrain.decide.register", "retrain.decide.promote", "score.score", "score.publish",
)  # fmt: skip


def ends(deployment: Deployment) -> dict[str, Any]:
    """The event of the first end of every task of the night, by ``score.publish``."""
    file = deployment.settings.home / "lineage" / "events.jsonl"
    found: dict[str, Any] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        event = json.loads(line)
        run = event["run"]["facets"].get("airflow", {}).get("dagRun", {})
        name = event["job"]["name"].removeprefix("flight_delays_")
        if event["eventType"] == "COMPLETE" and run.get("partition_key") == NIGHT:
            found.setdefault(name, event)
    return found


@pytest.fixture(scope="module")
def events(deployment: Deployment) -> dict[str, Any]:
    """The night's events, once the last of them is written: after its task has succeeded."""
    if CHAIN[-1] not in ends(deployment):
        follow(deployment.api, deployment.pipeline.pipeline, NIGHT, print, timeout_s=400)
    deadline = time.monotonic() + 20
    while missing := set(CHAIN) - set(found := ends(deployment)):
        assert time.monotonic() < deadline, missing
        time.sleep(0.3)
    return found


def versions(event: Any, side: str) -> dict[str, str]:
    """The version of each dataset that a task read or wrote, by the last part of its name."""
    return {
        one["name"].rpartition("/")[2]: one["facets"].get("version", {}).get("datasetVersion", "")
        for one in event[side]
    }


def test_a_nights_lineage_leads_from_landed_files_to_predictions_version_by_version(
    deployment: Deployment, events: dict[str, Any]
) -> None:
    assert set(versions(events["ingest.ingest"], "inputs")) == {"flights", "weather", "planes"}
    raw = versions(events["ingest.ingest"], "outputs")["raw"]
    assert versions(events["ingest.validate"], "inputs") == {"raw": raw}
    clean = versions(events["ingest.validate"], "outputs")["clean"]
    planned = versions(events["retrain.plan"], "inputs")
    assert planned["clean"] == clean
    assert planned.items() <= versions(events["retrain.learn.train"], "inputs").items()
    job = versions(events["retrain.learn.train"], "outputs")
    for task in ("retrain.learn.evaluate", "retrain.decide.register"):
        assert job.items() <= versions(events[task], "inputs").items()
    model = versions(events["retrain.decide.register"], "outputs")
    assert versions(events["score.publish"], "inputs").items() >= {**model, "clean": clean}.items()
    (predictions,) = events["score.publish"]["outputs"]
    version = int(predictions["facets"]["version"]["datasetVersion"])
    rows = deployment.lake.table("predictions").partitions(version=version)[NIGHT].rows
    assert predictions["outputFacets"]["outputStatistics"]["rowCount"] == rows


def test_the_decisions_event_carries_the_model_and_the_training_names_its_rows(
    deployment: Deployment, events: dict[str, Any]
) -> None:
    champion = Models(deployment.settings.mlflow_tracking_uri).get(
        "flight_delays", events["retrain.decide.register"]["run"]["facets"]["nightshift_model"]["version"]
    )
    decided = events["retrain.decide.promote"]["run"]["facets"]["nightshift_model"]
    assert (decided["version"], decided["fingerprint"]) == (champion.version, champion.fingerprint)
    assert (decided["partition"], decided["verdict"]) == (NIGHT, "promote")
    trained = {one["name"].rpartition("/")[2]: one for one in events["retrain.learn.train"]["inputs"]}
    clean = trained["clean"]["facets"]["nightshift_partition"]
    manifest = deployment.lake.table("clean").manifest(
        None, version=int(trained["clean"]["facets"]["version"]["datasetVersion"])
    )
    assert clean["last"] == NIGHT
    assert 0 < clean["rows"] <= manifest.rows
    assert len(clean["manifestSha256"]) == 64
