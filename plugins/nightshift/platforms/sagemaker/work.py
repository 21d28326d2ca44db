"""What a job is on SageMaker, by its kind: one training job, or a tuning job of many."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nightshift.platforms.base import Failure, JobState, JobStatus
from nightshift.platforms.sagemaker import tuning
from nightshift.platforms.sagemaker.calls import TRAINING, TUNING
from nightshift.platforms.sagemaker.channels import channels_of, put_channels
from nightshift.platforms.sagemaker.code import upload_code
from nightshift.platforms.sagemaker.costs import total, training_bill
from nightshift.platforms.sagemaker.failures import failure_of
from nightshift.platforms.sagemaker.logs import chunk, read, start_of
from nightshift.platforms.sagemaker.machines import choose
from nightshift.platforms.sagemaker.requests import Order, training_request
from nightshift.platforms.sagemaker.statuses import training_status, tuning_status
from nightshift.platforms.sagemaker.store import folder_of, model_output
from nightshift.platforms.sagemaker.tags import SEARCH_SPACE, cleaned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nightshift.platforms.base import JobSpec, LogChunk
    from nightshift.platforms.sagemaker.calls import Kind
    from nightshift.platforms.sagemaker.costs import Bill
    from nightshift.platforms.sagemaker.logs import Stream
    from nightshift.platforms.sagemaker.site import Site

__all__ = [
    "Ended",
    "Training",
    "Tuning",
    "Work",
    "create_training",
    "ended_training",
    "log_of_training",
    "stream_log",
]

_TRAINING_LOGS = "/aws/sagemaker/TrainingJobs"
_FAILED = "failed.json"
_PARENTS = 100
"""So many ended tuning jobs are looked at for one to start from."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What SageMaker knows of a job that has ended."""

    arn: str
    bill: Bill
    metrics: Mapping[str, float] = field(default_factory=dict)


_NEVER = Ended("", total((), 0.0))
"""Of a job that was to be stopped before SageMaker was asked for it."""


class Work(ABC):
    """One job of ours on SageMaker."""

    kind: Kind
    """What its page in the console is a page of."""

    def __init__(self, site: Site, name: str, spec: JobSpec) -> None:
        self.site = site
        self.name = name
        self.spec = spec

    @abstractmethod
    def prepare(self) -> None:
        """Say no before anything is written: to a machine that there is not, an input that cannot be read."""

    @abstractmethod
    def start(self) -> None:
        """Upload what the job reads and ask for it; it may be there already."""

    def look(self) -> JobStatus | None:
        """Where the job stands; None when SageMaker knows none of that name, and nobody wants its end.

        A job that was to be stopped before SageMaker was asked for it is not asked for any more.
        """
        status = self._look()
        reason = self.why() if status is None else None
        return status if reason is None else JobStatus(JobState.STOPPED, None, reason)

    @abstractmethod
    def _look(self) -> JobStatus | None:
        """What SageMaker says."""

    def advance(self) -> JobStatus | None:
        """:meth:`look`, and do what is to be done next; a stop that was asked for is asked for again."""
        status = self.look()
        if status is not None and status.state in (JobState.PENDING, JobState.RUNNING):
            if self.why() is not None:
                self.stop()
            else:
                return self._go_on(status)
        return status

    def _go_on(self, status: JobStatus) -> JobStatus:
        """Start the next stage where there is one to start."""
        return status

    def fail(self, status: JobStatus, failure: Failure, reason: str) -> JobStatus:
        """Write down what the job has failed of where SageMaker knows nothing of it."""
        note = json.dumps({"failure": failure, "reason": reason}, indent=1)
        self.site.store.write(folder_of(self.name, "result", _FAILED), note, only_if_new=True)
        return self.judged(status)

    def judged(self, status: JobStatus) -> JobStatus:
        """Failed, where that was written down."""
        note = self.site.store.read_json(folder_of(self.name, "result", _FAILED))
        if note is None:
            return status
        failure = Failure(note["failure"])
        return replace(status, state=JobState.FAILED, failure=failure, reason=note["reason"])

    @abstractmethod
    def stop(self) -> None:
        """Ask SageMaker to end what runs."""

    @abstractmethod
    def ended(self) -> Ended:
        """Cost and metrics of a job that has ended."""

    @property
    @abstractmethod
    def output(self) -> str:
        """Where its outputs are, below ``jobs_uri``."""

    def assemble(self, seconds: float) -> bool:
        """Put together the outputs of a job that has succeeded; whether there was anything to do."""
        return False

    def tidy(self) -> None:  # noqa: B027 - most kinds leave nothing
        """Remove what nothing needs once the outputs are put together."""

    @abstractmethod
    def log(self, position: int) -> LogChunk:
        """Its log from a position on."""

    @abstractmethod
    def usd_per_hour(self) -> float:
        """What an hour of it costs on demand; 0 where the price is not known, which is warned of."""

    def why(self) -> str | None:
        """Who asked for its end."""
        return self.site.why_stopped(self.name)

    def order(self, name: str, kind: str, machine: Any, code: str = "", *, transform: bool = False) -> Order:
        """What is asked of SageMaker for it, or for a stage of it."""
        spec, site = self.spec, self.site
        return Order(
            name=name,
            job=self.name,
            kind=kind,
            fleet=choose(machine, site.prices, transform=transform),
            code=code,
            channels=channels_of(site.store, self.name, spec.inputs, code) if code else (),
            max_runtime_s=spec.max_runtime_s,
            max_wait_s=spec.max_wait_s,
            tags=spec.tags,
        )

    def price(self, machine: Any, *, transform: bool = False) -> float:
        """Of the instances for a machine, for an hour on demand."""
        fleet = choose(machine, self.site.prices, transform=transform)
        return (self.site.prices.price(fleet.type.name) or 0.0) * fleet.count

    def upload(self) -> str:
        """Code, inputs and job.json; the folder of the code."""
        site = self.site
        pip_installs = site.config.script_mode and not site.config.network_isolation
        code = upload_code(site.store, site.jobs_dir, requirements=pip_installs)
        put_channels(self.site.store, self.name, self.spec)
        return code


class Training(Work):
    """``train``, ``evaluate`` and whatever else is one program: one training job of the same name."""

    kind = TRAINING

    def prepare(self) -> None:
        """Is there such a machine, and can its inputs be read?"""
        self.order(self.name, self.spec.kind, self.spec.machine, code="-")

    def start(self) -> None:
        """CreateTrainingJob."""
        order = self.order(self.name, self.spec.kind, self.spec.machine, self.upload())
        create_training(self.site, order)

    def _look(self) -> JobStatus | None:
        """DescribeTrainingJob."""
        found = self._describe()
        return None if found is None else training_status(found, self.why, time.time())

    def stop(self) -> None:
        """StopTrainingJob."""
        self.site.calls.stop(TRAINING, self.name)

    def ended(self) -> Ended:
        """Billable seconds and final metrics, as SageMaker counts them."""
        return ended_training(self.site, self._describe())

    @property
    def output(self) -> str:
        """What the container left below /opt/ml/model."""
        return model_output(self.name)

    def log(self, position: int) -> LogChunk:
        """Of the first host; it is the one that speaks for all."""
        return stream_log(self.site, [log_of_training(self.name)], position)

    def usd_per_hour(self) -> float:
        """All instances."""
        return self.price(self.spec.machine)

    def _describe(self) -> dict[str, Any] | None:
        return self.site.calls.describe(TRAINING, self.name)


def create_training(site: Site, order: Order) -> None:
    """Ask for a training job, and see to it that one of that name is ours."""
    request = training_request(site.config, site.region, order)
    if not site.calls.create("training_job", f"training job {order.name}", request):
        found = site.calls.describe(TRAINING, order.name) or {}
        site.must_be_ours(order.name, found.get("OutputDataConfig", {}).get("S3OutputPath"))


def ended_training(site: Site, found: Mapping[str, Any] | None) -> Ended:
    """What DescribeTrainingJob says of a job that has ended."""
    if found is None:
        return _NEVER
    metrics = {each["MetricName"]: float(each["Value"]) for each in found.get("FinalMetricDataList", ())}
    return Ended(found["TrainingJobArn"], training_bill(found, site.prices), metrics)


def log_of_training(name: str) -> Stream:
    """The log of a training job's first host, also after an interruption."""
    return _TRAINING_LOGS, f"{name}/algo-1-"


def stream_log(site: Site, streams: Sequence[Stream], position: int) -> LogChunk:
    """CloudWatch's lines from a position on."""
    return chunk(read(site.client("logs"), streams, start_of(position)), position)


class Tuning(Work):
    """``tune``: a tuning job, whose trials are training jobs that SageMaker names and tags."""

    kind = TUNING

    def prepare(self) -> None:
        """Can the search be told to SageMaker, and is there such a machine?"""
        self._request(self.order(self.name, self.spec.kind, self.spec.machine, code="-"), None)

    def start(self) -> None:
        """CreateHyperParameterTuningJob."""
        calls, what = self.site.calls, f"tuning job {self.name}"
        order = self.order(self.name, self.spec.kind, self.spec.machine, self.upload())
        request = self._request(order, self._parent())
        if not calls.create("hyper_parameter_tuning_job", what, request):
            definition = (calls.describe(TUNING, self.name) or {}).get("TrainingJobDefinition", {})
            self.site.must_be_ours(self.name, definition.get("OutputDataConfig", {}).get("S3OutputPath"))

    def _request(self, order: Order, parent: str | None) -> dict[str, Any]:
        return tuning.tuning_request(self.site.config, self.site.region, order, self.spec.job, parent)

    def _parent(self) -> str | None:
        """The newest ended search of the pipeline over the same space, for an earlier partition.

        SageMaker takes none for Hyperband.
        """
        if not self._search.get("warm_start") or self._search.get("strategy") == "hyperband":
            return None
        wanted = {key: self.spec.tags[key] for key in ("deployment", "pipeline") if key in self.spec.tags}
        wanted = {key: cleaned(value) for key, value in wanted.items()}
        wanted[SEARCH_SPACE] = tuning.search_space_id(self.site.config, self.spec.job)
        partition = self.spec.tags.get("partition", "")
        found: dict[str, str] = {}
        for number, each in enumerate(self.site.calls.jobs(TUNING, StatusEquals="Completed")):
            if number >= _PARENTS:
                break
            tags = self.site.calls.tags(each["HyperParameterTuningJobArn"])
            if wanted.items() <= tags.items() and tags.get("partition", "~") < partition:
                found.setdefault(tags["partition"], each["HyperParameterTuningJobName"])
        return found[max(found)] if found else None

    def _look(self) -> JobStatus | None:
        """DescribeHyperParameterTuningJob."""
        found = self.site.calls.describe(TUNING, self.name)
        if found is None:
            return None
        status = tuning_status(found, self.why, time.time())
        if status.state is JobState.SUCCEEDED:
            return self.judged(status)
        return self._blamed(status) if status.state is JobState.FAILED else status

    def _blamed(self, status: JobStatus) -> JobStatus:
        """What all failed trials failed of is what the search failed of: no machine, for example."""
        reasons = [
            each["FailureReason"] for each in self.site.calls.trials(self.name) if "FailureReason" in each
        ]
        if len({failure_of(reason) for reason in reasons}) != 1:
            return status
        told = f"{status.reason} The first of its trials: {reasons[0]}"
        return replace(status, failure=failure_of(reasons[0]), reason=told)

    def stop(self) -> None:
        """StopHyperParameterTuningJob ends its trials too."""
        self.site.calls.stop(TUNING, self.name)

    def ended(self) -> Ended:
        """All trials together."""
        found = self.site.calls.describe(TUNING, self.name)
        if found is None:
            return _NEVER
        names = [each["TrainingJobName"] for each in self.site.calls.trials(self.name)]
        trials = [self.site.calls.describe(TRAINING, name) for name in names]
        bills = [training_bill(each, self.site.prices) for each in trials if each is not None]
        status = tuning_status(found, self.why, time.time())
        best = found.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric", {})
        metrics = {best["MetricName"]: float(best["Value"])} if best else {}
        return Ended(found["HyperParameterTuningJobArn"], total(bills, status.seconds), metrics)

    @property
    def output(self) -> str:
        """Put together by us."""
        return folder_of(self.name, "result")

    def assemble(self, seconds: float) -> bool:
        """trials.json, best.json and metrics.json, as a search on this machine leaves them."""
        found = self.site.calls.trials(self.name)
        notes = {
            each["TrainingJobName"]: f"{model_output(each['TrainingJobName'])}/trial.json" for each in found
        }
        told = self.site.store.read_many(list(notes.values()))
        trials = {name: json.loads(told[path]) for name, path in notes.items() if path in told}
        for file, document in tuning.results(found, self._search, seconds, trials).items():
            self.site.store.write_json(f"{self.output}/{file}", document)
        return True

    def log(self, position: int) -> LogChunk:
        """A line for each trial that ended."""
        return chunk(tuning.progress(self.site.calls.trials(self.name), self._search), position)

    def usd_per_hour(self) -> float:
        """All trials that run at once."""
        return self.price(self.spec.machine) * int(self._search.get("parallelism", 2))

    @property
    def _search(self) -> Mapping[str, Any]:
        search: Mapping[str, Any] = self.spec.job["tuning"]
        return search
