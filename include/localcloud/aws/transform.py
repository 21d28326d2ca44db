"""How a batch transform runs: the model's server, the input in pieces, the answers put together again."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws.ended import outcome
from localcloud.aws.errors import JobError
from localcloud.aws.models import find_model
from localcloud.aws.serving import ModelServer
from localcloud.aws.storage import entries_of, need_bucket, split_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from localcloud.aws.cloud import Cloud
    from localcloud.aws.logs import JobLog
    from localcloud.aws.records import Record
    from localcloud.aws.serving import Answer
    from localcloud.aws.storage import Entry

__all__ = ["batches", "run_transform"]

_MIB = 1024 * 1024
_DEFAULT_PAYLOAD_MB = 6
_DEFAULT_RETRIES = 3


def run_transform(cloud: Cloud, job: Record) -> None:
    """Run a transform job from its first moment to its last."""
    ended, reason = outcome(cloud, job, lambda: _work(cloud, job))
    failure = {"FailureReason": reason} if reason else {}
    cloud.records.change(job, TransformJobStatus=ended, TransformEndTime=time.time(), **failure)


def _work(cloud: Cloud, job: Record) -> str:
    """The status that the job ends with."""
    began = time.time()
    cloud.records.change(job, TransformStartTime=began)
    model = find_model(cloud, job.request["ModelName"])
    log = cloud.logs.open("/aws/sagemaker/TransformJobs", job.name)
    stream = f"i-{int(began * 1000):017x}-{int(began * 1000)}"
    server = ModelServer(cloud, model, job.name, lambda line: log.line(stream, line))
    over = threading.Event()
    threading.Thread(target=_interrupt, args=(job, server, over), daemon=True).start()
    try:
        if not server.start(_environment(job), job.stop.is_set):
            return "Stopped"
        return _Pass(cloud, job, server, log, f"{stream}/data-log").run()
    finally:
        over.set()
        server.stop()
        log.close()


def _interrupt(job: Record, server: ModelServer, over: threading.Event) -> None:
    """A stop does not wait for an answer that may take minutes."""
    while not over.wait(0.1):
        if job.stop.is_set():
            server.kill()
            return


def _environment(job: Record) -> dict[str, str]:
    """What the service tells a container about the transform, and what the job adds."""
    own = {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(job.request.get("MaxPayloadInMB", _DEFAULT_PAYLOAD_MB)),
    }
    if "BatchStrategy" in job.request:
        own["SAGEMAKER_BATCH_STRATEGY"] = job.request["BatchStrategy"]
    if "MaxConcurrentTransforms" in job.request:
        own["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(job.request["MaxConcurrentTransforms"])
    return {**own, **job.request.get("Environment", {})}


@dataclass(slots=True)
class _Pass:
    """One pass over the input."""

    cloud: Cloud
    job: Record
    server: ModelServer
    log: JobLog
    stream: str

    def run(self) -> str:
        """Transform object by object; one that the container turns down does not keep the others from it.

        :raises JobError: at the end, when there was such an object.
        """
        need_bucket(self.cloud.s3(), self.job.request["TransformOutput"]["S3OutputPath"])
        wishes = self.server.execution_parameters()
        workers = (
            self.job.request.get("MaxConcurrentTransforms") or wishes.get("MaxConcurrentTransforms") or 1
        )
        wishes |= self.job.request
        failures = []
        source = self.job.request["TransformInput"]["DataSource"]["S3DataSource"]
        instances = self.job.request["TransformResources"]["InstanceCount"]
        with ThreadPoolExecutor(int(workers) * instances) as pool:
            for entry in entries_of(self.cloud.s3(), source):
                try:
                    self._transform(pool, entry, wishes)
                except JobError as error:
                    failures.append(error)
                if self.job.stop.is_set():
                    return "Stopped"
        if failures:
            raise failures[0]
        return "Completed"

    def _transform(self, pool: ThreadPoolExecutor, entry: Entry, wishes: dict[str, Any]) -> None:
        body = self.cloud.s3().get_object(Bucket=entry.bucket, Key=entry.key)["Body"].read()
        pieces = list(self._pieces(entry, body, wishes))
        answers = list(pool.map(lambda piece: self._ask(entry, piece), pieces))
        if not self.job.stop.is_set():
            self._write(entry, [answer for answer in answers if answer is not None])

    def _pieces(self, entry: Entry, body: bytes, wishes: dict[str, Any]) -> Iterator[bytes]:
        limit = int(wishes.get("MaxPayloadInMB", _DEFAULT_PAYLOAD_MB)) * _MIB
        split = self.job.request["TransformInput"].get("SplitType", "None")
        many = wishes.get("BatchStrategy", "MultiRecord") == "MultiRecord"
        for piece in batches(body, limit, many=many) if split == "Line" else [body]:
            if limit and len(piece) > limit:
                self._tell(entry, f"ClientError: a record of {len(piece)} bytes exceeds MaxPayloadInMB")
                raise JobError("ClientError: See job logs for more information")
            yield piece

    def _ask(self, entry: Entry, piece: bytes) -> bytes | None:
        """The answer to one piece; None once the job was stopped."""
        config = self.job.request.get("ModelClientConfig", {})
        for _ in range(config.get("InvocationsMaxRetries", _DEFAULT_RETRIES) + 1):
            self.cloud.check()
            if self.job.stop.is_set():
                return None
            answer = self._invoke(piece, config.get("InvocationsTimeoutInSeconds", 600))
            if answer is not None and answer.status == 200:
                return answer.body
            status = answer.status if answer else "no answer"
            self._tell(entry, f"Bad HTTP status received from algorithm: {status}")
            if answer:
                self._tell(entry, answer.body.decode(errors="replace")[:1000])
                if answer.status < 500:
                    raise JobError("ClientError: See job logs for more information")
        if self.job.stop.is_set():
            return None
        raise JobError("AlgorithmError: See job logs for more information")

    def _invoke(self, piece: bytes, timeout_s: float) -> Answer | None:
        headers = {
            "Content-Type": self.job.request["TransformInput"].get("ContentType", "application/octet-stream"),
            "Accept": self.job.request["TransformOutput"].get("Accept", "*/*"),
        }
        try:
            return self.server.invoke(piece, headers, timeout_s)
        except OSError:
            return None

    def _write(self, entry: Entry, answers: list[bytes]) -> None:
        output = self.job.request["TransformOutput"]
        lines = output.get("AssembleWith") == "Line"
        body = b"".join(a if not lines or a.endswith(b"\n") else a + b"\n" for a in answers)
        bucket, prefix = split_uri(output["S3OutputPath"].rstrip("/") + "/")
        self.cloud.s3().put_object(Bucket=bucket, Key=f"{prefix}{entry.path}.out", Body=body)

    def _tell(self, entry: Entry, text: str) -> None:
        for line in text.splitlines():
            self.log.line(self.stream, f"[sagemaker logs]: {entry.bucket}/{entry.key}: {line}")


def batches(body: bytes, limit: int, *, many: bool) -> Iterator[bytes]:
    """Lines, each alone or as many as fit into ``limit`` bytes (0: no limit)."""
    waiting: list[bytes] = []
    size = 0
    for line in body.splitlines(keepends=True):
        if waiting and (not many or (limit and size + len(line) > limit)):
            yield b"".join(waiting)
            waiting, size = [], 0
        waiting.append(line)
        size += len(line)
    if waiting:
        yield b"".join(waiting)
