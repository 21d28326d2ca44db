"""``python -m jobs.serve``: a saved model behind SageMaker's three addresses, for endpoints and transforms.

``GET /ping`` says that the model is loaded, ``GET /execution-parameters`` what a transform should send at
once, ``POST /invocations`` scores rows (see :mod:`jobs.rows`). The model lies in ``model/model`` below
``/opt/ml`` (or ``$SAGEMAKER_BASE_DIR``), the job it is served for in ``model/job.json``. It listens on
``$SAGEMAKER_BIND_TO_HOST`` (loopback) and ``$SAGEMAKER_BIND_TO_PORT`` (8080).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import models, rows
from jobs.contract import BadInput, say
from jobs.score import predict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from jobs.models import Scorer

__all__ = ["Served", "application", "main"]

_MIB = 2**20
_BODY_MIB, _PAYLOAD_MIB = 100, 6
"""The largest body there can be in a transform, and what SageMaker takes when nobody says how much."""
_AT_ONCE = 4
_BODY_S = 120
"""A client that stops in the middle of a body takes the place of another that long."""
_GRACE_S = 25
"""SageMaker kills a container 30 s after it asked it to end."""
_BATCH_ROWS = 16_384
_BACKLOG = 256


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is loaded, the columns that it reads (name -> MLflow type), and what it was made for."""

    model: Scorer
    columns: Mapping[str, str]
    name: str
    batch_rows: int

    @classmethod
    def load(cls, base: Path) -> Served:
        """Load what lies in ``<base>/model``: a folder ``model`` there, or an MLflow model itself.

        :raises BadInput: when there is none.
        """
        folder = base / "model"
        folder = folder / "model" if (folder / "model").is_dir() else folder
        model = models.load(folder)
        job = _job(base / "model" / "job.json")
        name = " ".join(str(job[key]) for key in ("pipeline", "partition") if key in job)
        batch_rows = (job.get("scoring") or {}).get("batch_rows", _BATCH_ROWS)
        return cls(model, models.signature(folder).get("inputs", {}), name or folder.name, batch_rows)

    def answer(self, body: bytes, kind: str, wanted: str, *, header: bool = True) -> bytes:
        """Score the rows of a body; one row of the answer for each, in order.

        :raises BadRow: when a row is not what the model takes.
        """
        predictions: list[float] = []
        ids: list[Any] | None = None
        for part in rows.read(body, kind, self.columns, self.batch_rows):
            names = part.ids or range(len(predictions), len(predictions) + len(part.frame))
            predictions += predict(self.model, part.frame, names).tolist()
            if part.ids is not None:
                ids = ids or []
                ids += part.ids
        return rows.write(wanted, ids, predictions, header=header)


def _job(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def application(served: Served, body_mib: int = _BODY_MIB) -> Starlette:
    """The three addresses around a model."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    at_once = max(1, min(_AT_ONCE, len(os.sched_getaffinity(0))))
    turns = asyncio.Semaphore(at_once)

    async def ping(_: Request) -> Response:
        return Response(b"\n")

    async def parameters(_: Request) -> Response:
        told = {"MaxConcurrentTransforms": at_once, "BatchStrategy": "MULTI_RECORD"}
        return JSONResponse(told | {"MaxPayloadInMB": min(_PAYLOAD_MIB, body_mib)})

    async def invocations(request: Request) -> Response:
        said, accepted = request.headers.get("content-type", ""), request.headers.get("accept", "")
        kind = rows.media_type(said)
        if kind is None:
            return _refused(415, f"the content type {said!r} is none of {', '.join(rows.KINDS)}")
        wanted = rows.media_type(accepted) or (kind if accepted in ("", "*/*") else None)
        if wanted is None:
            return _refused(406, f"none of {accepted!r} can be given; accept one of {', '.join(rows.KINDS)}")
        async with turns:  # before the body is read: so many are in memory at once
            try:
                async with asyncio.timeout(_BODY_S):
                    body = await _body(request, body_mib * _MIB)
            except TimeoutError:
                return _refused(408, f"the body did not come within {_BODY_S} s")
            if body is None:
                return _refused(413, f"the body is over {body_mib} MiB; send the rows in several requests")
            header = "header=absent" not in accepted.replace(" ", "")
            return await run_in_threadpool(_invoke, served, body, kind, wanted, header)

    return Starlette(
        routes=[
            Route("/ping", ping),
            Route("/execution-parameters", parameters),
            Route("/invocations", invocations, methods=["POST"]),
        ]
    )


async def _body(request: Request, limit: int) -> bytes | None:
    """The body, or None for one that is too large, which is read to its end and forgotten."""
    body = bytearray()
    too_large = int(request.headers.get("content-length") or 0) > limit
    async for chunk in request.stream():
        too_large = too_large or len(body) + len(chunk) > limit
        if too_large:
            body.clear()
        else:
            body += chunk
    return None if too_large else bytes(body)


def _invoke(served: Served, body: bytes, kind: str, wanted: str, header: bool) -> Response:
    from starlette.responses import Response

    try:
        return Response(served.answer(body, kind, wanted, header=header), media_type=wanted)
    except rows.BadRow as error:
        return _refused(400, str(error))
    except Exception as error:  # noqa: BLE001 - a model may raise anything, and the server goes on
        traceback.print_exc(file=sys.stdout)
        return _refused(500, f"the model failed: {type(error).__name__}: {error}")


def _refused(status: int, reason: str) -> Response:
    from starlette.responses import JSONResponse

    say(f"{status}: {reason}")
    return JSONResponse({"error": reason}, status_code=status)


def main() -> int:
    """Load the model, then serve it until SIGTERM: requests under way are answered."""
    import uvicorn

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # while the model loads
    env = os.environ
    try:
        served = Served.load(Path(env.get("SAGEMAKER_BASE_DIR") or "/opt/ml"))
        limit = int(env.get("NIGHTSHIFT_BODY_MIB", _BODY_MIB))
        host = env.get("SAGEMAKER_BIND_TO_HOST") or "127.0.0.1"
        listener = _listen(host, int(env.get("SAGEMAKER_BIND_TO_PORT") or 8080))
    except BadInput as error:
        say(f"bad input: {error}")
        return 2
    config = uvicorn.Config(
        application(served, limit), log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_S
    )
    server = uvicorn.Server(config)
    # uvicorn has a handler of its own while it runs; this one is for before that, and for after it, when
    # uvicorn raises the signal once more.
    signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))
    say(f"serves {served.name} on {host}:{listener.getsockname()[1]}")
    server.run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        raise BadInput(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


if __name__ == "__main__":
    sys.exit(main())
