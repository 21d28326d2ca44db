"""Processing jobs: inputs from S3, one command, outputs to S3."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from localcloud.aws.containers import Container, image_of
from localcloud.aws.ended import outcome
from localcloud.aws.errors import JobError, refused, validation
from localcloud.aws.listing import summaries
from localcloud.aws.model import echo
from localcloud.aws.operations import operation
from localcloud.aws.processes import run_all
from localcloud.aws.records import Record
from localcloud.aws.roles import check_role
from localcloud.aws.status import LIVE
from localcloud.aws.storage import download, entries_of, upload_tree
from localcloud.aws.tags import tags_of
from localcloud.aws.transform_calls import taken

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud

__all__ = ["KIND"]

KIND = "processing-job"
_DAY_S = 86400


@operation("sagemaker", "CreateProcessingJob")
def create(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Start a processing job on one instance."""
    if request["ProcessingResources"]["ClusterConfig"]["InstanceCount"] != 1:
        raise refused("processing jobs on several instances")
    check_role(request["RoleArn"])
    for one in request.get("ProcessingInputs", ()):
        if one.get("S3Input", {}).get("S3DataType") not in ("S3Prefix", "ManifestFile"):
            raise refused(f"processing input {one['InputName']} that is no S3Prefix or ManifestFile")
    shown = {
        **echo(request, "sagemaker", "DescribeProcessingJob"),
        "ProcessingJobStatus": "InProgress",
        "CreationTime": time.time(),
        "LastModifiedTime": time.time(),
    }
    job = Record(KIND, request["ProcessingJobName"], request, shown, tags_of(request))
    job.shown["ProcessingJobArn"] = job.arn
    cloud.records.add(job, taken=taken)
    cloud.run(job, run_processing)
    return {"ProcessingJobArn": job.arn}


@operation("sagemaker", "DescribeProcessingJob")
def describe(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """All that is known of a processing job."""
    return _job(cloud, request).shown


@operation("sagemaker", "StopProcessingJob")
def stop(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Ask a processing job to end."""
    job = _job(cloud, request)
    with job.lock:
        status = job.shown["ProcessingJobStatus"]
        if status not in LIVE:
            raise validation(f"The request was rejected because the processing job is in status {status}.")
        cloud.records.change(job, ProcessingJobStatus="Stopping")
        job.stop.set()
    return {}


@operation("sagemaker", "ListProcessingJobs")
def list_(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """Processing jobs, oldest first."""
    keys = (
        "ProcessingJobName", "ProcessingJobArn", "CreationTime", "ProcessingEndTime", "LastModifiedTime",
        "ProcessingJobStatus", "FailureReason", "ExitMessage",
    )  # fmt: skip

    def summary(job: Record) -> dict[str, Any]:
        return {key: job.shown[key] for key in keys if key in job.shown}

    return summaries(
        cloud.records.all(KIND),
        request,
        "ProcessingJobSummaries",
        summary,
        status="ProcessingJobStatus",
        name="ProcessingJobName",
        order="Ascending",
    )


def run_processing(cloud: Cloud, job: Record) -> None:
    """Run a processing job from its first moment to its last."""
    ended, reason = outcome(cloud, job, lambda: _work(cloud, job))
    failure = {"FailureReason": reason} if reason else {}
    cloud.records.change(job, ProcessingJobStatus=ended, ProcessingEndTime=time.time(), **failure)


def _work(cloud: Cloud, job: Record) -> str:
    """The status that the job ends with."""
    cloud.records.change(job, ProcessingStartTime=time.time())
    container = Container(cloud.folder(f"{job.name}-{uuid4().hex[:6]}"), cloud.settings)
    log = cloud.logs.open("/aws/sagemaker/ProcessingJobs", job.name)
    stream = f"algo-1-{int(time.time() * 1000)}"
    try:
        _bring(cloud, job, container)
        words, environment = _command(cloud, job, container)
        process = cloud.processes.start(
            words, environment, container.base, lambda line: log.line(stream, line)
        )
        codes, why = run_all([process], _why_end(cloud, job), cloud.settings.grace_s)
        cloud.check()
        return _judge(cloud, job, container, codes[0], why)
    finally:
        log.close()
        container.discard()


def _bring(cloud: Cloud, job: Record, container: Container) -> None:
    for one in job.request.get("ProcessingInputs", ()):
        source = one["S3Input"]
        folder = container.path(source["LocalPath"])
        folder.mkdir(parents=True, exist_ok=True)
        download(cloud.s3(), entries_of(cloud.s3(), source), folder)
    for one in _outputs(job):
        container.path(one["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)


def _outputs(job: Record) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job.request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return [one for one in found if "S3Output" in one]


def _command(cloud: Cloud, job: Record, container: Container) -> tuple[list[str], dict[str, str]]:
    asked = job.request["AppSpecification"]
    image = image_of(cloud.settings, asked["ImageUri"])
    words = asked.get("ContainerEntrypoint") or image.get("process")
    if not words:
        raise JobError(f"ClientError: the image {asked['ImageUri']} has no command for process")
    given = container.environment(
        image,
        {"PROCESSING_JOB_NAME": job.name, "PROCESSING_JOB_ARN": job.arn},
        job.request.get("Environment", {}),
    )
    return container.command([*words, *asked.get("ContainerArguments", ())]), given


def _why_end(cloud: Cloud, job: Record) -> Any:
    limit = job.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", _DAY_S)
    deadline = time.monotonic() + limit

    def why() -> str | None:
        cloud.check()
        if job.stop.is_set():
            return "Stopped"
        return "MaxRuntimeExceeded" if time.monotonic() > deadline else None

    return why


def _judge(cloud: Cloud, job: Record, container: Container, code: int, why: str | None) -> str:
    told = container.base / "output" / "message"
    if told.is_file():
        cloud.records.change(job, ExitMessage=told.read_text(errors="replace")[:1024])
    for one in _outputs(job):
        output = one["S3Output"]
        if why is None or output.get("S3UploadMode") == "Continuous":
            upload_tree(cloud.s3(), container.path(output["LocalPath"]), output["S3Uri"])
    if why:
        return "Stopped"
    if code:
        raise JobError(f"AlgorithmError: See job logs for more information, exit code: {code}")
    return "Completed"


def _job(cloud: Cloud, request: dict[str, Any]) -> Record:
    job = cloud.records.find(KIND, request["ProcessingJobName"])
    if job is None:
        raise validation(f"Could not find requested job with name: {request['ProcessingJobName']}")
    return job
