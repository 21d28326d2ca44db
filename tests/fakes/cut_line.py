"""A line to an HTTP server that can be cut at a chosen request, before the server gets it or after."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CutLine", "cut_line"]

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class CutLine(ThreadingHTTPServer):
    """Passes requests on to ``server`` and counts them; cut, it closes every connection without a word."""

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.target = urlsplit(server).netloc
        self._lock = threading.Lock()
        self.mend()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def mend(self) -> None:
        """Let everything pass, and count from 0."""
        self.passed = 0
        self._cut_at: int | None = None
        self._lose_reply = False

    def cut(self, at: int, *, lose_reply: bool = False) -> None:
        """Cut it at the request of that number, counted from 0, and leave it cut.

        :param lose_reply: the server still gets that request; only its answer is lost.
        """
        self.mend()
        self._cut_at, self._lose_reply = at, lose_reply

    def admit(self) -> tuple[bool, bool]:
        """Whether the next request goes through, and whether its answer comes back."""
        with self._lock:
            number, self.passed = self.passed, self.passed + 1
        if self._cut_at is None or number < self._cut_at:
            return True, True
        return self._lose_reply and number == self._cut_at, False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Passage(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CutLine

    def _pass(self) -> None:
        goes, comes_back = self.server.admit()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer, data = self._ask(body) if goes else (None, b"")
        self.close_connection = True
        if answer is None or not comes_back:
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        line = http.client.HTTPConnection(self.server.target, timeout=60)
        try:
            line.request(self.command, self.path, body, headers)
            answer = line.getresponse()
            return answer, answer.read()
        finally:
            line.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _pass

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@contextmanager
def cut_line(server: str) -> Iterator[CutLine]:
    """A line to ``server`` for the length of a ``with``."""
    line = CutLine(server)
    thread = threading.Thread(target=line.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        line.shutdown()
        line.server_close()
        thread.join()
