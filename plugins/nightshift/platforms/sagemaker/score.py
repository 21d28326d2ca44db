"""A score job on SageMaker: two stages under one name, features first, then batch transform."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nightshift.errors import (
    CapacityUnavailable,
    NightshiftError,
    PlatformUnavailable,
    QuotaExceeded,
)
from nightshift.platforms.base import Failure, JobState, JobStatus
from nightshift.platforms.sagemaker.calls import TRAINING, TRANSFORM
from nightshift.platforms.sagemaker.costs import total, transform_bill
from nightshift.platforms.sagemaker.machines import for_features, for_transform
from nightshift.platforms.sagemaker.requests import model_request, transform_request
from nightshift.platforms.sagemaker.scoring import (
    champion_of,
    features_name,
    put_package,
    reconcile,
)
from nightshift.platforms.sagemaker.statuses import TIMED_OUT, training_status, transform_status
from nightshift.platforms.sagemaker.store import folder_of, model_output
from nightshift.platforms.sagemaker.work import (
    Ended,
    Work,
    create_training,
    ended_training,
    log_of_training,
    stream_log,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nightshift.platforms.base import LogChunk
    from nightshift.platforms.sagemaker.requests import Order

__all__ = ["Score"]

_TRANSFORM_LOGS = "/aws/sagemaker/TransformJobs"
_FEATURES = "features"
_READY = "the features are there"
_REFUSALS: Mapping[type[Exception], Failure] = {
    CapacityUnavailable: Failure.CAPACITY,
    QuotaExceeded: Failure.QUOTA,
}


log = logging.getLogger(__name__)


class Score(Work):
    """``score``: training job ``<name>-f``, then model and transform job ``<name>``.

    Whoever looks at a job whose features are done starts its transform, worker and triggerer alike: each is
    created by name. A stop is written down before anything is asked of SageMaker, and is looked for after
    the transform was started: one of the two sees the other.

    Each stage starts a machine of its own, and ``max_wait_s`` has to be long enough for both.
    """

    kind = TRANSFORM

    def prepare(self) -> None:
        """Is there a model, and are there machines for both stages?"""
        champion_of(self.spec)
        _ = self.site.config.serving_image
        self._features_order("-")
        self._transform_order()

    def start(self) -> None:
        """The first stage; the model is packed now, where its files are at hand."""
        code = self.upload()
        site, model = self.site, champion_of(self.spec)
        package = put_package(site.store, site.jobs_dir, model, code, self.spec.job)
        site.store.write(self._package_note, package)
        create_training(self.site, self._features_order(code))

    def _features_order(self, code: str) -> Order:
        return self.order(features_name(self.name), _FEATURES, for_features(self.spec.machine), code)

    def _transform_order(self) -> Order:
        return self.order(self.name, self.spec.kind, for_transform(self.spec.machine), transform=True)

    @property
    def _package_note(self) -> str:
        """Where the model is; the code in it may be older than this worker's by the second stage."""
        return folder_of(self.name, "package.txt")

    def _look(self) -> JobStatus | None:
        """Both stages as one."""
        first = self._first()
        if first is None or first.state is not JobState.SUCCEEDED:
            return first and replace(first, reason=f"{_FEATURES}: {first.reason}")
        found = self.site.calls.describe(TRANSFORM, self.name)
        if found is None:
            return self._between(first)
        second = transform_status(found, self.why, time.time())
        both = replace(second, seconds=first.seconds + second.seconds, submitted_at=first.submitted_at)
        return self.judged(both) if both.state in (JobState.SUCCEEDED, JobState.STOPPED) else both

    def _first(self) -> JobStatus | None:
        found = self.site.calls.describe(TRAINING, features_name(self.name))
        return None if found is None else training_status(found, self.why, time.time())

    def _between(self, first: JobStatus) -> JobStatus:
        """The features are there, no transform is yet; a stop that was asked for holds."""
        reason = self.why()
        if reason is None:
            return self.judged(replace(first, state=JobState.RUNNING, reason=_READY))
        if reason == TIMED_OUT:
            return replace(first, state=JobState.FAILED, failure=Failure.TIMED_OUT, reason=reason)
        return replace(first, state=JobState.STOPPED, reason=reason)

    def _go_on(self, status: JobStatus) -> JobStatus:
        """Start the transform where the features are done; end it where it takes too long."""
        if status.reason == _READY:
            return self._next_stage(status)
        if status.seconds > self.spec.max_runtime_s:  # SageMaker has no limit of its own for a transform
            self.site.ask_to_stop(self.name, TIMED_OUT)
            self.stop()
        return status

    def _next_stage(self, status: JobStatus) -> JobStatus:
        """The transform, or what the job has failed of where SageMaker will never start it."""
        try:
            self._start_transform()
        except PlatformUnavailable:
            raise
        except NightshiftError as error:
            failed = self.fail(status, _REFUSALS.get(type(error), Failure.USER_CODE), str(error))
            self.site.calls.stop(TRANSFORM, self.name)  # somebody else may have been luckier just now
            return failed
        if self.why() is not None or self._has_failed():
            self.stop()
        return replace(status, reason="the transform was started")

    def _start_transform(self) -> None:
        site, order = self.site, self._transform_order()
        package = (site.store.read(self._package_note) or b"").decode()
        model = model_request(site.config, self.name, package, order.aws_tags(site.config))
        site.calls.create("model", f"model {self.name}", model)
        features = site.store.uri(f"{model_output(features_name(self.name))}/{_FEATURES}")
        answers = site.store.uri(folder_of(self.name, "transform"))
        request = transform_request(site.config, order, features, answers)
        site.calls.create("transform_job", f"transform job {self.name}", request)

    def _has_failed(self) -> bool:
        """Whether somebody else, who wanted to start the transform too, was refused just now."""
        return self.judged(JobStatus(JobState.RUNNING)).state is JobState.FAILED

    def stop(self) -> None:
        """Whichever stage runs."""
        self.site.calls.stop(TRAINING, features_name(self.name))
        self.site.calls.stop(TRANSFORM, self.name)

    def ended(self) -> Ended:
        """Both stages together."""
        first = self.site.calls.describe(TRAINING, features_name(self.name))
        features = ended_training(self.site, first)
        second = self.site.calls.describe(TRANSFORM, self.name)
        if second is None:
            return features
        bills = [features.bill, transform_bill(second, self.site.prices)]
        seconds = sum(bill.seconds for bill in bills)
        return Ended(second["TransformJobArn"], total(bills, seconds), features.metrics)

    @property
    def output(self) -> str:
        """Put together by us."""
        return folder_of(self.name, "result")

    def assemble(self, seconds: float) -> bool:
        """Predictions and counts.json, as a score job on this machine leaves them."""
        counts: dict[str, Any] = reconcile(self.site.store, self.name, seconds)
        self.site.store.write_json(f"{self.output}/counts.json", counts)
        return True

    def tidy(self) -> None:
        """DeleteModel; a model that is left costs nothing."""
        try:
            self.site.calls.delete_model(self.name)
        except NightshiftError as error:
            log.info("Model %s is left: %s", self.name, error)

    def log(self, position: int) -> LogChunk:
        """Of the first stage, then of the second."""
        streams = [log_of_training(features_name(self.name)), (_TRANSFORM_LOGS, f"{self.name}/")]
        return stream_log(self.site, streams, position)

    def usd_per_hour(self) -> float:
        """Of the stage that costs more."""
        machine = self.spec.machine
        return max(self.price(for_features(machine)), self.price(for_transform(machine), transform=True))
