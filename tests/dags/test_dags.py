"""The DAGs as Airflow reads them: complete, documented, light, and safe from one another's mistakes."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.config.settings import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = (
    "great_expectations", "torch", "mlflow", "sklearn", "pandas", "polars", "duckdb", "ibis", "optuna",
    "deltalake", "pyarrow", "matplotlib", "boto3", "azure", "openlineage",
)  # fmt: skip

PROGRAM = """
import json, sys, time
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ImportError(f"{name} is heavy and not for DAG files")
HEAVY = set(json.loads(sys.argv[2]))
from airflow.dag_processing.dagbag import DagBag
sys.meta_path.insert(0, Blocked())
began = time.monotonic()
bag = DagBag(dag_folder=sys.argv[1])
seconds = time.monotonic() - began
def task(t):
    return {"owner": t.owner, "retries": t.retries, "policy": t.retry_policy is not None, "pool": t.pool,
            "priority": t.priority_weight,
            "alerts": len(t.on_failure_callback or []), "downstream": sorted(t.downstream_task_ids),
            "outlets": [a.name for a in t.outlets]}
dags = {d.dag_id: {"tags": sorted(d.tags), "doc": d.doc_md or "", "params": sorted(d.params),
                   "described": all(p.description for p in d.params.values() if p is not None) or
                                all(d.params.get_param(k).description or
                                    d.params.get_param(k).schema.get("description_md") for k in d.params),
                   "catchup": d.catchup, "schedule": type(d.timetable).__name__,
                   "tasks": {t.task_id: task(t) for t in d.tasks}} for d in bag.dags.values()}
errors = {k: str(v) for k, v in bag.import_errors.items()}
print("RESULT" + json.dumps({"dags": dags, "errors": errors, "seconds": seconds}))
"""


def parse(dags: Path, home: Path, pipelines: Path | None = None) -> dict[str, Any]:
    """What Airflow makes of a folder of DAG files, in a process where heavy libraries cannot be imported."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "PYTHONPATH": str(PROJECT / "plugins"),
    }
    if pipelines is not None:
        environment["AIRFLOW__NIGHTSHIFT__PIPELINES_DIR"] = str(pipelines)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(dags), json.dumps(HEAVY)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return found


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return parse(PROJECT / "dags", tmp_path_factory.mktemp("airflow"))


@pytest.fixture(scope="module")
def dags(parsed: dict[str, Any]) -> dict[str, Any]:
    return parsed["dags"]


def test_every_file_is_read_without_a_heavy_library(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}


NIGHTLY = ("ingest", "retrain", "score")
MANUAL = ("backfill", "replay", "rollback")
OTHERS = {"reap_orphans"}


def test_every_pipeline_has_its_dags(dags: dict[str, Any]) -> None:
    names = [path.stem for path in (PROJECT / "include" / "pipelines").glob("*.yaml")]
    assert set(dags) == {f"{name}_{verb}" for name in names for verb in (*NIGHTLY, *MANUAL)} | OTHERS


def test_every_dag_says_what_it_is_for_and_has_a_documented_form(dags: dict[str, Any]) -> None:
    for dag_id, dag in dags.items():
        assert len(dag["doc"]) > 200, dag_id
        assert dag_id.rpartition("_")[2] in dag["tags"], dag_id
        if dag_id.endswith(NIGHTLY):
            assert "partition" in dag["params"], dag_id
        assert dag["described"], dag_id
        assert dag["catchup"] is False, dag_id


def test_every_task_has_an_owner_and_retries_only_what_a_retry_can_cure(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        for task_id, task in dag["tasks"].items():
            assert task["owner"] == "nightshift", task_id
            assert task["retries"] > 0, task_id
            assert task["policy"], task_id


def test_every_task_that_can_fail_by_its_data_tells_somebody(dags: dict[str, Any]) -> None:
    silent = {
        f"{dag_id.removeprefix('flight_delays_')}.{name}"
        for dag_id, dag in dags.items()
        for name, task in dag["tasks"].items()
        if not task["alerts"]
    }
    of_backfill = {name for name in silent if name.startswith("backfill.")}
    assert silent - of_backfill == {"ingest.announce", "replay.announce", "reap_orphans.reap"}
    assert "backfill.report" not in of_backfill  # it tells once what became of all of them


def test_a_backfill_waits_for_the_nights_and_tells_at_its_end(dags: dict[str, Any]) -> None:
    dag = dags["flight_delays_backfill"]
    tasks = dag["tasks"]
    assert {(task["pool"], task["priority"]) for task in tasks.values()} == {("nightshift_backfill", 1)}
    form = ["from", "to", "steps", "reprocess", "chunk_size", "model_version", "dry_run", "announce"]
    assert dag["params"] == sorted(form)
    assert "validate.days" in tasks["ingest.days"]["downstream"]
    work = [name for name in tasks if name.endswith(".days")]
    assert all("announce" in tasks[name]["downstream"] for name in work)
    assert tasks["announce"]["downstream"] == ["report"]
    assert tasks["report"]["downstream"] == []
    assert [name for name, task in tasks.items() if task["outlets"]] == ["announce"]


def test_a_replay_is_started_by_hand_and_starts_something_only_when_asked(dags: dict[str, Any]) -> None:
    dag = dags["flight_delays_replay"]
    assert dag["schedule"] == "NullTimetable"
    assert dag["params"] == sorted(["from", "to", "ingest_again", "dry_run", "announce"])
    assert {name: task["downstream"] for name, task in dag["tasks"].items()} == {
        "replay": ["announce"],
        "announce": [],
    }
    assert [name for name, task in dag["tasks"].items() if task["outlets"]] == ["announce"]
    assert {(task["pool"], task["priority"]) for task in dag["tasks"].values()} == {
        ("nightshift_backfill", 1)
    }


def test_a_rollback_is_one_task_that_a_person_starts(dags: dict[str, Any]) -> None:
    dag = dags["flight_delays_rollback"]
    assert dag["schedule"] == "NullTimetable"
    assert dag["params"] == ["anyway", "reason", "version"]
    assert list(dag["tasks"]) == ["rollback"]
    assert dag["tasks"]["rollback"]["priority"] == 100


def test_jobs_are_counted_by_their_platforms_pool_and_nights_go_first(dags: dict[str, Any]) -> None:
    tasks = {t: task for d in dags.values() for t, task in d["tasks"].items()}
    jobs = ("learn.tune", "learn.train", "learn.evaluate", "score")
    assert {tasks[name]["pool"] for name in jobs} == {"nightshift_local"}
    assert {task["priority"] for d in NIGHTLY for task in dags[f"flight_delays_{d}"]["tasks"].values()} == {
        100
    }


def test_the_chain_of_a_night_is_closed_by_assets(dags: dict[str, Any]) -> None:
    outlets = {
        dag_id: [name for task in dag["tasks"].values() for name in task["outlets"]]
        for dag_id, dag in dags.items()
    }
    assert outlets["flight_delays_ingest"] == ["flight_delays_clean"]
    assert outlets["flight_delays_retrain"] == ["flight_delays_model"]
    assert outlets["flight_delays_score"] == ["flight_delays_predictions"]


def test_the_steps_of_a_retrain_follow_one_another(dags: dict[str, Any]) -> None:
    tasks = dags["flight_delays_retrain"]["tasks"]
    order = ["plan", "learn.tune", "learn.train", "learn.evaluate", "decide.register", "decide.promote"]
    assert set(tasks) == set(order)
    for before, after in itertools.pairwise(order):
        assert after in tasks[before]["downstream"]


def test_a_broken_pipeline_file_is_an_import_error_and_harms_no_other(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    shutil.copytree(PROJECT / "include" / "pipelines", pipelines)
    (pipelines / "broken.yaml").write_text("pipeline: broken\nplatfrom: local\n")
    found = parse(PROJECT / "dags", tmp_path / "airflow", pipelines)
    assert "flight_delays_ingest" in found["dags"]
    (file,) = found["errors"]
    assert file.endswith("pipeline_errors.py")
    assert "broken.yaml: platfrom: no such field; did you mean 'platform'?" in found["errors"][file]


def test_a_pipeline_with_an_endpoint_has_a_dag_that_deploys_it(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    shutil.copytree(PROJECT / "include" / "pipelines", pipelines)
    file = pipelines / "flight_delays.yaml"
    file.write_text(file.read_text().replace("platform: local", "platform: sagemaker") + "\nendpoint: {}\n")
    found = parse(PROJECT / "dags", tmp_path / "airflow", pipelines)
    assert found["errors"] == {}
    dag = found["dags"]["flight_delays_deploy"]
    assert (dag["schedule"], dag["catchup"], dag["described"]) == ("PartitionedAssetTimetable", False, True)
    assert dag["params"] == ["force_new", "rollback", "version", "weight"]
    downstream = {name: sorted(task["downstream"]) for name, task in dag["tasks"].items()}
    assert downstream == {
        "plan": ["deploy", "probe", "rollback"],
        "probe": ["deploy"],
        "deploy": [],
        "rollback": [],
    }
    assert all(task["alerts"] and task["policy"] for task in dag["tasks"].values())
    assert dag["tasks"]["probe"]["pool"] == "nightshift_sagemaker"
    assert found["dags"]["flight_delays_rollback"]["tasks"]["rollback"]["outlets"] == [
        "flight_delays_champion"
    ]


def test_endpoints_are_looked_after_where_the_section_was_taken_out_too(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    shutil.copytree(PROJECT / "include" / "pipelines", pipelines)
    file = pipelines / "flight_delays.yaml"
    file.write_text(file.read_text().replace("platform: local", "platform: sagemaker"))
    found = parse(PROJECT / "dags", tmp_path / "airflow", pipelines)
    assert set(found["dags"]["reap_orphans"]["tasks"]) == {"reap", "endpoints"}


def test_on_a_platform_without_endpoints_the_section_counts_for_nothing(tmp_path: Path) -> None:
    pipelines = tmp_path / "pipelines"
    shutil.copytree(PROJECT / "include" / "pipelines", pipelines)
    with (pipelines / "flight_delays.yaml").open("a") as file:
        file.write("\nendpoint: {}\n")
    found = parse(PROJECT / "dags", tmp_path / "airflow", pipelines)
    assert "flight_delays_deploy" not in found["dags"]
    assert found["dags"]["flight_delays_rollback"]["tasks"]["rollback"]["outlets"] == []
