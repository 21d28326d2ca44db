"""SageMaker keeps the contract of platforms, and survives what only a cloud can do to it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nightshift.config.settings import Settings
from nightshift.errors import (
    CapacityUnavailable,
    ConfigError,
    JobStopped,
    PlatformUnavailable,
    QuotaExceeded,
)
from nightshift.hooks.platform import connect
from nightshift.platforms.base import Failure, JobInput, JobRef, JobSpec, JobState, Machine, error_of
from nightshift.platforms.patience import patiently
from tests.contract.platform_contract import PlatformContract, wait_for
from tests.fakes.sagemaker import platform_on
from tests.fakes.toy_jobs import make_toy_jobs, starts

if TYPE_CHECKING:
    from pathlib import Path

    from localcloud.aws import LoopbackAws
    from nightshift.platforms.base import JobStatus
    from nightshift.platforms.sagemaker.platform import SageMakerPlatform

pytestmark = pytest.mark.server


class TestSageMakerPlatform(PlatformContract):
    @pytest.fixture
    def platform(self, clean_loopback_aws: LoopbackAws, tmp_path: Path) -> SageMakerPlatform:
        return platform_on(clean_loopback_aws, make_toy_jobs(tmp_path / "toy"), tmp_path / "cache")

    def test_only_the_files_of_a_manifest_are_brought(
        self, platform: SageMakerPlatform, spec: JobSpec, tmp_path: Path
    ) -> None:
        store = platform.site.store
        for name in ("partition=1/a.txt", "partition=1/b.txt", "partition=2/a.txt"):
            store.write(f"lake/{name}", name)
        clean = JobInput("clean", store.uri("lake"), "1", files=("partition=1/a.txt", "partition=2/a.txt"))
        ref = platform.submit(replace(self.but(spec, echo_inputs=True), inputs=(clean,)), "toy-manifest")
        assert self.end(platform, ref).state is JobState.SUCCEEDED
        seen = json.loads((platform.fetch(platform.result(ref).output_uri) / "inputs.json").read_text())
        assert sorted(seen) == ["clean/partition=1/a.txt", "clean/partition=2/a.txt"]

    def test_what_is_known_of_a_job_is_left_beside_its_outputs(
        self, platform: SageMakerPlatform, spec: JobSpec
    ) -> None:
        ref = platform.submit(spec, "toy-note")
        self.end(platform, ref)
        first = platform.result(ref)
        assert platform.result(ref) == first
        note = json.loads((platform.fetch(first.output_uri) / "platform.json").read_text())
        assert (note["job"], note["kind"], note["instance_type"]) == ("toy-note", "train", "ml.m5.large")
        assert note["cost_usd"] == pytest.approx(note["billable_seconds"] / 3600 * 0.115)
        assert note["arn"].endswith(":training-job/toy-note")

    def test_a_name_that_is_another_deployments_is_not_adopted(
        self, platform: SageMakerPlatform, spec: JobSpec, clean_loopback_aws: LoopbackAws, tmp_path: Path
    ) -> None:
        self.end(platform, platform.submit(spec, "toy-theirs"))
        other = platform_on(clean_loopback_aws, make_toy_jobs(tmp_path / "other"), tmp_path / "cache")
        assert other.status(JobRef(other.name, "toy-theirs")) is None
        with pytest.raises(ConfigError, match="another deployment's"):
            other.submit(spec, "toy-theirs")

    def test_stopping_a_job_that_never_was_does_nothing(self, platform: SageMakerPlatform) -> None:
        platform.stop(JobRef(platform.name, "toy-never"))
        assert platform.status(JobRef(platform.name, "toy-never")) is None

    def test_several_instances_are_one_job(self, platform: SageMakerPlatform, spec: JobSpec) -> None:
        two = replace(self.but(spec), kind="evaluate", candidates=(Machine(instances=2),))
        ref = platform.submit(two, "toy-two")
        assert self.end(platform, ref).state is JobState.SUCCEEDED
        result = platform.result(ref)
        note = json.loads((platform.fetch(result.output_uri) / "platform.json").read_text())
        assert note["instances"] == 2
        assert platform.logs(ref).lines == ("started evaluate", "done")


class TestTrouble:
    """What AWS may answer, and what becomes of the job."""

    @pytest.fixture
    def aws(self, clean_loopback_aws: LoopbackAws) -> LoopbackAws:
        return clean_loopback_aws

    @pytest.fixture
    def platform(self, aws: LoopbackAws, tmp_path: Path) -> SageMakerPlatform:
        return platform_on(aws, make_toy_jobs(tmp_path / "toy"), tmp_path / "cache")

    @pytest.fixture
    def counter(self, tmp_path: Path) -> Path:
        return tmp_path / "starts"

    @pytest.fixture
    def spec(self, counter: Path) -> JobSpec:
        return JobSpec("train", {"counter": str(counter)}, (), code_sha256="0", tags={"pipeline": "toy"})

    def end(self, platform: SageMakerPlatform, ref: JobRef) -> Any:
        return PlatformContract.end(platform, ref)

    def test_a_lost_reply_starts_no_second_job(
        self, aws: LoopbackAws, platform: SageMakerPlatform, spec: JobSpec, counter: Path
    ) -> None:
        aws.fault("lost_reply", operation="CreateTrainingJob")
        with pytest.raises(PlatformUnavailable):
            platform.submit(spec, "trouble-lost")
        assert self.end(platform, platform.submit(spec, "trouble-lost")).state is JobState.SUCCEEDED
        assert len(starts(counter)) == 1

    @pytest.mark.parametrize("fault", ["throttling", "server_error"])
    def test_a_platform_in_trouble_is_asked_again(
        self, aws: LoopbackAws, platform: SageMakerPlatform, spec: JobSpec, fault: str, counter: Path
    ) -> None:
        aws.fault(fault, operation="CreateTrainingJob")
        aws.fault(fault, operation="DescribeTrainingJob")
        name = f"trouble-{fault}".replace("_", "-")
        ref = patiently(platform.submit, spec, name)
        wait_for(lambda: (status := patiently(platform.status, ref)) and status.state.is_terminal)
        assert len(starts(counter)) == 1

    def test_no_capacity_is_a_job_that_failed_of_it(
        self, aws: LoopbackAws, platform: SageMakerPlatform, spec: JobSpec
    ) -> None:
        aws.fault("capacity", operation="CreateTrainingJob")
        ref = platform.submit(spec, "trouble-capacity")
        status = self.end(platform, ref)
        assert status.failure is Failure.CAPACITY
        assert isinstance(error_of(ref, status), CapacityUnavailable)
        assert platform.result(ref).cost_usd == 0.0

    def test_a_search_without_machines_failed_of_capacity_too(
        self, aws: LoopbackAws, platform: SageMakerPlatform, spec: JobSpec
    ) -> None:
        aws.fault("capacity", job="trouble-search*", times=9)
        space = {"rate": {"type": "float", "low": 0.1, "high": 0.2}}
        document = {**spec.job, "tuning": {"search_space": space, "trials": 2, "parallelism": 2}}
        ref = platform.submit(replace(spec, kind="tune", job=document), "trouble-search")
        status = self.end(platform, ref)
        assert status.failure is Failure.CAPACITY, status.reason
        assert platform.result(ref).cost_usd == 0.0

    def test_a_quota_is_told_by_its_class(
        self, aws: LoopbackAws, platform: SageMakerPlatform, spec: JobSpec
    ) -> None:
        aws.fault("quota", operation="CreateTrainingJob")
        with pytest.raises(QuotaExceeded, match="Service Quotas"):
            platform.submit(spec, "trouble-quota")
        assert platform.status(JobRef(platform.name, "trouble-quota")) is None

    def test_a_spot_job_goes_on_after_an_interruption_and_says_so(
        self, aws: LoopbackAws, platform: SageMakerPlatform, spec: JobSpec, counter: Path, tmp_path: Path
    ) -> None:
        until = tmp_path / "until"
        slow = replace(
            spec, job={**spec.job, "seconds": 30, "until": str(until)}, candidates=(Machine(spot=True),)
        )
        ref = platform.submit(slow, "trouble-spot")
        wait_for(lambda: starts(counter))
        aws.fault("spot_interruption", job="trouble-spot")
        wait_for(lambda: len(starts(counter)) == 2)

        def is_billed_less() -> JobStatus | None:  # whole seconds are billed: some have to pass
            status = platform.status(ref)
            return status if status and status.seconds > 3.0 else None

        assert "taken away 1 times" in wait_for(is_billed_less).reason
        until.touch()
        assert self.end(platform, ref).state is JobState.SUCCEEDED
        result = platform.result(ref)
        assert result.saved_usd > 0

    def test_a_job_that_waits_for_its_machine_is_pending_and_can_be_stopped(
        self, aws: LoopbackAws, platform: SageMakerPlatform, spec: JobSpec, counter: Path
    ) -> None:
        aws.fault("slow_start", seconds=30)
        ref = platform.submit(spec, "trouble-slow")
        status = platform.status(ref)
        assert status is not None
        assert (status.state, status.seconds) == (JobState.PENDING, 0.0)
        platform.stop(ref, "nobody waits for it")
        ended = self.end(platform, ref)
        assert isinstance(error_of(ref, ended), JobStopped)
        assert not starts(counter)

    def test_reading_goes_on_when_s3_or_the_log_do_not_answer(
        self, aws: LoopbackAws, platform: SageMakerPlatform, spec: JobSpec
    ) -> None:
        ref = platform.submit(spec, "trouble-log")
        self.end(platform, ref)
        aws.fault("throttling", operation="FilterLogEvents")
        with pytest.raises(PlatformUnavailable):
            platform.logs(ref)
        assert platform.logs(ref).lines == ("started train", "done")


_RESUMING = """
import pathlib, sys, time
a = dict(zip(sys.argv[2::2], sys.argv[3::2]))
point = pathlib.Path(a["--checkpoints"]) / "point"
if point.exists():
    print("resumed at", point.read_text(), flush=True)
    sys.exit()
point.write_text("epoch 7")
print("began", flush=True)
time.sleep(60)
"""


class TestCheckpoints:
    """What a job has written of its checkpoints, its next start finds."""

    @pytest.fixture
    def platform(self, clean_loopback_aws: LoopbackAws, tmp_path: Path) -> SageMakerPlatform:
        jobs_dir = make_toy_jobs(tmp_path / "resuming")
        (jobs_dir / "jobs" / "__main__.py").write_text(_RESUMING)
        return platform_on(clean_loopback_aws, jobs_dir, tmp_path / "cache")

    @pytest.fixture
    def spec(self) -> JobSpec:
        return JobSpec("train", {}, (), code_sha256="0", candidates=(Machine(spot=True),))

    def test_a_spot_job_resumes_from_its_checkpoint(
        self, platform: SageMakerPlatform, spec: JobSpec, clean_loopback_aws: LoopbackAws
    ) -> None:
        ref = platform.submit(spec, "resume-spot")
        wait_for(lambda: platform.logs(ref).lines)
        clean_loopback_aws.fault("spot_interruption", job="resume-spot")
        assert PlatformContract.end(platform, ref).state is JobState.SUCCEEDED
        assert platform.logs(ref).lines == ("began", "resumed at epoch 7")

    def test_the_next_attempt_resumes_from_the_checkpoint_of_the_last(
        self, platform: SageMakerPlatform, spec: JobSpec
    ) -> None:
        first = platform.submit(spec, "resume-attempt")
        wait_for(lambda: platform.logs(first).lines)
        platform.stop(first)
        PlatformContract.end(platform, first)
        second = platform.submit(spec, "resume-attempt-r2")
        assert PlatformContract.end(platform, second).state is JobState.SUCCEEDED
        assert platform.logs(second).lines == ("resumed at epoch 7",)


class TestSignIn:
    """From the connection that the loopback AWS writes, through the Amazon provider's hook."""

    @pytest.fixture
    def settings(
        self, clean_loopback_aws: LoopbackAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Settings:
        for name, value in clean_loopback_aws.environment.items():
            monkeypatch.setenv(name, value)
        jobs_uri = f"{clean_loopback_aws.jobs_uri}/test-sign-in-{tmp_path.name}"
        given = {**clean_loopback_aws.options, "home": str(tmp_path), "sagemaker_jobs_uri": jobs_uri}
        return Settings.from_lookup({**given, "jobs_dir": str(make_toy_jobs(tmp_path / "toy"))}.get)

    def test_a_job_runs_by_settings_and_connection_alone(self, settings: Settings, tmp_path: Path) -> None:
        platform = connect("sagemaker", settings)
        spec = JobSpec("train", {"counter": str(tmp_path / "starts")}, (), code_sha256="0")
        ref = platform.submit(spec, "signed-in")
        assert PlatformContract.end(platform, ref).state is JobState.SUCCEEDED
        assert (platform.fetch(platform.result(ref).output_uri) / "metrics.json").exists()

    def test_a_role_that_the_connection_assumes_is_assumed_on_both_sides(
        self, settings: Settings, clean_loopback_aws: LoopbackAws, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (name, text), *_ = clean_loopback_aws.environment.items()
        connection = json.loads(text)
        services = {
            **connection["extra"]["service_config"],
            "sts": {"endpoint_url": clean_loopback_aws.endpoint},
        }
        connection["extra"] |= {"role_arn": clean_loopback_aws.role_arn, "service_config": services}
        monkeypatch.setenv(name, json.dumps(connection))
        signed = set()
        for _ in ("worker", "triggerer"):
            platform: Any = connect("sagemaker", settings)
            credentials = platform.site.client("sagemaker")._request_signer._credentials
            signed.add((credentials.method, credentials.access_key != clean_loopback_aws.access_key))
        assert signed == {("sts-assume-role", True)}
        asked = clean_loopback_aws.calls("AssumeRole")
        assert {call["parameters"]["RoleArn"] for call in asked} == {clean_loopback_aws.role_arn}
