"""A person is asked, a rollback takes effect at once, the alias follows the ledger: on a real Airflow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from nightshift.backfill.days import ingest_days
from nightshift.config.loader import load_pipeline
from nightshift.config.partitions import days
from nightshift.hooks.storage import open_lake
from nightshift.registry.champion import check
from nightshift.registry.ledger import Ledger
from nightshift.registry.models import Models
from nightshift.registry.who import user

if TYPE_CHECKING:
    from nightshift.config.pipeline import Pipeline
    from nightshift.embedded.airflow_api import Run
    from nightshift.lake.tables import Lake
    from tests.fakes.alerts import WebhookServer
    from tests.integration.conftest import Deployment

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

NAME = "asked_flights"
FIRST, SECOND = "2013-01-11", "2013-01-12"


class Asked:
    """The pipeline whose gate asks, and what it has come to."""

    def __init__(self, deployment: Deployment, pipeline: Pipeline) -> None:
        self.deployment = deployment
        self.pipeline = pipeline

    @property
    def lake(self) -> Lake:
        return open_lake(self.deployment.settings, self.pipeline)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.lake)

    @property
    def models(self) -> Models:
        return Models(self.deployment.settings.mlflow_tracking_uri)

    def begin(self, verb: str, **form: Any) -> Run:
        """Start a DAG as its form does."""
        body = {"logical_date": None, "conf": form}
        made = self.deployment.api.call("POST", f"dags/{NAME}_{verb}/dagRuns", json=body).json()
        return self.deployment.api.run(made["dag_id"], made["dag_run_id"])

    def end(self, run: Run, patience_s: float = 180.0) -> Run:
        """The run when it is over."""
        deadline = time.monotonic() + patience_s
        while not run.is_over:
            assert time.monotonic() < deadline, self.states(run)
            time.sleep(0.3)
            run = self.deployment.api.run(run.dag_id, run.run_id)
        assert run.state == "success", self.states(run)
        return run

    def states(self, run: Run) -> dict[str, str]:
        """The state of every task."""
        return {task.verb: task.state for task in self.deployment.api.tasks(run)}

    def wait_for_question(self, run: Run) -> str:
        """The path of the question that the promote task has put, once it waits for the answer."""
        deadline = time.monotonic() + 180
        while self.states(run).get("promote") != "awaiting_input":
            assert time.monotonic() < deadline, self.states(run)
            time.sleep(0.3)
        return f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/decide.promote/-1/hitlDetails"


@pytest.fixture(scope="module")
def asked(deployment: Deployment) -> Asked:
    """Twelve days in the lake of a pipeline of its own, its DAGs awake."""
    pipeline = load_pipeline(deployment.settings.pipelines_dir / f"{NAME}.yaml")
    found = ingest_days(pipeline, days("2013-01-01", SECOND), deployment.settings)
    assert all(day.is_good for day in found), found
    for verb in ("retrain", "rollback"):
        deployment.api.unpause(f"{NAME}_{verb}")
    return Asked(deployment, pipeline)


@pytest.fixture(scope="module")
def first(asked: Asked) -> Run:
    """The first model, whose promotion a person has approved."""
    run = asked.begin("retrain", partition=FIRST, tune="no")
    question = asked.wait_for_question(run)
    detail = asked.deployment.api.call("GET", question).json()
    assert detail["options"] == ["Promote it", "Keep the champion"]
    assert asked.ledger.entries() == []
    assert_the_evidence_can_be_seen(detail["body"])
    answer = {"chosen_options": ["Promote it"], "params_input": {"comment": "good enough to start"}}
    asked.deployment.api.call("PATCH", question, json=answer)
    return asked.end(run)


def assert_the_evidence_can_be_seen(body: str) -> None:
    """The picture and the page that the question links to are there."""
    links = [part.split(")")[0] for part in body.split("](")[1:]]
    (picture,) = [link for link in links if link.endswith(".png")]
    (page,) = {link for link in links if link.endswith(".html")}
    assert httpx.get(picture).content.startswith(b"\x89PNG")
    assert "average_precision" in httpx.get(page).text


def test_an_approval_in_airflow_makes_the_champion_and_names_the_approver(
    asked: Asked, first: Run, webhook_server: WebhookServer
) -> None:
    (entry,) = asked.ledger.entries()
    champion = asked.models.champion(NAME)
    assert champion is not None
    assert (entry.action, entry.champion) == ("promote", champion.version)
    assert entry.approved_by
    assert "good enough to start" in entry.reasons[-1]
    assert entry.who["run"] == first.run_id
    assert entry.manifests["clean"]["last"] == FIRST
    assert "waits for an approval" in webhook_server.wait_for(lambda text: NAME in text)


def test_the_next_model_is_compared_on_days_that_neither_saw(asked: Asked, first: Run) -> None:
    run = asked.begin("retrain", partition=SECOND, tune="no", promote="automatic")
    asked.end(run)
    last = asked.ledger.last()
    assert last is not None
    assert last.version == "2"
    assert last.evidence["holdout"]["partitions"][-1] == SECOND
    gain = next(one for one in last.evidence["metrics"] if one["metric"] == "average_precision")
    assert gain["low"] < gain["gain"] < gain["high"]
    assert {one["column"] for one in last.evidence["slices"]} == {"carrier", "origin"}


def test_a_rollback_from_the_form_is_what_the_next_scoring_uses(
    asked: Asked, first: Run, webhook_server: WebhookServer
) -> None:
    before = asked.ledger.last()
    assert before is not None
    to = "1" if before.champion == "2" else "2"
    asked.end(asked.begin("rollback", version=to, reason="the way back, tried", anyway=True))
    last = asked.ledger.last()
    assert last is not None
    assert (last.action, last.champion, last.reasons) == ("rollback", to, ("the way back, tried",))
    champion = asked.models.champion(NAME)
    assert champion is not None
    assert champion.version == to
    assert "the way back, tried" in webhook_server.wait_for(lambda text: "the way back" in text)
    asked.deployment.api.unpause(f"{NAME}_score")
    asked.end(asked.begin("score", partition=SECOND))
    predictions = asked.lake.table("predictions").read([SECOND])
    assert set(predictions["model_version"].to_pylist()) == {to}


def test_an_alias_that_somebody_moved_by_hand_does_not_score_and_is_repaired(
    asked: Asked, first: Run
) -> None:
    last = asked.ledger.last()
    assert last is not None
    other = "1" if last.champion == "2" else "2"
    asked.models.set_alias(NAME, "champion", other)
    asked.end(asked.begin("score", partition=SECOND))
    predictions = asked.lake.table("predictions").read([SECOND])
    assert set(predictions["model_version"].to_pylist()) == {last.champion}
    (finding,) = check(asked.models, asked.ledger, repair=True, who=user())
    assert finding.state == "repaired"
    champion = asked.models.champion(NAME)
    assert champion is not None
    assert champion.version == last.champion
