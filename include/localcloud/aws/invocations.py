"""``InvokeEndpoint``: a request goes to the variant whose turn it is, its process answers, S3 keeps both."""

from __future__ import annotations

import base64
import json
import queue
import random
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from werkzeug.wrappers import Response

from localcloud.aws.endpoints import find_endpoint
from localcloud.aws.errors import AwsError
from localcloud.aws.hosting import host_of
from localcloud.aws.operations import route
from localcloud.aws.storage import split_uri

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

    from localcloud.aws.cloud import Cloud
    from localcloud.aws.records import Record
    from localcloud.aws.serving import Answer

__all__ = ["invoke"]

_ANSWER_S = 60
_FLUSH_S = 0.3
_HEADERS = {"Content-Type": "application/octet-stream", "Accept": "*/*"}
_captures: WeakKeyDictionary[Cloud, Capture] = WeakKeyDictionary()
_lock = threading.Lock()


@route("POST", r"/endpoints/(?P<name>[^/]+)/invocations", "InvokeEndpoint")
def invoke(cloud: Cloud, request: Request, name: str) -> Response:
    """Answer one request."""
    try:
        record = find_endpoint(cloud, name)
    except AwsError:
        raise AwsError("ValidationError", f"Endpoint {name} of account not found.") from None
    headers = {key: request.headers.get(key, default) for key, default in _HEADERS.items()}
    target = request.headers.get("X-Amzn-SageMaker-Target-Variant", "")
    try:
        variant, server = host_of(cloud, record).choose(target)
        model = server.server
    except (KeyError, IndexError, ValueError):
        what = f"Variant {target} not found for Request" if target else f"Endpoint {name} does not serve"
        raise AwsError("ValidationError", f"{what}.") from None
    body = request.get_data()
    answer = _asked(model, variant, body, headers)
    _capture(cloud).take(record, variant, headers, body, answer)
    shown = {"x-Amzn-Invoked-Production-Variant": variant, "x-amzn-RequestId": str(uuid4())}
    return Response(answer.body, 200, shown, content_type=answer.content_type)


def _asked(model: Any, variant: str, body: bytes, headers: dict[str, str]) -> Answer:
    """:raises AwsError: as AWS answers for a container that refuses, or does not answer in a minute."""
    try:
        answer: Answer = model.invoke(body, headers, _ANSWER_S)
    except OSError as error:
        raise AwsError("ModelError", f"Received no answer from {variant}: {error}", 424) from None
    if answer.status >= 300:
        kind = "client" if answer.status < 500 else "server"
        told = answer.body.decode(errors="replace")[:500]
        message = f'Received {kind} error ({answer.status}) from primary with message "{told}".'
        raise AwsError("ModelError", message, 424)
    return answer


def _capture(cloud: Cloud) -> Capture:
    with _lock:
        if cloud not in _captures:
            _captures[cloud] = Capture(cloud)
        return _captures[cloud]


class Capture:
    """Writes what is captured to S3 as JSON lines, a few times a second; AWS does it every few minutes."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._waiting: queue.Queue[tuple[str, str]] = queue.Queue()
        self._random = random.Random(0)
        threading.Thread(target=self._flush, daemon=True, name="capture").start()

    def take(
        self, record: Record, variant: str, headers: dict[str, str], body: bytes, answer: Answer
    ) -> None:
        """Keep a request and its answer, if it is one of those to be kept."""
        wanted = record.shown.get("DataCaptureConfig")
        if not wanted or not wanted["EnableCapture"]:
            return
        if self._random.random() * 100 >= wanted["CurrentSamplingPercentage"]:
            return
        config = self._cloud.records.find("endpoint-config", record.shown["EndpointConfigName"])
        said = config.request["DataCaptureConfig"] if config else {}
        hour = time.strftime("%Y/%m/%d/%H", time.gmtime())
        place = f"{wanted['DestinationS3Uri'].rstrip('/')}/{record.name}/{variant}/{hour}"
        self._waiting.put((place, _line(said, headers["Content-Type"], body, answer)))

    def _flush(self) -> None:
        while not self._cloud.closing.wait(_FLUSH_S):
            lines: dict[str, list[str]] = defaultdict(list)
            while not self._waiting.empty():
                place, line = self._waiting.get()
                lines[place].append(line)
            for place, found in lines.items():
                stamp = time.strftime("%M-%S", time.gmtime())
                bucket, key = split_uri(f"{place}/{stamp}-{uuid4().hex[:8]}.jsonl")
                self._cloud.s3().put_object(Bucket=bucket, Key=key, Body="".join(found).encode())


def _line(said: dict[str, Any], content_type: str, body: bytes, answer: Answer) -> str:
    """One event as Model Monitor reads it."""
    modes = {each["CaptureMode"] for each in said.get("CaptureOptions", ())}
    data = {}
    if modes & {"Input", "InputAndOutput"}:
        data["endpointInput"] = _part(said, content_type, "INPUT", body)
    if modes & {"Output", "InputAndOutput"}:
        data["endpointOutput"] = _part(said, answer.content_type, "OUTPUT", answer.body)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    meta = {"eventId": str(uuid4()), "inferenceTime": now}
    return json.dumps({"captureData": data, "eventMetadata": meta, "eventVersion": "0"}) + "\n"


def _part(said: dict[str, Any], content_type: str, mode: str, data: bytes) -> dict[str, str]:
    kind = content_type.split(";")[0].strip()
    as_text = said.get("CaptureContentTypeHeader", {})
    named = {"JSON": as_text.get("JsonContentTypes", ()), "CSV": as_text.get("CsvContentTypes", ())}
    encoding = next((name for name, kinds in named.items() if kind in kinds), "BASE64")
    text = data.decode() if encoding != "BASE64" else base64.b64encode(data).decode()
    return {"observedContentType": kind, "mode": mode, "data": text, "encoding": encoding}
