"""Jobs from their submission to their end, on a SageMaker that does nothing by itself."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.errors import CapacityUnavailable, ConfigError, JobFailed, PlatformUnavailable, QuotaExceeded
from nightshift.platforms.base import Failure, JobInput, JobRef, JobSpec, JobState, Machine, error_of
from nightshift.platforms.sagemaker.calls import TRAINING, TRANSFORM, TUNING
from tests.fakes.fake_sagemaker import FakeSageMaker, platform_with, refusal
from tests.fakes.toy_jobs import make_toy_jobs

if TYPE_CHECKING:
    from pathlib import Path

    from nightshift.platforms.sagemaker.platform import SageMakerPlatform

DAY = "2013-01-05"


@pytest.fixture
def sagemaker() -> FakeSageMaker:
    return FakeSageMaker()


@pytest.fixture
def platform(sagemaker: FakeSageMaker, tmp_path: Path) -> SageMakerPlatform:
    return platform_with(sagemaker, tmp_path / "site", make_toy_jobs(tmp_path / "toy"))


@pytest.fixture
def score(tmp_path: Path) -> JobSpec:
    (tmp_path / "champion").mkdir()
    (tmp_path / "champion" / "MLmodel").write_text("flavors:")
    champion = JobInput("models/champion", (tmp_path / "champion").as_uri(), "toy@1")
    return JobSpec("score", {}, (champion,), code_sha256="0")


TRAIN = JobSpec("train", {}, (), code_sha256="0")
SEARCH = {"search_space": {"rate": {"type": "float", "low": 0.1, "high": 0.2}}, "trials": 2}
TUNE = JobSpec("tune", {"tuning": SEARCH}, (), code_sha256="0")


def features_are_there(sagemaker: FakeSageMaker, platform: SageMakerPlatform, name: str) -> None:
    sagemaker.put(TRAINING, f"{name}-f", "Completed")
    counts = {"partitions": {DAY: {"rows_in": 1}}, "failed": {}}
    platform.site.store.write_json(f"{name}-f/output/model/counts.json", counts)


def answered(sagemaker: FakeSageMaker, platform: SageMakerPlatform, name: str, *rows: float) -> None:
    sagemaker.put(TRANSFORM, name, "Completed")
    lines = [json.dumps({"row_id": number, "prediction": row}) for number, row in enumerate(rows)]
    platform.site.store.write(f"{name}/transform/{DAY}.part-00000.jsonl.out", "\n".join(lines))


# -- stops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["train", "score"])
def test_a_stop_while_the_job_is_being_submitted_holds(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker, score: JobSpec, kind: str
) -> None:
    ref = JobRef("sagemaker", "toy")
    sagemaker.before["create_training_job"] = lambda: platform.stop(ref, "its task was ended")
    platform.submit(score if kind == "score" else TRAIN, "toy")
    status = platform.status(ref)
    assert status is not None
    assert (status.state, "its task was ended" in status.reason) == (JobState.STOPPED, True)


def test_a_job_that_was_to_be_stopped_before_it_was_there_never_is(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker
) -> None:
    sagemaker.refused["create_training_job"] = refusal("ThrottlingException", "Rate exceeded")
    with pytest.raises(PlatformUnavailable):
        platform.submit(TRAIN, "toy")
    ref = JobRef("sagemaker", "toy")
    assert platform.status(ref) is None
    platform.stop(ref, "its task was ended")
    del sagemaker.refused["create_training_job"]
    assert platform.submit(TRAIN, "toy") == ref
    status = platform.status(ref)
    assert status is not None
    assert (status.state, status.reason) == (JobState.STOPPED, "its task was ended")
    assert sagemaker.times("create_training_job") == 1
    assert platform.result(ref).cost_usd == 0.0


@pytest.mark.parametrize("spec", [TRAIN, TUNE], ids=["train", "tune"])
def test_a_stop_is_asked_for_until_it_is_taken(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker, spec: JobSpec
) -> None:
    kind = TUNING if spec.kind == "tune" else TRAINING
    ref = platform.submit(spec, "toy")
    sagemaker.refused[f"stop_{kind.method}"] = refusal("ValidationException", "Try again in a minute.")
    with pytest.raises(ConfigError, match="Try again"):
        platform.stop(ref, "the reaper")
    sagemaker.refused.clear()
    platform.status(ref)
    status = platform.status(ref)
    assert status is not None
    assert (status.state, status.reason) == (JobState.STOPPED, "the reaper")


def test_a_transform_that_goes_on_is_stopped_again(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker, score: JobSpec
) -> None:
    ref = platform.submit(replace(score, max_runtime_s=10**9), "toy")
    features_are_there(sagemaker, platform, "toy")
    platform.site.ask_to_stop("toy", "the reaper")
    sagemaker.put(TRANSFORM, "toy", "InProgress")
    platform.status(ref)
    status = platform.status(ref)
    assert status is not None
    assert (status.state, status.reason) == (JobState.STOPPED, "the reaper")


# -- the second stage -----------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["create_model", "create_transform_job"])
@pytest.mark.parametrize(
    ("code", "failure", "error"),
    [
        ("ResourceLimitExceeded", Failure.QUOTA, QuotaExceeded),
        ("CapacityError", Failure.CAPACITY, CapacityUnavailable),
        ("ValidationException", Failure.USER_CODE, JobFailed),
        ("AccessDeniedException", Failure.USER_CODE, JobFailed),
    ],
)
def test_a_refusal_of_the_second_stage_is_what_the_job_failed_of(
    platform: SageMakerPlatform,
    sagemaker: FakeSageMaker,
    score: JobSpec,
    operation: str,
    code: str,
    failure: Failure,
    error: type[Exception],
) -> None:
    ref = platform.submit(score, "toy")
    features_are_there(sagemaker, platform, "toy")
    sagemaker.refused[operation] = refusal(code, "the limit is 0")
    first = platform.status(ref)
    sagemaker.refused.clear()
    status = platform.status(ref)
    assert first is not None
    assert status == first
    assert (status.state, status.failure) == (JobState.FAILED, failure)
    assert "the limit is 0" in status.reason
    assert type(error_of(ref, status)) is error
    assert sagemaker.times("create_transform_job") == (operation == "create_transform_job")
    assert platform.result(ref).cost_usd > 0
    assert platform.submit(score, "toy") == ref


def test_a_second_stage_that_cannot_be_asked_for_now_is_asked_for_again(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker, score: JobSpec
) -> None:
    ref = platform.submit(score, "toy")
    features_are_there(sagemaker, platform, "toy")
    sagemaker.refused["create_transform_job"] = refusal("ThrottlingException", "Rate exceeded")
    with pytest.raises(PlatformUnavailable):
        platform.status(ref)
    sagemaker.refused.clear()
    status = platform.status(ref)
    assert status is not None
    assert status.state is JobState.RUNNING


def test_of_two_that_start_the_second_stage_the_one_that_was_refused_wins(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker, score: JobSpec
) -> None:
    ref = platform.submit(score, "toy")
    features_are_there(sagemaker, platform, "toy")
    sagemaker.refused["create_transform_job"] = refusal("ResourceLimitExceeded", "the limit is 0")
    sagemaker.before["create_transform_job"] = lambda: sagemaker.put(TRANSFORM, "toy", "InProgress")
    platform.status(ref)
    status = platform.status(ref)
    assert status is not None
    assert (status.state, status.failure) == (JobState.FAILED, Failure.QUOTA)
    assert sagemaker.jobs["transform_job", "toy"]["TransformJobStatus"] == "Stopped"


def test_reading_the_end_of_the_log_starts_nothing(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker, score: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = platform.submit(score, "toy")
    features_are_there(sagemaker, platform, "toy")
    monkeypatch.setattr(platform, "_all_lines", lambda *_: ("done",))
    assert platform.last_lines(ref, 1) == ("done",)
    assert sagemaker.times("create_transform_job") == 0


# -- what came of it ------------------------------------------------------------------------------


def test_answers_that_do_not_reconcile_are_a_failed_job(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker, score: JobSpec
) -> None:
    ref = platform.submit(score, "toy")
    features_are_there(sagemaker, platform, "toy")
    answered(sagemaker, platform, "toy", 0.5, 0.5)
    status = platform.status(ref)
    assert status is not None
    assert (status.state, status.failure) == (JobState.FAILED, Failure.USER_CODE)
    assert "1 rows, but 2 answers" in status.reason
    assert platform.status(ref) == status
    assert platform.result(ref).cost_usd > 0
    assert isinstance(error_of(ref, status), JobFailed)


def test_answers_that_reconcile_are_put_together_once_and_not_by_a_triggerer(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker, score: JobSpec
) -> None:
    ref = platform.submit(score, "toy")
    features_are_there(sagemaker, platform, "toy")
    answered(sagemaker, platform, "toy", 0.5)
    seen = asyncio.run(platform.status_async(ref))
    assert seen is not None
    assert seen.state is JobState.SUCCEEDED
    assert platform.site.store.list("toy/result") == []
    assert platform.status(ref) == seen
    assert platform.site.store.exists("toy/result/_SUCCESS")
    assert platform.result(ref).cost_usd > 0
    assert sagemaker.times("delete_model") == 1


def test_a_model_that_may_not_be_deleted_is_left(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker, score: JobSpec
) -> None:
    ref = platform.submit(score, "toy")
    features_are_there(sagemaker, platform, "toy")
    answered(sagemaker, platform, "toy", 0.5)
    sagemaker.refused["delete_model"] = refusal("AccessDeniedException", "no")
    status = platform.status(ref)
    assert status is not None
    assert status.state is JobState.SUCCEEDED


def test_a_search_of_which_nothing_can_be_put_together_has_failed(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker
) -> None:
    ref = platform.submit(TUNE, "toy")
    sagemaker.put(TUNING, "toy", "Completed")
    status = platform.status(ref)
    assert status is not None
    assert (status.state, status.failure) == (JobState.FAILED, Failure.USER_CODE)
    assert "none of 0 trials completed" in status.reason
    assert platform.status(ref) == status
    assert platform.result(ref).cost_usd == 0.0


# -- before anything is paid for ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "settings", "told"),
    [
        (Machine(instance_type="ml.t3.large"), {}, "batch transform has no ml.t3.large"),
        (Machine(), {"script_mode": True}, "sagemaker_serve_image"),
    ],
    ids=["machine", "image"],
)
def test_what_cannot_be_scored_is_not_begun(
    sagemaker: FakeSageMaker,
    score: JobSpec,
    tmp_path: Path,
    machine: Machine,
    settings: dict[str, Any],
    told: str,
) -> None:
    platform = platform_with(sagemaker, tmp_path / "site", make_toy_jobs(tmp_path / "toy"), **settings)
    with pytest.raises(ConfigError, match=told):
        platform.submit(replace(score, candidates=(machine,)), "toy")
    assert not [each for each in sagemaker.called if each[0].startswith("create")]


def test_a_search_by_hyperband_starts_from_no_other(
    platform: SageMakerPlatform, sagemaker: FakeSageMaker
) -> None:
    search = {**SEARCH, "strategy": "hyperband", "warm_start": True}
    document = {"tuning": search, "hyperparameters": {"epochs": 9}}
    platform.submit(JobSpec("tune", document, (), code_sha256="0"), "toy")
    assert sagemaker.times("list_hyper_parameter_tuning_jobs") == 0
