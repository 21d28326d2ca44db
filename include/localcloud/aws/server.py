"""The server: SeaweedFS, moto behind the front door, the seeds; in the foreground until it is told to end."""

from __future__ import annotations

import fcntl
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from localcloud.aws.cloud import Cloud, client_for
from localcloud.aws.ended import bury
from localcloud.aws.gateway import Gateway
from localcloud.aws.home import ACCESS_KEY, SECRET_KEY, write_json
from localcloud.aws.s3 import seaweedfs
from localcloud.aws.seeds import card, seed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from localcloud.aws.home import Settings

__all__ = ["serve"]


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; the card is written when everything answers."""
    told = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: told.set())
    settings.home.mkdir(parents=True, exist_ok=True)
    with _alone(settings.home), seaweedfs(settings.home / "s3", settings.s3_port, ACCESS_KEY, SECRET_KEY):
        settings.card.unlink(missing_ok=True)
        cloud = Cloud(settings)
        bury(cloud)
        http = _http(cloud)
        try:
            seed(settings, lambda service: client_for(service, _endpoint(settings, service)))
            cloud.calls.clear()
            write_json(
                settings.home / "ports.json",
                {"endpoint": settings.endpoint, "s3_endpoint": settings.s3_endpoint},
            )
            write_json(settings.card, card(settings))
            sys.stdout.write(
                f"ready: {settings.endpoint}, S3 at {settings.s3_endpoint}, see {settings.card}\n"
            )
            sys.stdout.flush()
            told.wait()
        finally:
            cloud.close()
            http.shutdown()


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """:raises SystemExit: when another server lives in that folder."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another loopback AWS lives in {home}: end it first, or take another --home")
        yield


def _endpoint(settings: Settings, service: str) -> str:
    return settings.s3_endpoint if service == "s3" else settings.endpoint


def _http(cloud: Cloud) -> Any:
    """Listen, in a thread."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """The log of calls has it."""

        def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
            """A lost reply: the client sees the connection end."""
            self.close_connection = True

    application = Gateway(cloud, DomainDispatcherApplication(create_backend_app))
    http = make_server("127.0.0.1", cloud.settings.port, application, threaded=True, request_handler=Quiet)
    threading.Thread(target=http.serve_forever, daemon=True, name="http").start()
    return http
