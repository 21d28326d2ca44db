"""Receivers of alerts: a real SMTP server and a real webhook receiver on loopback."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller

from tests.fakes.process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import EmailMessage

__all__ = ["SmtpServer", "WebhookServer", "smtp_server", "webhook_server"]


@dataclass
class _Inbox:
    """What has arrived, for one thread to write and another to wait for."""

    arrived: list[Any] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, each: Any) -> None:
        with self._changed:
            self.arrived.append(each)
            self._changed.notify_all()

    def wait_for(self, wanted: Callable[[Any], bool], timeout_s: float) -> Any:
        """The first arrival that ``wanted`` likes, already there or yet to come."""
        with self._changed:
            if not self._changed.wait_for(lambda: any(map(wanted, self.arrived)), timeout_s):
                raise TimeoutError(f"nothing of the kind among {len(self.arrived)} arrivals")
            return next(filter(wanted, self.arrived))


@dataclass
class WebhookServer:
    """``apprise_url`` is what a connection holds; each arrival is the body's text."""

    port: int
    inbox: _Inbox

    @property
    def apprise_url(self) -> str:
        """Apprise's JSON channel to this server."""
        return f"json://127.0.0.1:{self.port}/alerts"

    @property
    def texts(self) -> list[str]:
        """Title and message of everything that arrived."""
        return list(self.inbox.arrived)

    def wait_for(self, wanted: Callable[[str], bool], timeout_s: float = 30) -> str:
        """The first text that ``wanted`` likes."""
        return str(self.inbox.wait_for(wanted, timeout_s))


@dataclass
class SmtpServer:
    """``apprise_url`` is what a connection holds."""

    port: int
    inbox: _Inbox

    @property
    def apprise_url(self) -> str:
        """Apprise's mail channel to this server."""
        return f"mailto://127.0.0.1:{self.port}?from=night@example.org&to=ops@example.org&mode=insecure"

    def wait_for(self, wanted: Callable[[EmailMessage], bool], timeout_s: float = 30) -> EmailMessage:
        """The first mail that ``wanted`` likes."""
        found: EmailMessage = self.inbox.wait_for(wanted, timeout_s)
        return found


def _receiver(inbox: _Inbox) -> type[BaseHTTPRequestHandler]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            inbox.put(f"{body['title']}\n{body['message']}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Receiver


@pytest.fixture(scope="session")
def webhook_server() -> Iterator[WebhookServer]:
    """A receiver of Apprise's JSON posts."""
    inbox = _Inbox()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _receiver(inbox))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield WebhookServer(server.server_address[1], inbox)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def smtp_server() -> Iterator[SmtpServer]:
    """A mail server that keeps what it takes."""
    inbox = _Inbox()

    class Keep:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            inbox.put(email.message_from_bytes(envelope.content, policy=email.policy.default))
            return "250 Message accepted"

    port = free_port()
    controller = Controller(Keep(), hostname="127.0.0.1", port=port)
    controller.start()
    yield SmtpServer(port, inbox)
    controller.stop()
