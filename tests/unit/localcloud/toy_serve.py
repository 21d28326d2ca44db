"""A model's server for tests: each line in capitals; ``fail:N`` answers status N, ``wait`` takes a minute."""

from __future__ import annotations

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["Handler"]


class Handler(BaseHTTPRequestHandler):
    """ping, execution-parameters, invocations."""

    def do_GET(self) -> None:
        self.answer(200, b'{"MaxConcurrentTransforms": 2}' if "parameters" in self.path else b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print(f"batch of {len(body.splitlines())}", flush=True)  # noqa: T201
        if "wait" in body:
            time.sleep(60)
        if "fail:" in body:
            self.answer(int(body.partition("fail:")[2][:3]), b"no good")
            return
        prefix = Path(os.environ["SAGEMAKER_BASE_DIR"], "model", "prefix").read_text()
        self.answer(200, "\n".join(prefix + line.upper() for line in body.splitlines()).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
