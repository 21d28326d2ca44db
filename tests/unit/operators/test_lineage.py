"""What OpenLineage is told of each task: its datasets with their versions, its model, and no secret."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.providers.openlineage.plugins.adapter import OpenLineageAdapter
from airflow.sdk import Asset
from airflow.utils.state import TaskInstanceState
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import DatasetFacet, InputDatasetFacet, OutputDatasetFacet, RunFacet

from nightshift.config.loader import load_pipeline
from nightshift.config.settings import PROJECT, Settings
from nightshift.operators import base
from nightshift.operators.backfill import BackfillPlanOperator, ChunkOperator
from nightshift.operators.backfill_jobs import RegisterPastOperator, ScoreChunkOperator
from nightshift.operators.ingest import AnnounceOperator, IngestOperator, WaitForLandingOperator
from nightshift.operators.learn import EvaluateOperator, TrainOperator, TuneOperator
from nightshift.operators.lineage.data import place
from nightshift.operators.plan import PlanOperator
from nightshift.operators.promote import PromoteOperator
from nightshift.operators.register import RegisterOperator
from nightshift.operators.replay import ReplayOperator
from nightshift.operators.rollback import RollbackOperator
from nightshift.operators.score import BatchScoreOperator, PublishOperator
from nightshift.operators.validate import ValidateOperator

if TYPE_CHECKING:
    from collections.abc import Mapping

PIPELINE = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
DAY = "2013-01-29"
HOLDOUT = ["2013-01-28", DAY]
SHA, FINGERPRINT = "5" * 64, "f" * 64
MLFLOW = "https://mlflow.example.org/tracking"
LAKE = ("s3://lake", "flights/flight_delays")
JOBS = "x-nightshift://tonight"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment in a cloud, whose addresses carry what no event may show."""
    options = {
        "lake_uri": "s3://lake/flights/",
        "landing_uri": "abfs://landing@store.dfs.core.windows.net/in",
        "mlflow_tracking_uri": "https://mlflow.example.org/tracking?token=hunter2",
        "deployment": "tonight",
    }
    found = Settings.from_lookup(options.get)
    monkeypatch.setattr(base, "current_settings", lambda: found)
    return found


class Transport:
    """Takes the events that the provider would send."""

    kind = "file"

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.transport = self

    def emit(self, event: Any) -> None:
        self.sent.append(event)


@dataclass
class Ti:
    """A task instance that has ended."""

    returned: Any
    params: Mapping[str, Any] = field(default_factory=dict)
    state: str = "success"
    task_id: str = "toy"
    map_index: int = -1
    pulled: int = 0

    def get_template_context(self) -> dict[str, Any]:
        return {"dag_run": SimpleNamespace(partition_key=DAY), "params": dict(self.params), "ti": self}

    def xcom_pull(self, *, task_ids: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == ("toy", self.map_index)
        self.pulled += 1
        return self.returned


def made(kind: Any, **arguments: Any) -> Any:
    """An operator of that class."""
    return kind(task_id="toy", pipeline=PIPELINE, **arguments)


def event_of(operator: Any, ti: Ti) -> dict[str, Any]:
    """The event of a task's end, by the provider's own code, as it is sent."""
    run = SimpleNamespace(run_id="r")
    state = {"failed": TaskInstanceState.FAILED}.get(ti.state, TaskInstanceState.SUCCESS)
    found = ExtractorManager().extract_metadata(run, operator, state, ti)
    transport: Any = Transport()
    OpenLineageAdapter(client=transport).complete_task(
        run_id="01a2035f-ea48-7e0d-bd46-0cb8a3c18a0c",
        job_name="flight_delays_x.toy",
        end_time="2026-11-22T02:00:00+00:00",
        task=found,
        nominal_start_time=None,
        nominal_end_time=None,
        owners=[],
        tags=[],
        job_description=None,
    )
    (event,) = transport.sent
    check_classes(event)
    from openlineage.client.serde import Serde

    sent: dict[str, Any] = json.loads(Serde.to_json(event))
    check_schemas(sent)
    return sent


def check_classes(event: Any) -> None:
    """Every dataset and facet is one of OpenLineage's own classes, in the place that it is for."""
    for datasets, kind, own, sort in (
        (event.inputs, InputDataset, "inputFacets", InputDatasetFacet),
        (event.outputs, OutputDataset, "outputFacets", OutputDatasetFacet),
    ):
        for dataset in datasets:
            assert isinstance(dataset, kind)
            assert all(isinstance(facet, DatasetFacet) for facet in dataset.facets.values())
            assert all(isinstance(facet, sort) for facet in getattr(dataset, own).values())
    assert isinstance(event.run.facets.get("nightshift_model", RunFacet()), RunFacet)


def check_schemas(sent: Mapping[str, Any]) -> None:
    """Our own facets are as they are documented; nothing of a sign-in is in the event."""
    assert "hunter2" not in json.dumps(sent)
    every = [*sent["inputs"], *sent["outputs"]]
    of_datasets = [one["facets"]["nightshift_partition"] for one in every if is_table(one)]
    for facet in of_datasets:
        jsonschema.validate(facet, schema("NightshiftPartitionDatasetFacet"))
    if about := sent["run"]["facets"].get("nightshift_model"):
        jsonschema.validate(about, schema("NightshiftModelRunFacet"))


def is_table(dataset: Mapping[str, Any]) -> bool:
    return dataset["facets"]["datasetType"]["datasetType"] in ("TABLE", "FILE")


def schema(name: str) -> Any:
    return json.loads((PROJECT / "docs" / "lineage" / f"{name}.json").read_text())


def named(datasets: list[Any]) -> dict[tuple[str, str], str]:
    """Namespace and last part of the name of each dataset, and its version; '' for none."""
    return {
        (one["namespace"], one["name"].removeprefix(f"{LAKE[1]}/").removeprefix("flight_delays/")): one[
            "facets"
        ]
        .get("version", {})
        .get("datasetVersion", "")
        for one in datasets
    }


def tables(**versions: str) -> dict[tuple[str, str], str]:
    return {(LAKE[0], name): version for name, version in versions.items()}


def model(version: str) -> dict[tuple[str, str], str]:
    return {(MLFLOW, "flight_delays"): version}


def only(facet: Mapping[str, Any]) -> dict[str, Any]:
    """A facet without what all have."""
    return {name: value for name, value in facet.items() if not name.startswith("_")}


def about(event: Mapping[str, Any]) -> dict[str, Any]:
    return only(event["run"]["facets"]["nightshift_model"])


PLAN = {
    "partition": DAY,
    "splits": {"train": ["2013-01-25", "2013-01-26"], "validation": ["2013-01-27"], "holdout": HOLDOUT},
    "versions": {"clean": 9, "weather": 8, "planes": 1},
    "tune": True,
    "missing": [],
}
INPUTS = {name: {"version": v, "rows": 100 + v, "sha256": SHA} for name, v in PLAN["versions"].items()}  # type: ignore[attr-defined]
LEFT = {"output_uri": "file:///var/jobs/j/output", "fingerprint": FINGERPRINT, "inputs": INPUTS}
TUNED = {**LEFT, "job": "flight_delays-tune-1", "trials": 4, "best": {"params": {}}}
TRAINED = {
    **LEFT,
    "job": "flight_delays-train-1",
    "metrics": {"roc_auc": 0.7, "brier": None, "log_loss": math.nan},
}
EVALUATED = {
    **LEFT,
    "job": "flight_delays-evaluate-1",
    "fingerprint": "e" * 64,
    "champion_version": "12",
    "left_out": HOLDOUT[0],
    "models": {"challenger": {"metrics": {"roc_auc": 0.71}}, "champion": {"metrics": {"roc_auc": 0.7}}},
}
VERSION = {
    "name": "flight_delays",
    "version": "13",
    "partition": DAY,
    "fingerprint": FINGERPRINT,
    "metrics": {"roc_auc": 0.71},
}
SCORED = {
    **LEFT,
    "job": "flight_delays-score-1",
    "model_name": "flight_delays",
    "model_version": "13",
    "clean_version": 9,
    "rows_in": 900,
    "rows_out": 900,
}
ASSET = Asset("a", uri="x-nightshift://flight_delays/a")


def test_ingestion_leads_from_the_landing_zone_to_the_tables_at_their_new_versions() -> None:
    returned = {
        "partition": DAY, "rows": 961, "files": 2, "bytes": 88_562, "version": 9, "changed": True,
        "sha256": SHA,
        "references": {
            "weather": {"rows": 69, "version": 8, "changed": True, "sha256": SHA},
            "planes": {"rows": 3322, "version": 1, "changed": False, "sha256": SHA},
        },
    }  # fmt: skip
    event = event_of(made(IngestOperator), Ti(returned))
    landing = "abfss://landing@store.dfs.core.windows.net"
    assert set(named(event["inputs"])) == {
        (landing, f"in/{name}") for name in ("flights", "weather", "planes")
    }
    assert named(event["outputs"]) == tables(raw="9", weather="8", planes="1")
    raw, _, planes = event["outputs"]
    assert raw["outputFacets"]["outputStatistics"]["rowCount"] == 961
    assert raw["outputFacets"]["subset"]["outputCondition"]["partitions"] == [
        {"dimensions": {"partition": DAY}}
    ]
    assert {"name": "arr_delay", "type": "float64"}.items() <= raw["facets"]["schema"]["fields"][8].items()
    assert raw["facets"]["storage"]["storageLayer"] == "delta"
    assert planes["outputFacets"] == {}  # nothing was written
    assert only(planes["facets"]["nightshift_partition"]) == {
        "pipeline": "flight_delays", "rows": 3322, "changed": False, "sourceSha256": SHA,
    }  # fmt: skip
    statistics = event["inputs"][0]["inputFacets"]["inputStatistics"]
    assert (statistics["fileCount"], statistics["size"]) == (2, 88_562)


def test_validation_says_which_rules_did_not_hold_and_shows_no_row() -> None:
    failed = {
        "type": "expect_column_values_to_not_be_null", "column": "arr_delay", "severity": "critical",
        "row_level": True, "unexpected": 3, "observed": "", "examples": ["row 7: arr_delay=secret"],
    }  # fmt: skip
    returned = {
        "partition": DAY, "status": "blocked", "rows": {"ingested": 961, "clean": 0, "quarantined": 961},
        "reason": "too many", "failed": [failed], "versions": {"raw": 9, "clean": 8, "quarantine": 7},
    }  # fmt: skip
    event = event_of(made(ValidateOperator), Ti(returned, state="failed"))
    assert named(event["inputs"]) == tables(raw="9")
    assert named(event["outputs"]) == tables(clean="8", quarantine="7")
    assert [one["outputFacets"]["outputStatistics"]["rowCount"] for one in event["outputs"]] == [0, 961]
    suite, rule = event["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (suite["success"], suite["actual"], suite["description"]) == (False, "blocked", "too many")
    assert (rule["assertion"], rule["column"]) == (failed["type"], "arr_delay")
    assert (rule["actual"], rule["severity"]) == ("3 rows", "error")
    assert "secret" not in json.dumps(event)


def test_a_plan_pins_the_versions_of_what_its_jobs_read() -> None:
    event = event_of(made(PlanOperator), Ti(PLAN))
    assert named(event["inputs"]) == tables(clean="9", weather="8", planes="1")
    clean, _, planes = event["inputs"]
    assert clean["facets"]["nightshift_partition"]["partitions"] == 5
    assert "subset" not in planes["inputFacets"]


def test_training_reads_tables_at_pinned_versions_and_leaves_a_model() -> None:
    event = event_of(made(TrainOperator, plan=PLAN, tuned=TUNED), Ti(TRAINED))
    read = {**tables(clean="9", weather="8", planes="1"), (JOBS, "tune"): "flight_delays-tune-1"}
    assert named(event["inputs"]) == read
    assert named(event["outputs"]) == {(JOBS, "train/model"): "flight_delays-train-1"}
    assert only(event["inputs"][0]["facets"]["nightshift_partition"]) == {
        "pipeline": "flight_delays", "first": "2013-01-25", "last": DAY, "partitions": 5, "rows": 109,
        "manifestSha256": SHA,
    }  # fmt: skip
    (link,) = event["outputs"][0]["facets"]["symlinks"]["identifiers"]
    assert (link["namespace"], link["name"]) == ("file", "/var/jobs/j/output/model")
    assert about(event) == {
        "model": "flight_delays", "partition": DAY, "fingerprint": FINGERPRINT,
        "job": "flight_delays-train-1", "metrics": {"roc_auc": 0.7},
    }  # fmt: skip


def test_a_search_reads_no_day_of_the_holdout() -> None:
    event = event_of(made(TuneOperator, plan=PLAN), Ti(TUNED))
    assert event["inputs"][0]["facets"]["nightshift_partition"]["last"] == "2013-01-27"
    assert named(event["outputs"]) == {(JOBS, "tune"): "flight_delays-tune-1"}


def test_an_evaluation_reads_both_models_and_the_days_that_neither_knows() -> None:
    event = event_of(made(EvaluateOperator, plan=PLAN, trained=TRAINED), Ti(EVALUATED))
    read = named(event["inputs"])
    assert {**model("12"), (JOBS, "train/model"): "flight_delays-train-1"}.items() <= read.items()
    clean = event["inputs"][0]["inputFacets"]["subset"]["inputCondition"]["partitions"]
    assert clean == [{"dimensions": {"partition": DAY}}]
    assert (about(event)["champion"], about(event)["fingerprint"]) == ("12", FINGERPRINT)


@pytest.mark.parametrize("past", [False, True], ids=["tonight", "of the past"])
def test_a_registered_model_comes_from_its_jobs_and_is_a_version_in_mlflow(past: bool) -> None:
    given = {"plan": PLAN, "tuned": None, "trained": TRAINED, "evaluated": EVALUATED}
    operator = made(RegisterPastOperator, backfill={}, **given) if past else made(RegisterOperator, **given)
    event = event_of(operator, Ti(VERSION))
    assert named(event["inputs"]) == {
        (JOBS, "train/model"): "flight_delays-train-1",
        (JOBS, "evaluate"): "flight_delays-evaluate-1",
    }
    assert named(event["outputs"]) == model("13")
    assert about(event)["version"] == "13"


@pytest.mark.parametrize(("verdict", "champion"), [("promote", "13"), ("hold", "12")])
def test_a_decision_says_its_verdict_and_writes_the_champion_only_when_it_changes(
    verdict: str, champion: str
) -> None:
    operator = made(PromoteOperator, registered=VERSION, evaluated=EVALUATED, asset=ASSET)
    returned = {"verdict": verdict, "reasons": ["because"], "champion": {"version": champion}}
    event = event_of(operator, Ti(returned))
    assert named(event["inputs"]) == {**model("13"), (JOBS, "evaluate"): "flight_delays-evaluate-1"}
    assert named(event["outputs"]) == (model("13") if verdict == "promote" else {})
    assert about(event) == {
        "model": "flight_delays", "version": "13", "partition": DAY, "fingerprint": FINGERPRINT,
        "champion": champion, "verdict": verdict, "reasons": ["because"],
    }  # fmt: skip


def test_a_rollback_leads_from_one_version_to_an_earlier_one() -> None:
    form = {"version": "12", "reason": "it drifts", "anyway": False}
    event = event_of(made(RollbackOperator), Ti({"champion": "12", "before": "13", "seq": 4}, form))
    assert (named(event["inputs"]), named(event["outputs"])) == (model("13"), model("12"))
    assert (about(event)["verdict"], about(event)["reasons"]) == ("rollback", ["it drifts"])


def test_scoring_reads_clean_rows_with_a_model_version_and_publishing_writes_the_predictions() -> None:
    scored = event_of(made(BatchScoreOperator), Ti(SCORED))
    assert named(scored["inputs"]) == {**tables(clean="9", weather="8", planes="1"), **model("13")}
    assert named(scored["outputs"]) == {(JOBS, "score/predictions"): "flight_delays-score-1"}
    returned = {"partition": DAY, "rows_in": 900, "rows_out": 900, "version": 3, "model_version": "13"}
    event = event_of(made(PublishOperator, scored=SCORED, asset=ASSET), Ti(returned))
    left = {(JOBS, "score/predictions"): "flight_delays-score-1"}
    assert named(event["inputs"]) == {**tables(clean="9"), **model("13"), **left}
    assert named(event["outputs"]) == tables(predictions="3")
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 900


@pytest.mark.parametrize(
    ("step", "versions", "read", "written"),
    [
        ("ingest", {"raw": 30, "weather": 30, "planes": 1}, 3, tables(raw="30", weather="30", planes="1")),
        ("validate", {"clean": 29}, 1, tables(clean="29")),
    ],
    ids=["ingest", "validate without a bad row"],
)
def test_a_chunk_of_a_backfill_says_its_range(
    step: str, versions: Mapping[str, int], read: int, written: Mapping[Any, str]
) -> None:
    operator = made(ChunkOperator, step=step, chunk="2013-01-01..2013-01-30", plan={})
    event = event_of(operator, Ti({"done": 29, "versions": versions}, map_index=4))
    assert len(event["inputs"]) == read
    assert named(event["outputs"]) == written
    found = only(event["outputs"][0]["facets"]["nightshift_partition"])
    assert (found["first"], found["last"], found["partitions"]) == ("2013-01-01", "2013-01-30", 29)


def test_a_chunk_that_is_scored_says_its_model_and_the_version_that_holds_it() -> None:
    operator = made(ScoreChunkOperator, chunk="2013-01-01..2013-01-30", backfill={})
    event = event_of(operator, Ti({**SCORED, "done": 30, "version": 31}))
    assert named(event["inputs"]) == {**tables(clean="9", weather="8", planes="1"), **model("13")}
    assert named(event["outputs"]) == tables(predictions="31")


@pytest.mark.parametrize(
    ("dry_run", "written"), [(False, tables(clean="9", quarantine="8")), (True, {})], ids=["real", "dry run"]
)
def test_a_replay_writes_what_it_changed(dry_run: bool, written: Mapping[Any, str]) -> None:
    rows = {name: {"before": 1, "after": 2} for name in ("ingested", "clean", "quarantined")}
    returned = {
        "dry_run": dry_run,
        "partitions": {"replayed": 3},
        "rows": rows,
        "versions": {"clean": 9, "quarantine": 8},
    }
    event = event_of(made(ReplayOperator), Ti(returned, {"from": "2013-01-01", "to": "2013-01-31"}))
    assert named(event["inputs"]) == tables(raw="", quarantine="")
    assert named(event["outputs"]) == written


STARTING = [
    (WaitForLandingOperator, {}, {}, 3),
    (IngestOperator, {}, {}, 3),
    (ValidateOperator, {}, {}, 1),
    (AnnounceOperator, {"asset": ASSET}, {}, 1),
    (PlanOperator, {}, {}, 1),
    (TuneOperator, {"plan": PLAN}, {}, 3),
    (TrainOperator, {"plan": PLAN}, {}, 3),
    (EvaluateOperator, {"plan": PLAN, "trained": TRAINED}, {}, 4),
    (RegisterOperator, {"plan": PLAN, "tuned": None, "trained": TRAINED, "evaluated": EVALUATED}, {}, 2),
    (PromoteOperator, {"registered": VERSION, "evaluated": EVALUATED, "asset": ASSET}, {}, 2),
    (RollbackOperator, {}, {"version": "12"}, 1),
    (BatchScoreOperator, {}, {}, 1),
    (PublishOperator, {"scored": SCORED, "asset": ASSET}, {}, 3),
    (ScoreChunkOperator, {"chunk": "2013-01-01", "backfill": {}}, {}, 1),
    (ChunkOperator, {"step": "validate", "chunk": "2013-01-01..2013-01-02", "plan": {}}, {}, 1),
    (ReplayOperator, {}, {"from": "2013-01-01", "to": "2013-01-31"}, 2),
]


@pytest.mark.parametrize(
    ("kind", "arguments", "form", "read"), STARTING, ids=[row[0].__name__ for row in STARTING]
)
def test_a_task_that_begins_or_fails_says_what_it_reads(
    kind: Any, arguments: Any, form: Any, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, ti = made(kind, **arguments), Ti(None, form, state="failed")
    failed = event_of(operator, ti)
    assert (len(failed["inputs"]), failed["outputs"]) == (read, [])
    monkeypatch.setattr("airflow.sdk.get_current_context", ti.get_template_context)
    begun = operator.get_openlineage_facets_on_start()
    assert (len(begun.inputs), begun.outputs) == (read, [])
    assert ti.pulled == 1  # once, at the end; a task that begins has returned nothing


@pytest.mark.parametrize(
    ("operator", "state"),
    [(made(BackfillPlanOperator), "success"), (made(TuneOperator, plan=PLAN), "skipped")],
    ids=["reads no data", "was skipped"],
)
def test_a_task_that_reads_nothing_says_nothing(operator: Any, state: str) -> None:
    ti = Ti({"id": "x"}, state=state)
    event = event_of(operator, ti)
    assert (event["inputs"], event["outputs"], ti.pulled) == ([], [], 0)


def test_lineage_that_cannot_be_told_is_left_out_and_harms_nothing() -> None:
    event = event_of(made(IngestOperator), Ti({"a result of": "another version"}))
    assert event["inputs"] == []


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("file:///a%20b/c/", ("file", "/a b/c")),
        ("s3://bucket/a/b", ("s3://bucket", "a/b")),
        ("s3a://key:secret@bucket/a", ("s3://bucket", "a")),
        ("abfs://c/a", ("abfss://c", "a")),
        ("abfss://c@acc.dfs.core.windows.net/a", ("abfss://c@acc.dfs.core.windows.net", "a")),
        (
            "abfs://c:secret@acc.dfs.core.windows.net/a?sig=secret",
            ("abfss://c@acc.dfs.core.windows.net", "a"),
        ),
        ("http://u:secret@host:5000/?t=secret", ("http://host:5000", "")),
    ],
    ids=["file", "s3", "s3 with a key", "abfs", "abfs with account", "abfs with a secret", "server"],
)
def test_places_are_named_as_openlineage_wants_it_and_without_a_secret(
    uri: str, found: tuple[str, str]
) -> None:
    assert place(uri) == found
