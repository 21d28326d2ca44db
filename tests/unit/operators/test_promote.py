"""The promote task on a real MLflow server and a real ledger: what it decides, writes down and asks."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import TaskAwaitingInput

from nightshift.config.loader import load_pipeline
from nightshift.config.pipeline import GateConfig
from nightshift.config.settings import PROJECT, Settings
from nightshift.errors import LedgerConflict, RegistryError
from nightshift.hooks.storage import open_lake
from nightshift.operators import base
from nightshift.operators.promote import KEEP, PROMOTE, PromoteOperator
from nightshift.provenance import tell
from nightshift.registry.champion import roll_back
from nightshift.registry.ledger import Draft, Ledger
from nightshift.registry.models import Models
from nightshift.registry.tracking import Tracking
from tests.fakes.statsd import listening
from tests.unit.gate.worlds import holdout

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.config.pipeline import Pipeline
    from nightshift.registry.models import ModelVersion

pytestmark = pytest.mark.server

SHIPPED = load_pipeline(PROJECT / "include" / "pipelines" / "flight_delays.yaml")
DAY, NEXT = "2013-01-05", "2013-01-06"
WHO = {"kind": "user", "name": "kim", "host": "here"}


@dataclass
class Bench:
    """A pipeline of its own name, its registry, and nights that end as they are told to."""

    pipeline: Pipeline
    settings: Settings
    folder: Path
    run: str

    @property
    def models(self) -> Models:
        return Models(self.settings.mlflow_tracking_uri)

    @property
    def ledger(self) -> Ledger:
        return Ledger(open_lake(self.settings, self.pipeline))

    def gate(self, **changes: Any) -> None:
        """Another gate."""
        gate = GateConfig.model_validate({"resamples": 300, **changes})
        self.pipeline = self.pipeline.model_copy(update={"gate": gate})

    def version(self, partition: str) -> ModelVersion:
        """A new version of that partition."""
        return self.models.register(self.pipeline.pipeline, self.run, partition, uuid.uuid4().hex, {})

    def evaluated(
        self, compared: str, *, better: float = 0.0, seed: int = 0, later: bool = False
    ) -> dict[str, Any]:
        """What the evaluate task returned; ``later``: on days that no other evaluation had."""
        fingerprint = uuid.uuid4().hex
        output = self.folder / fingerprint
        output.mkdir()
        rows = holdout(better=better, seed=seed)
        table = {
            "partition": rows.partition,
            "row_id": np.arange(len(rows)),
            "label": rows.labels,
            "challenger": rows.challenger,
            "champion": rows.champion if compared else pa.nulls(len(rows), pa.float64()),
            "slice_carrier": rows.slices["carrier"],
        }
        pq.write_table(pa.table(table), output / "predictions.parquet")
        side = {"metrics": {}, "latency_ms": 5.0, "size_bytes": 1000, "signature": {}}
        models = {"challenger": side, **({"champion": side} if compared else {})}
        days = [day.replace("-01-", "-02-") if later else str(day) for day in sorted(set(rows.partition))]
        document = {"partitions": days, "rows": len(rows), "models": models}
        (output / "evaluation.json").write_text(json.dumps(document))
        return {
            "fingerprint": fingerprint,
            "champion_version": compared,
            "left_out": "",
            "output_uri": output.as_uri(),
        }

    def task(self, version: ModelVersion, evaluated: dict[str, Any]) -> PromoteOperator:
        """The task of one night."""
        return PromoteOperator(
            task_id="promote",
            pipeline=self.pipeline,
            registered=version.to_dict(),
            evaluated=evaluated,
            asset=ASSET,
        )

    def promote(self, version: ModelVersion, evaluated: dict[str, Any], **context: Any) -> dict[str, Any]:
        """Run it."""
        return self.task(version, evaluated).execute(context_of(version, **context))

    def first_champion(self) -> ModelVersion:
        """A champion of :data:`DAY`."""
        version = self.version(DAY)
        assert self.promote(version, self.evaluated(""))["verdict"] == "promote"
        return version


ASSET = Asset("model")
STORIES: list[str] = []
"""Versions whose page in MLflow was to be brought up to date; what that does is tested beside it."""


class _Event:
    def __init__(self) -> None:
        self.partitions: list[str] = []

    def add_partitions(self, partition: str) -> None:
        self.partitions.append(partition)


def context_of(version: ModelVersion, *, run: str = "run-1", clears: int = 0, **params: Any) -> Any:
    ti = SimpleNamespace(
        **{"dag_id": "d", "run_id": run, "task_id": "decide.promote", "id": uuid.uuid4(), "try_number": 1},
        max_tries=3 + clears,
    )
    dag_run = SimpleNamespace(partition_key=version.partition, triggering_user_name="ada")
    return {"params": params, "ti": ti, "dag_run": dag_run, "outlet_events": defaultdict(_Event)}


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training job's output whose model is a name only: nobody here asks it for a prediction."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "model").mkdir()
    (folder / "model" / "MLmodel").write_text("flavors: {python_function: {model_path: weights}}")
    (folder / "model" / "weights").write_bytes(b"w")
    for name in ("metrics", "params"):
        (folder / f"{name}.json").write_text("{}")
    return folder


@pytest.fixture
def bench(mlflow_server: str, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    name = f"flights_{uuid.uuid4().hex[:10]}"
    options = {"home": str(tmp_path / "home"), "mlflow_tracking_uri": mlflow_server}
    settings = Settings.from_lookup(options.get)
    monkeypatch.setattr(base, "current_settings", lambda: settings)
    monkeypatch.setattr(tell, "tell_story", lambda *given, **_: STORIES.append(given[3].version))
    tracking = Tracking(mlflow_server)
    run = tracking.find_or_create_run(name, "job", "train", {})
    tracking.log_training(run, output, {})
    made = Bench(SHIPPED.model_copy(update={"pipeline": name}), settings, tmp_path, run)
    made.gate()
    return made


def test_the_first_model_becomes_champion_and_the_ledger_says_why(bench: Bench) -> None:
    version = bench.first_champion()
    (entry,) = bench.ledger.entries()
    assert bench.models.champion(bench.pipeline.pipeline) == version
    assert (entry.action, entry.version, entry.champion, entry.partition) == ("promote", "1", "1", DAY)
    assert entry.who["run"] == "run-1"
    assert entry.who["user"] == "ada"
    assert entry.fingerprint == version.fingerprint
    assert entry.evidence["metrics"][0]["challenger"] > 0.5
    assert "no champion yet" in entry.reasons[0]


def test_every_decision_is_told_as_a_metric(bench: Bench) -> None:
    with listening() as statsd:
        bench.first_champion()
        bench.promote(bench.version(NEXT), bench.evaluated("1", seed=3))
        name = f"nightshift.gate.verdict,pipeline={bench.pipeline.pipeline}"
        assert statsd.lines() == [f"{name},verdict=promote:1|c", f"{name},verdict=hold:1|c"]


def test_a_model_that_is_surely_better_takes_the_place_with_its_evidence(bench: Bench) -> None:
    bench.first_champion()
    version = bench.version(NEXT)
    found = bench.promote(version, bench.evaluated("1", better=0.4))
    assert (found["verdict"], found["champion"]["version"]) == ("promote", "2")
    last = bench.ledger.last()
    assert last is not None
    assert last.evidence["verdict"] == "promote"
    primary = next(one for one in last.evidence["metrics"] if one["metric"] == "average_precision")
    assert primary["low"] > 0


@pytest.mark.parametrize("better", [0.0, -0.3], ids=["equal", "worse"])
def test_a_model_that_is_not_surely_better_is_held_and_that_is_written_down(
    bench: Bench, better: float
) -> None:
    first = bench.first_champion()
    found = bench.promote(bench.version(NEXT), bench.evaluated("1", better=better, seed=3))
    assert (found["verdict"], found["champion"]["version"]) == ("hold", "1")
    assert [entry.action for entry in bench.ledger.entries()] == ["promote", "hold"]
    assert bench.models.champion(bench.pipeline.pipeline) == first


def test_the_evidence_lies_beside_the_tables_and_in_mlflow_as_a_page_and_a_picture(bench: Bench) -> None:
    version = bench.first_champion()
    lake = open_lake(bench.settings, bench.pipeline)
    endings = {name.rsplit(".", 1)[1]: lake.read_file(name) for name in lake.files("gate")}
    assert endings["png"].startswith(b"\x89PNG")
    assert b"no champion yet" in endings["html"]
    assert json.loads(endings["json"])["verdict"] == "promote"
    from mlflow import MlflowClient

    assert STORIES[-1] == version.version
    stored = MlflowClient(bench.settings.mlflow_tracking_uri).list_artifacts(version.run_id, "gate")
    assert {one.path for one in stored} >= {"gate/gate.html", "gate/gate.json", "gate/gate.png"}


def test_an_older_model_never_takes_the_place(bench: Bench) -> None:
    bench.first_champion()
    found = bench.promote(bench.version("2013-01-04"), bench.evaluated("1", better=0.4))
    assert found["verdict"] == "hold"
    assert "older than the champion's" in found["reasons"][0]


def test_promotion_can_be_switched_off_for_a_run(bench: Bench) -> None:
    bench.first_champion()
    version = bench.version(NEXT)
    found = bench.promote(version, bench.evaluated("1", better=0.4), promote="never")
    assert (found["verdict"], found["reasons"][-1]) == ("hold", "promotion is switched off")


def test_a_comparison_with_another_champion_does_not_count(bench: Bench) -> None:
    bench.first_champion()
    late = bench.evaluated("", better=0.4)
    found = bench.promote(bench.version(NEXT), late)
    assert found["reasons"] == [
        "the champion is 1 (entry 1: promote), compared was none: clear the task 'evaluate' of this run to "
        "compare again"
    ]


def test_a_second_try_after_a_crash_between_ledger_and_alias_finishes_what_was_decided(bench: Bench) -> None:
    bench.first_champion()
    version, evaluated = bench.version(NEXT), bench.evaluated("1", better=0.4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Models, "set_alias", _fails_for_the_champion(Models.set_alias))
        with pytest.raises(RegistryError, match="alias does not show it"):
            bench.promote(version, evaluated)
    assert bench.models.champion(bench.pipeline.pipeline).version == "1"  # type: ignore[union-attr]
    found = bench.promote(version, evaluated)
    assert (found["verdict"], found["champion"]["version"]) == ("promote", "2")
    assert bench.models.champion(bench.pipeline.pipeline).version == "2"  # type: ignore[union-attr]
    assert [entry.seq for entry in bench.ledger.entries()] == [1, 2]


def _fails_for_the_champion(real: Any) -> Any:
    def set_alias(self: Models, name: str, alias: str, version: str) -> Any:
        if alias == "champion":
            raise RegistryError("MLflow is gone")
        return real(self, name, alias, version)

    return set_alias


def test_of_two_decisions_at_once_one_is_taken_and_the_other_decides_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.first_champion()
    version, evaluated = bench.version(NEXT), bench.evaluated("1", better=0.4)
    task = bench.task(version, evaluated)
    publish = task._publish

    def meanwhile(case: Any) -> None:
        publish(case)
        bench.ledger.append(Draft(action="hold", version="1", champion="1", who=WHO))

    monkeypatch.setattr(task, "_publish", meanwhile)
    with pytest.raises(LedgerConflict):
        task.execute(context_of(version))
    assert bench.promote(version, evaluated)["verdict"] == "promote"


def test_a_version_that_was_rolled_back_does_not_return_on_what_spoke_for_it_before(bench: Bench) -> None:
    bench.first_champion()
    second, evaluated = bench.version(NEXT), bench.evaluated("1", better=0.4)
    assert bench.promote(second, evaluated)["verdict"] == "promote"
    roll_back(bench.models, bench.ledger, to="1", reason="late flights all wrong", who=WHO)
    for run in ("run-1", "run-2"):  # a clear of its own run, and another one
        found = bench.promote(second, evaluated, run=run)
        assert found["verdict"] == "hold"
        assert "was rolled back on" in found["reasons"][0]
        assert "late flights all wrong" in found["reasons"][0]
        assert found["champion"]["version"] == "1"
    again = bench.promote(second, bench.evaluated("1", better=0.4, seed=1), run="run-3")
    assert "on days after those it was judged on" in again["reasons"][0]
    assert [entry.action for entry in bench.ledger.entries()][2:] == ["rollback", "hold", "hold", "hold"]
    fresh = bench.promote(second, bench.evaluated("1", better=0.4, later=True), run="run-4")
    assert fresh["verdict"] == "promote"


def test_after_a_rollback_the_next_model_has_to_beat_the_one_returned_to(bench: Bench) -> None:
    bench.first_champion()
    bench.promote(bench.version(NEXT), bench.evaluated("1", better=0.4))
    roll_back(bench.models, bench.ledger, to="1", reason="wrong", who=WHO)
    third = bench.version("2013-01-07")
    assert bench.promote(third, bench.evaluated("1", seed=4), run="r3")["verdict"] == "hold"
    assert bench.promote(third, bench.evaluated("1", better=0.4), run="r4")["verdict"] == "promote"


@dataclass
class Asked:
    """A question as Airflow was given it."""

    detail: dict[str, Any]
    parked: TaskAwaitingInput
    task: PromoteOperator
    version: ModelVersion
    told: list[Any]


@pytest.fixture
def asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Asked:
    from airflow.sdk.execution_time import hitl

    from nightshift.operators import promote as module

    bench.first_champion()
    bench.gate(promote="ask", ask_timeout_minutes=30)
    asked: list[dict[str, Any]] = []
    told: list[Any] = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: asked.append(detail))
    monkeypatch.setattr(module, "tell", lambda pipeline, message, *, cause: told.append(message))
    version = bench.version(NEXT)
    task = bench.task(version, bench.evaluated("1", better=0.4))
    with pytest.raises(TaskAwaitingInput) as parked:
        task.execute(context_of(version))
    return Asked(asked[0], parked.value, task, version, told)


def answer(option: str, **changes: Any) -> dict[str, Any]:
    return {
        "chosen_options": [option],
        "params_input": {"comment": "looked at the slices"},
        "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "7", "name": "grace"},
        "timedout": False,
        **changes,
    }


def goes_on(asked: Asked, event: dict[str, Any]) -> dict[str, Any]:
    assert asked.parked.kwargs is not None
    return asked.task.execute_complete(context_of(asked.version), event, **asked.parked.kwargs)


def test_a_person_is_asked_with_the_evidence_and_told_where_to_answer(bench: Bench, asked: Asked) -> None:
    assert asked.detail["options"] == [PROMOTE, KEEP]
    assert asked.detail["defaults"] == [KEEP]
    assert asked.parked.timeout is not None
    assert asked.parked.timeout.total_seconds() == 1800
    assert "average\\_precision" in asked.detail["body"]
    assert f"/nightshift/gate/{bench.pipeline.pipeline}/{NEXT}-v2-" in asked.detail["body"]
    assert ".png" in asked.detail["body"]
    assert "required_actions" in asked.told[0].body
    assert [entry.action for entry in bench.ledger.entries()] == ["promote"]


def test_an_approval_promotes_and_its_giver_is_in_the_ledger(bench: Bench, asked: Asked) -> None:
    found = goes_on(asked, answer(PROMOTE))
    assert found["verdict"] == "promote"
    last = bench.ledger.last()
    assert last is not None
    assert (last.approved_by, last.champion) == ("grace", "2")
    assert last.reasons[-1] == "approved by grace: looked at the slices"


@pytest.mark.parametrize(
    ("event", "words", "by"),
    [
        (answer(KEEP), "grace keeps the champion: looked at the slices", "grace"),
        (answer(KEEP, timedout=True, responded_by_user=None), "nobody answered within 30 minutes", ""),
        ({"error": "late", "error_type": "timeout"}, "nobody answered within 30 minutes", ""),
        ({"error": "no form", "error_type": "unknown"}, "there is no answer (no form)", ""),
    ],
    ids=["no", "nobody", "too late", "an error"],
)
def test_anything_else_keeps_the_champion(
    bench: Bench, asked: Asked, event: dict[str, Any], words: str, by: str
) -> None:
    found = goes_on(asked, event)
    assert (found["verdict"], found["champion"]["version"]) == ("hold", "1")
    assert words in found["reasons"][-1]
    last = bench.ledger.last()
    assert last is not None
    assert last.approved_by == by


def test_an_approval_that_comes_after_the_champion_has_changed_does_not_count(
    bench: Bench, asked: Asked
) -> None:
    other = bench.version("2013-01-07")
    bench.ledger.append(Draft(action="promote", version=other.version, champion=other.version, who=WHO))
    found = goes_on(asked, answer(PROMOTE))
    assert (found["verdict"], found["champion"]["version"]) == ("hold", other.version)
    assert "too late: the champion is 3 (entry 2: promote), compared was 1" in found["reasons"][0]


def test_a_version_that_was_rolled_back_meanwhile_is_not_promoted_by_an_answer_that_comes_late(
    bench: Bench, asked: Asked
) -> None:
    number = asked.version.version
    bench.ledger.append(Draft(action="promote", version=number, champion=number, who=WHO, partition=NEXT))
    roll_back(bench.models, bench.ledger, to="1", reason="wrong", who=WHO)
    found = goes_on(asked, answer(PROMOTE))
    assert (found["verdict"], found["champion"]["version"]) == ("hold", "1")
    assert "too late: version 2 was rolled back on" in found["reasons"][0]


def test_an_answer_is_kept_for_the_next_try_and_a_clear_asks_again(
    bench: Bench, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Models, "get", _down)
        with pytest.raises(RegistryError, match="MLflow is gone"):
            goes_on(asked, answer(PROMOTE))
    assert [entry.action for entry in bench.ledger.entries()] == ["promote"]
    with pytest.raises(TaskAwaitingInput):
        asked.task.execute(context_of(asked.version, clears=1))
    found = asked.task.execute(context_of(asked.version))
    assert (found["verdict"], found["champion"]["version"]) == ("promote", "2")
    last = bench.ledger.last()
    assert last is not None
    assert (last.approved_by, last.reasons[-1]) == ("grace", "approved by grace: looked at the slices")


def _down(*_: Any) -> Any:
    raise RegistryError("MLflow is gone")


def test_a_gate_that_cannot_judge_keeps_the_champion_and_says_so_in_the_ledger(bench: Bench) -> None:
    bench.first_champion()
    bench.gate(resampling="clustered")
    found = bench.promote(bench.version(NEXT), bench.evaluated("1", better=0.4))
    assert found["verdict"] == "hold"
    assert "the gate cannot judge: the holdout has 5 days" in found["reasons"][0]
    last = bench.ledger.last()
    assert last is not None
    assert last.action == "hold"


def test_the_whole_night_run_again_is_no_second_promotion(bench: Bench) -> None:
    version = bench.first_champion()
    again = {**bench.evaluated(""), "champion_version": version.version, "is_champion": 1}
    found = bench.promote(version, again)
    assert found["verdict"] == "hold"
    assert "is the champion: same data, code and parameters" in found["reasons"][0]
    assert [entry.action for entry in bench.ledger.entries()] == ["promote", "hold"]


def test_with_mlflow_down_nothing_is_decided(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    version, evaluated = bench.version(DAY), bench.evaluated("")
    down = Settings.from_lookup(
        {"home": str(bench.settings.home), "mlflow_tracking_uri": "http://127.0.0.1:9"}.get
    )
    monkeypatch.setattr(base, "current_settings", lambda: down)
    with pytest.raises(RegistryError, match="MLflow does not answer"):
        bench.promote(version, evaluated)
    assert bench.ledger.entries() == []
