"""How a training job runs: hosts, channels, the command, checkpoints, the model, and every way it can end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.aws.containers import image_of
from localcloud.aws.ended import INTERNAL, outcome
from localcloud.aws.errors import JobError
from localcloud.aws.hosts import checkpoints, discard, lay_out, upload
from localcloud.aws.metrics import Metrics
from localcloud.aws.processes import run_all
from localcloud.aws.status import transition
from localcloud.waiting import free_port

if TYPE_CHECKING:
    from localcloud.aws.cloud import Cloud
    from localcloud.aws.containers import Container
    from localcloud.aws.faults import Fault
    from localcloud.aws.logs import JobLog
    from localcloud.aws.processes import Started
    from localcloud.aws.records import Record
    from localcloud.aws.storage import Sync

__all__ = ["SPOT_SHARE", "run_training"]

# Of the price, what a spot instance costs: a round number for the demo, AWS's changes by the hour.
SPOT_SHARE = 0.3
_CHECKPOINT_EVERY_S = 1.0
_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML "
    "instance type."
)


def run_training(cloud: Cloud, job: Record) -> None:
    """Run a job from its first moment to its last."""
    run = _Run(cloud, job)
    ended, reason = outcome(cloud, job, run.to_the_end)
    run.settle(ended, reason)


@dataclass(slots=True)
class _Run:
    """One training job while it runs; ``trained_s`` adds up over interruptions."""

    cloud: Cloud
    job: Record
    trained_s: float = 0.0
    began: float = field(default_factory=time.time)
    hosts: list[Container] = field(default_factory=list)
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        definitions = self.job.request["AlgorithmSpecification"].get("MetricDefinitions", [])
        self.metrics = Metrics(self.job, definitions)

    def to_the_end(self) -> str:
        """Attempts, until one is not interrupted; the secondary status that the job ends with.

        :raises JobError: when the job fails.
        """
        self._provision()
        log = self.cloud.logs.open("/aws/sagemaker/TrainingJobs", self.job.name)
        retries = self.job.request.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
        try:
            while True:
                try:
                    why = self._attempt(log)
                except JobError as error:
                    if not error.retry or retries <= 0:
                        raise
                    retries -= 1
                    transition(self.cloud, self.job, "Restarting")
                    continue
                if why != "Interrupted":
                    return why
                self._wait_for_an_instance()
        finally:
            log.close()
            discard(self.hosts)

    def settle(self, secondary: str, reason: str = "") -> None:
        """Write how it ended, with what it cost."""
        now = time.time()
        shown: dict[str, Any] = {"FinalMetricDataList": self.metrics.final()}
        if "TrainingStartTime" in self.job.shown:
            lasted = now - self.job.shown["TrainingStartTime"]
            shown |= {"TrainingEndTime": now, "TrainingTimeInSeconds": max(1, math.ceil(lasted))}
            shown["BillableTimeInSeconds"] = self._billable()
        if reason:
            shown["FailureReason"] = reason
        transition(self.cloud, self.job, secondary, **shown)

    def _billable(self) -> int:
        if self.job.request.get("EnableManagedSpotTraining"):
            return max(1, math.floor(self.trained_s * SPOT_SHARE))
        return max(1, math.ceil(self.trained_s))

    def _provision(self) -> None:
        """Starting: instances come, late or not at all."""
        slow = self._fault("slow_start")
        if slow:
            self._pause(slow.seconds)
        if self._fault("capacity"):
            raise JobError(_CAPACITY)

    def _attempt(self, log: JobLog) -> str:
        """One life of the containers."""
        why = self._why_not_begin()
        if why:
            return why
        self.cloud.records.change(
            self.job, TrainingStartTime=self.job.shown.get("TrainingStartTime", time.time())
        )
        began = time.time()
        try:
            self._step("Downloading")
            discard(self.hosts)
            self.hosts = []
            self.hosts = lay_out(self.cloud, self.job)
            syncs = checkpoints(self.cloud, self.job, self.hosts)
            if self._fault("internal_error"):
                raise JobError(INTERNAL, retry=True)
            self._step("Training")
            codes, why = self._train(log, syncs)
        finally:
            self.trained_s += time.time() - began
        for sync in syncs:
            sync.push()
        return self._judge(codes, why)

    def _why_not_begin(self) -> str | None:
        if self.job.stop.is_set():
            return "Stopped"
        return "MaxWaitTimeExceeded" if self._waited_too_long() else None

    def _waited_too_long(self) -> bool:
        limit = self.job.shown["StoppingCondition"].get("MaxWaitTimeInSeconds", math.inf)
        return bool(time.time() - self.began > limit)

    def _judge(self, codes: list[int], why: str | None) -> str:
        if why == "Interrupted":
            transition(self.cloud, self.job, "Interrupted")
            return why
        if why is None and any(codes):
            code = next(code for code in codes if code)
            told = next((text for host in self.hosts if (text := host.failure())), "")
            raise JobError(
                f"AlgorithmError: {told or 'See job logs for more information'}, exit code: {code}"
            )
        self._step("Uploading")
        upload(self.cloud, self.job, self.hosts)
        return why or "Completed"

    def _train(self, log: JobLog, syncs: list[Sync]) -> tuple[list[int], str | None]:
        """Run the command on every host; exit codes, and why they were ended if they were."""
        started = self._start(log)
        began = synced = time.monotonic()

        def why_end() -> str | None:
            nonlocal synced
            if syncs and time.monotonic() - synced > _CHECKPOINT_EVERY_S:
                for sync in syncs:
                    sync.push()
                synced = time.monotonic()
            return self._why_end(time.monotonic() - began)

        codes, why = run_all(started, why_end, self.cloud.settings.grace_s)
        self.cloud.check()
        return codes, why

    def _start(self, log: JobLog) -> list[Started]:
        image, command = self._command()
        stamp, given = int(time.time() * 1000), self._given()
        started = []
        for index, host in enumerate(self.hosts, 1):

            def on_line(line: str, stream: str = f"algo-{index}-{stamp}") -> None:
                log.line(stream, line)
                self.metrics.read(line)

            environment = host.environment(image, given, self.job.request.get("Environment", {}))
            words = host.command(command)
            started.append(self.cloud.processes.start(words, environment, host.base, on_line))
        return started

    def _command(self) -> tuple[dict[str, Any], list[str]]:
        algorithm = self.job.request["AlgorithmSpecification"]
        image = image_of(self.cloud.settings, algorithm["TrainingImage"])
        words = algorithm.get("ContainerEntrypoint") or image.get("train")
        if not words:
            raise JobError(f"ClientError: the image {algorithm['TrainingImage']} has no command for train")
        return image, [*words, *algorithm.get("ContainerArguments", [])]

    def _given(self) -> dict[str, str]:
        """What the service adds to the environment; several hosts share this machine's one address."""
        own = {"TRAINING_JOB_NAME": self.job.name, "TRAINING_JOB_ARN": self.job.arn}
        if len(self.hosts) > 1:
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        return own

    def _why_end(self, elapsed_s: float) -> str | None:
        """The reason to end the processes now, if there is one."""
        stopping = self.job.shown["StoppingCondition"]
        self.cloud.check()
        if self.job.stop.is_set():
            return "Stopped"
        if self.trained_s + elapsed_s > stopping["MaxRuntimeInSeconds"]:
            return "MaxRuntimeExceeded"
        if self._waited_too_long():
            return "MaxWaitTimeExceeded"
        if self.job.request.get("EnableManagedSpotTraining") and self._fault("spot_interruption", elapsed_s):
            return "Interrupted"
        return None

    def _wait_for_an_instance(self) -> None:
        """After an interruption; the wait counts against MaxWaitTimeInSeconds, not against the runtime."""
        self._pause(self.cloud.settings.interruption_s)
        self._step("Starting")

    def _step(self, secondary: str) -> None:
        if not self.job.stop.is_set():
            transition(self.cloud, self.job, secondary)

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._waited_too_long():
            self.cloud.check()
            if self.job.stop.wait(0.05):
                return

    def _fault(self, kind: str, elapsed_s: float = 0) -> Fault | None:
        return self.cloud.faults.take(
            (kind,), "CreateTrainingJob", self.job.request, self.job.name, elapsed_s
        )
