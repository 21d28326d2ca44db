"""Searches and batch transforms on SageMaker, with the real jobs on real flights, end as they do here."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.__main__ import main
from nightshift.config.settings import PROJECT
from nightshift.errors import AccountingError, JobStopped
from nightshift.platforms.base import JobInput, JobRef, JobSpec, JobState, Machine, error_of
from nightshift.platforms.patience import patiently
from nightshift.platforms.sagemaker.score import Score
from tests.contract.platform_contract import wait_for
from tests.fakes.champions import link_inputs, save_champion
from tests.fakes.job_inputs import PARTITIONS, JobInputs, job_json, write_job
from tests.fakes.sagemaker import platform_on

if TYPE_CHECKING:
    from pathlib import Path

    from localcloud.aws import LoopbackAws
    from nightshift.platforms.base import JobStatus
    from nightshift.platforms.sagemaker.platform import SageMakerPlatform

pytestmark = pytest.mark.server

PATIENCE_S = 180.0
DAYS = PARTITIONS[-2:]
SPACE = {
    "learning_rate": {"type": "float", "low": 0.05, "high": 0.3, "log": True},
    "max_leaf_nodes": {"type": "int", "low": 4, "high": 16, "log": False},
    "class_weight": {"type": "categorical", "choices": ["balanced", None]},
}


@pytest.fixture
def platform(clean_loopback_aws: LoopbackAws, tmp_path: Path) -> SageMakerPlatform:
    return platform_on(clean_loopback_aws, PROJECT / "include", tmp_path / "cache")


@pytest.fixture(scope="module")
def folder(job_inputs: JobInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``input/`` with real rows and a champion, and what a score job on this machine makes of them."""
    folder = tmp_path_factory.mktemp("score")
    link_inputs(job_inputs, folder / "input")
    save_champion("hist_gradient_boosting", job_inputs, folder / "input")
    spec = write_job(folder, score_document())
    places = {
        "spec": spec,
        "input": folder / "input",
        "output": folder / "output",
        "checkpoints": folder / "c",
    }
    assert main(["score", *[word for name, at in places.items() for word in (f"--{name}", str(at))]]) == 0
    return folder


def score_document() -> dict[str, Any]:
    return job_json("score", splits={"holdout": list(DAYS)})


def tables(root: Path) -> tuple[JobInput, ...]:
    names = ("clean", "weather", "planes")
    return tuple(JobInput(name, (root / name).resolve().as_uri(), f"{name}-1") for name in names)


def score_spec(folder: Path) -> JobSpec:
    champion = JobInput("models/champion", (folder / "input" / "models" / "champion").as_uri(), "flights@1")
    inputs = (*tables(folder / "input"), champion)
    tags = {"pipeline": "flight_delays", "partition": DAYS[-1]}
    return JobSpec("score", score_document(), inputs, code_sha256="1", tags=tags)


def end(platform: SageMakerPlatform, ref: JobRef) -> JobStatus:
    def ended() -> JobStatus | None:
        status = patiently(platform.status, ref)
        return status if status and status.state.is_terminal else None

    found: JobStatus = wait_for(ended, PATIENCE_S)
    return found


def predictions(folder: Path, day: str) -> dict[int, float]:
    parts = sorted((folder / "predictions" / day).glob("part-*.parquet"))
    table = pa.concat_tables([pq.read_table(part) for part in parts])
    assert table.schema.names == ["row_id", "prediction"]
    return dict(zip(table["row_id"].to_pylist(), table["prediction"].to_pylist(), strict=True))


def asked_for_tags(aws: LoopbackAws, ref: JobRef) -> list[dict[str, Any]]:
    """The calls that asked for the tags of this job, its stages or its trials."""
    return [call for call in aws.calls("ListTags") if f"/{ref.name}" in call["parameters"]["ResourceArn"]]


def test_a_score_job_gives_the_predictions_that_it_gives_here(
    platform: SageMakerPlatform, folder: Path, clean_loopback_aws: LoopbackAws
) -> None:
    for operation in ("CreateModel", "CreateTransformJob"):  # each is there when it is asked for again
        clean_loopback_aws.fault("lost_reply", operation=operation)
    ref = platform.submit(score_spec(folder), "flights-score-both")
    status = end(platform, ref)
    sagemaker = platform.site.client("sagemaker")
    assert len(sagemaker.list_transform_jobs(NameContains=ref.name)["TransformJobSummaries"]) == 1
    assert status.state is JobState.SUCCEEDED, status.reason
    result = platform.result(ref)
    there, here = platform.fetch(result.output_uri), folder / "output"
    counts, expected = (json.loads((at / "counts.json").read_text()) for at in (there, here))
    assert {**counts, "seconds": 0} == {**expected, "seconds": 0}
    for day in DAYS:
        assert predictions(there, day) == pytest.approx(predictions(here, day), abs=1e-12)
    note = json.loads((there / "platform.json").read_text())
    assert (note["kind"], note["seconds"]) == ("score", pytest.approx(status.seconds, abs=0.1))
    assert result.cost_usd > 0
    (found,) = platform.find({"pipeline": "flight_delays"})
    assert (found.ref, found.status.state) == (ref, JobState.SUCCEEDED)

    store, result_folder = platform.site.store, "flights-score-both/result"
    before = store.list(result_folder)
    assert platform.result(ref) == result
    assert store.list(result_folder) == before

    answers = store.list("flights-score-both/transform")
    lines = (store.read(f"flights-score-both/transform/{answers[0].path}") or b"").splitlines(keepends=True)
    store.write(f"flights-score-both/transform/{answers[0].path}", b"".join(lines[:-1]))
    with pytest.raises(AccountingError, match="rows, but"):
        Score(platform.site, ref.name, score_spec(folder)).assemble(1.0)
    assert not sagemaker.list_models(NameContains=ref.name)["Models"]


def test_a_stop_between_the_two_stages_holds(
    platform: SageMakerPlatform, folder: Path, clean_loopback_aws: LoopbackAws
) -> None:
    work = Score(platform.site, "flights-score-stop", score_spec(folder))
    ref = platform.submit(work.spec, work.name)
    (live,) = platform.find({"pipeline": "flight_delays"}, live=True)
    assert live.ref == ref
    assert not asked_for_tags(clean_loopback_aws, ref)  # its name tells whose the first stage is

    def features_are_there() -> bool:
        status = work.look()  # looks only: nobody starts the second stage meanwhile
        return status is not None and status.reason == "the features are there"

    wait_for(features_are_there, PATIENCE_S)
    assert platform.find({}, live=True) == []
    platform.stop(ref, "the reaper found no task for it")
    status = platform.status(ref)
    assert status is not None
    assert isinstance(error_of(ref, status), JobStopped)
    assert "the reaper found no task for it" in status.reason
    assert not [c for c in clean_loopback_aws.calls("CreateTransformJob") if "flights-score-stop" in str(c)]


def test_a_search_leaves_what_a_search_here_leaves(
    platform: SageMakerPlatform, job_inputs: JobInputs, clean_loopback_aws: LoopbackAws
) -> None:
    tuning = {"search_space": SPACE, "metric": "roc_auc", "trials": 2, "parallelism": 2, "warm_start": True}
    document = job_json("tune", tuning=tuning, hyperparameters={"max_iter": 20})
    document["splits"] = {**document["splits"], "holdout": []}
    tags = {"pipeline": "flight_delays", "partition": "2013-01-20"}
    spec = JobSpec("tune", document, tables(job_inputs.folder), code_sha256="1", tags=tags)
    ref = platform.submit(spec, "flights-tune")
    wait_for(lambda: platform.site.calls.trials("flights-tune"))
    (live,) = platform.find({"pipeline": "flight_delays"}, live=True)
    assert live.ref == ref
    assert not asked_for_tags(clean_loopback_aws, ref)  # the names of its trials begin with its own
    status = end(platform, ref)
    assert status.state is JobState.SUCCEEDED, status.reason
    output = platform.fetch(platform.result(ref).output_uri)
    trials = json.loads((output / "trials.json").read_text())
    best = json.loads((output / "best.json").read_text())
    numbers = json.loads((output / "metrics.json").read_text())
    assert [trial["number"] for trial in trials] == [0, 1]
    assert {trial["state"] for trial in trials} == {"COMPLETE"}
    assert best["value"] == max(trial["value"] for trial in trials) == numbers["best_validation_roc_auc"]
    assert best["params"] == trials[best["number"]]["params"]
    assert {type(value) for value in best["params"].values()} <= {float, int, str, type(None)}
    assert trials[0]["intermediate"]
    assert numbers["trials_complete"] == 2

    chunk = platform.logs(ref)
    assert [line.split()[1] for line in chunk.lines] == ["1/2", "2/2"]
    assert platform.logs(ref, chunk.position).lines == ()
    (found,) = platform.find({"pipeline": "flight_delays"})
    assert found.ref == ref
    assert found.usd_per_hour == pytest.approx(2 * 0.115)

    later = replace(spec, tags={**tags, "partition": "2013-01-21"})
    platform.submit(later, "flights-tune-next")
    platform.stop(JobRef(platform.name, "flights-tune-next"), "seen enough")
    described = platform.site.client("sagemaker").describe_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="flights-tune-next"
    )
    assert described["WarmStartConfig"]["ParentHyperParameterTuningJobs"] == [
        {"HyperParameterTuningJobName": "flights-tune"}
    ]
    assert "seen enough" in end(platform, JobRef(platform.name, "flights-tune-next")).reason


def test_the_machine_of_a_stage_is_its_own(platform: SageMakerPlatform, folder: Path) -> None:
    spec = replace(score_spec(folder), candidates=(Machine(gpus=1, spot=True),))
    work = Score(platform.site, "flights-machines", spec)
    assert work._features_order("x").fleet.type.gpus == 0
    assert work._transform_order().fleet.type.gpus == 1
    assert not work._transform_order().fleet.spot
