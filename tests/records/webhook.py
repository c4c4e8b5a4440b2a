"""A webhook that keeps what it is told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any


class Webhook(ThreadingHTTPServer):
    """Answers every POST with a status, and keeps what was posted.

    Attributes:
        drips: Whether its answers never come to an end.
        posted: What was posted, from JSON.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.drips = False
        self.ended = Event()
        self.posted: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        """As Apprise names it; its last part is a secret."""
        return f"json://127.0.0.1:{self.server_port}/recognizable-token"


class Handler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()
        while self.server.drips and not self.server.ended.wait(0.1):
            self.wfile.write(b".")
            self.wfile.flush()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    """Run a webhook for the time of a with block."""
    with Webhook() as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
