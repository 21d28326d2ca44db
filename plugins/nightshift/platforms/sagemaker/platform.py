"""Jobs on Amazon SageMaker."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nightshift.errors import AccountingError, JobFailed, JobLost, PlatformUnavailable
from nightshift.platforms.base import (
    Failure,
    JobRef,
    JobResult,
    JobSpec,
    JobState,
    LogChunk,
    Platform,
    TaggedJob,
)
from nightshift.platforms.sagemaker.calls import TRAINING, TRANSFORM, TUNING, Calls
from nightshift.platforms.sagemaker.channels import local_folder
from nightshift.platforms.sagemaker.fetching import fetch
from nightshift.platforms.sagemaker.finding import names_with
from nightshift.platforms.sagemaker.prices import read_prices
from nightshift.platforms.sagemaker.score import Score
from nightshift.platforms.sagemaker.site import Site
from nightshift.platforms.sagemaker.store import JobsStore, folder_of
from nightshift.platforms.sagemaker.work import Training, Tuning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nightshift.platforms.base import JobStatus
    from nightshift.platforms.sagemaker.calls import Client, Kind
    from nightshift.platforms.sagemaker.config import SageMakerConfig
    from nightshift.platforms.sagemaker.work import Ended, Work

__all__ = ["SageMakerPlatform"]

_LIMITS = {"tune": 32, "score": 60}
_LONGEST_NAME = 63
_WORK: Mapping[str, type[Work]] = {"tune": Tuning, "score": Score}
_PAGES = {"tune": TUNING, "score": TRANSFORM}
_NOTE, _DONE = "platform.json", "_SUCCESS"
_TAIL_MS = 120_000


class SageMakerPlatform(Platform):
    """Jobs as SageMaker's training, tuning and transform jobs, named as we say.

    :param client: gives a boto3 client for a service's name.
    :param storage: gives object store settings for ``config.jobs_uri``.
    :param jobs_dir: the folder that holds the package ``jobs``.
    :param cache: where outputs are brought to.
    """

    name = "sagemaker"
    end_s = 600.0  # two minutes until it is killed, and then its outputs are uploaded

    def __init__(
        self,
        config: SageMakerConfig,
        region: str,
        client: Client,
        storage: Callable[[], Mapping[str, str]],
        *,
        jobs_dir: Path,
        cache: Path,
    ) -> None:
        self.config = config
        self.region = region
        self.poll_s = config.poll_s
        self.late_s = config.late_s
        self.cache = cache
        store = JobsStore(config.jobs_uri, storage)
        prices = read_prices(config.prices, region)
        self.site = Site(config, region, client, Calls(client), store, prices, jobs_dir)
        self._documents: dict[str, dict[str, Any]] = {}

    def name_limit(self, kind: str) -> int:
        """A tuning job's name has 32 characters at most, and the first stage of a score job one more word."""
        return _LIMITS.get(kind, _LONGEST_NAME)

    def what_runs(self, kind: str) -> str:
        """The image, and how its job is started."""
        config = self.config
        image = config.serve_image or config.image if kind == "score" else config.image
        return f"{image} in script mode" if config.script_mode else image

    def submit(self, spec: JobSpec, name: str) -> JobRef:
        """Write down what to run, upload what it reads, ask for it; or mean the job of that name."""
        ref = JobRef(self.name, name)
        before = self._work(name)
        if before is not None and before.look() is not None:
            return ref  # also of a job that was to be stopped before there was one
        work = _WORK.get(spec.kind, Training)(self.site, name, spec)
        work.prepare()
        work.usd_per_hour()  # warns of a price that is not known
        self._documents.pop(name, None)
        self.site.store.write_json(folder_of(name, "spec.json"), self._document(spec))
        work.start()
        if work.why() is not None:
            work.stop()
        return ref

    @staticmethod
    def _document(spec: JobSpec) -> dict[str, Any]:
        return {
            **spec.to_dict(),
            "fingerprint": spec.fingerprint,
            "machine": asdict(spec.machine),
            "submitted_at": time.time(),
        }

    def status(self, ref: JobRef) -> JobStatus | None:
        """SageMaker's word; of a score job whose features are done, the second stage is started.

        A job whose outputs cannot be put together has failed.
        """
        work = self._work(ref.name)
        status = None if work is None else work.advance()
        return status if work is None or status is None else self._accounted(work, status)

    async def status_async(self, ref: JobRef) -> JobStatus | None:
        """SageMaker's word; putting outputs together is nothing for a triggerer."""
        work = await asyncio.to_thread(self._work, ref.name)
        return None if work is None else await asyncio.to_thread(work.advance)

    def stop(self, ref: JobRef, reason: str = "asked to stop") -> None:
        """Write down why, then ask SageMaker.

        Whoever is just submitting the job looks for the reason after SageMaker was asked for the job, and we
        write it before we ask for its end: one of the two stops it.
        """
        work = self._work(ref.name)
        status = None if work is None else work.look()
        if work is None or (status is not None and status.state.is_terminal):
            return
        self.site.ask_to_stop(ref.name, reason)
        work.stop()

    def logs(self, ref: JobRef, position: int = 0) -> LogChunk:
        """Lines that CloudWatch has from ``position`` on."""
        work = self._work(ref.name)
        return LogChunk((), position) if work is None else work.log(position)

    def last_lines(self, ref: JobRef, count: int) -> tuple[str, ...]:
        """The end of the log, without reading all of it where that suffices."""
        work = self._work(ref.name)
        status = None if work is None else work.look()
        if status is None:
            return ()
        started = status.submitted_at * 1000
        recent = int(started + max(0.0, status.seconds * 1000 - _TAIL_MS)) * 10_000
        lines = self._all_lines(ref, recent)
        return (lines if len(lines) >= count else self._all_lines(ref, 0))[-count:]

    def _all_lines(self, ref: JobRef, position: int) -> tuple[str, ...]:
        lines: tuple[str, ...] = ()
        while True:
            found = self.logs(ref, position)
            if not found.lines:
                return lines
            lines, position = lines + found.lines, found.position

    def result(self, ref: JobRef) -> JobResult:
        """Outputs, cost and metrics; put together once, and found again."""
        work = self._work(ref.name)
        status = None if work is None else work.look()
        if work is None or status is None:
            raise JobLost(f"job {ref.name} is not known to {self.name}")
        status = self._accounted(work, status)
        note = self.site.store.read_json(f"{work.output}/{_NOTE}")
        if note is None:
            note = self._conclude(work, status)
        return JobResult(
            self.site.store.uri(work.output),
            seconds=note["seconds"],
            billable_seconds=note["billable_seconds"],
            cost_usd=note["cost_usd"] or 0.0,
            saved_usd=note["saved_usd"],
        )

    def _accounted(self, work: Work, status: JobStatus) -> JobStatus:
        """Outputs that are for us to put together are put together, or the job has failed of them.

        That is written down: what does not fit today does not fit tomorrow, and needs another job.
        """
        if isinstance(work, Training) or status.state is not JobState.SUCCEEDED:
            return status
        if self.site.store.exists(f"{work.output}/{_DONE}"):
            return status
        try:
            self._conclude(work, status)
        except (AccountingError, JobFailed) as error:
            return work.fail(status, Failure.USER_CODE, str(error))
        return status

    def _conclude(self, work: Work, status: JobStatus) -> dict[str, Any]:
        """Write what there is to know of the job beside its outputs, once it has ended."""
        ended = work.ended()
        note = self._note(work, ended)
        if not status.state.is_terminal:
            return note
        assembled = status.state is JobState.SUCCEEDED and work.assemble(ended.bill.seconds)
        self.site.store.write_json(f"{work.output}/{_NOTE}", note)
        if assembled:
            self.site.store.write(f"{work.output}/{_DONE}", b"")
            work.tidy()
        return note

    def _note(self, work: Work, ended: Ended) -> dict[str, Any]:
        return {
            "job": work.name,
            "arn": ended.arn,
            "kind": work.spec.kind,
            **asdict(ended.bill),
            "price_date": self.site.prices.date,
            "price_region": self.site.prices.region,
            "region": self.region,
            "metrics": dict(ended.metrics),
            "console_url": self._page(work.kind, work.name),
        }

    def fetch(self, uri: str) -> Path:
        """A copy of the folder on this machine."""
        if urlsplit(uri).scheme in ("", "file"):
            return local_folder(uri)
        return fetch(self.site.store.at(uri), self.cache)

    def submitted(self, ref: JobRef) -> JobSpec | None:
        """What was written down before the job was asked for."""
        document = self._read(ref.name)
        return None if document is None else JobSpec.from_dict(document)

    def find(self, tags: Mapping[str, str], *, live: bool = False) -> list[TaggedJob]:
        """By the tags of all that SageMaker runs for us; exact ones are in the job's own folder."""
        found = (self._tagged(name) for name in names_with(self.site.calls, self._read, tags, live=live))
        return [
            job
            for job in found
            if job is not None
            and tags.items() <= job.tags.items()
            and not (live and job.status.state.is_terminal)
        ]

    def _tagged(self, name: str) -> TaggedJob | None:
        """None for a job of another deployment in the same account."""
        work = self._work(name)
        status = None if work is None else work.look()
        if work is None or status is None:
            return None
        ref, spec = JobRef(self.name, name), work.spec
        return TaggedJob(ref, spec.tags, status, spec.max_runtime_s, work.usd_per_hour())

    def console_url(self, ref: JobRef) -> str | None:
        """The job's page in AWS's console."""
        try:
            document = self._read(ref.name)
        except PlatformUnavailable:
            return None
        kind = _PAGES.get((document or {}).get("kind", ""), TRAINING)
        return self._page(kind, ref.name)

    def _page(self, kind: Kind, name: str) -> str:
        host = "amazonaws.cn" if self.region.startswith("cn-") else "aws.amazon.com"
        host = "amazonaws-us-gov.com" if self.region.startswith("us-gov-") else host
        return f"https://{self.region}.console.{host}/sagemaker/home?region={self.region}#/{kind.page}/{name}"

    def _work(self, name: str) -> Work | None:
        """The job of that name as it was written down, None where it never was."""
        document = self._read(name)
        if document is None:
            return None
        return _WORK.get(document["kind"], Training)(self.site, name, JobSpec.from_dict(document))

    def _read(self, name: str) -> dict[str, Any] | None:
        if name not in self._documents:
            found = self.site.store.read_json(folder_of(name, "spec.json"))
            if found is None:
                return None
            self._documents[name] = found
        return self._documents[name]
