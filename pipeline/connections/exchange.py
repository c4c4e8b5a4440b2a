"""A request and its answer, between a connection and the application: ASGI 3.0."""

import asyncio
import logging
from http import HTTPStatus
from time import perf_counter

from starlette.types import Message, Scope

from pipeline.connections.connection_pool import PooledConnection
from pipeline.connections.request_parser import Head

ASGI = {"version": "3.0", "spec_version": "2.3"}
STATUS_LINES = {
    status.value: f"HTTP/1.1 {status} {status.phrase}\r\n".encode()
    for status in HTTPStatus
}
# Where the state of a request says when it was there as a whole (perf_counter).
ARRIVED = "arrived"
# Their answers have no body.
BODILESS = (204, 304)

log = logging.getLogger("pipeline")


class Exchange:
    """One request, which has come whole, and the answer that the application sends.

    The head of the answer is written with the first piece of its body, so that most
    answers are one packet.

    Attributes:
        keep_alive: Whether another request may follow.
        start: The message that the answer began with.
        is_begun: Whether the head of the answer is written.
        is_complete: Whether the answer is.
        is_lost: Whether nobody waits for it.
    """

    __slots__ = (
        "connection",
        "head",
        "body",
        "arrived",
        "keep_alive",
        "start",
        "is_begun",
        "is_complete",
        "is_lost",
        "is_chunked",
        "missing_bytes",
        "over",
        "task",
    )

    def __init__(self, connection: PooledConnection, head: Head, body: bytes) -> None:
        self.connection = connection
        self.head = head
        self.body: bytes | None = body
        self.arrived = perf_counter()
        self.keep_alive = head.keep_alive
        self.start: Message | None = None
        self.is_begun = self.is_complete = self.is_lost = self.is_chunked = False
        self.missing_bytes = 0
        self.over: asyncio.Event | None = None

    def begin(self) -> None:
        """Let the application answer."""
        if not self.is_lost:
            self.task = self.connection.pool.loop.create_task(self.run())

    async def run(self) -> None:
        head = self.head
        scope: Scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": head.version,
            "method": head.method,
            "scheme": "http",
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.headers,
            "state": {ARRIVED: self.arrived},
        }
        try:
            await self.connection.pool.app(scope, self.receive, self.send)
            if not self.is_complete and not self.is_lost:
                raise RuntimeError("It ended before its answer did.")
        except Exception:
            log.exception("The application failed to answer.")
            if not self.is_complete and not self.is_lost:
                self.connection.fail()

    async def receive(self) -> Message:
        """Give the application the request, and tell it when nobody waits any more."""
        if self.body is not None:
            body, self.body = self.body, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self.is_complete and not self.is_lost:
            self.over = self.over or asyncio.Event()
            await self.over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a piece of the answer.

        Raises:
            RuntimeError: It is not what should come next.
        """
        connection = self.connection
        if connection.writable:
            await connection.writable.wait()
        if self.is_lost or connection.transport.is_closing():
            return
        kind = message["type"]
        if self.start is None:
            if kind != "http.response.start":
                raise RuntimeError(f"The answer begins with {kind}.")
            self.start = message
            return
        if kind != "http.response.body" or self.is_complete:
            raise RuntimeError(f"{kind} is not what comes next in the answer.")
        body = message.get("body", b"")
        is_last = not message.get("more_body", False)
        begun = b""
        if not self.is_begun:
            begun = self.make_head(self.start, len(body) if is_last else None)
        if self.is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk + b"0\r\n\r\n" if is_last else chunk
        elif self.has_body():
            self.missing_bytes -= len(body)
            if self.missing_bytes < 0 or (is_last and self.missing_bytes):
                raise RuntimeError("The answer is not as long as it announced.")
        else:
            body = b""
        if begun or body:
            self.is_begun = True
            connection.transport.write(begun + body)
        if is_last:
            self.is_complete = True
            if self.over:
                self.over.set()
            connection.finish()

    def make_head(self, start: Message, body_bytes: int | None) -> bytes:
        """Make the head of the answer, and decide how the end of its body is told.

        Args:
            body_bytes: How long the body is, if that is known.
        """
        is_framed = False
        headers = []
        for name, value in start["headers"]:
            if name == b"content-length":
                self.missing_bytes = int(value)
                is_framed = True
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
                continue
            headers.append(b"%b: %b\r\n" % (name, value))
        if not is_framed and start["status"] not in BODILESS:
            if body_bytes is not None:
                self.missing_bytes = body_bytes
                headers.append(b"content-length: %d\r\n" % body_bytes)
            else:
                self.is_chunked = self.head.method != "HEAD"
                headers.append(b"transfer-encoding: chunked\r\n")
        pool = self.connection.pool
        if pool.is_ending:
            self.keep_alive = False
        if not self.keep_alive:
            headers.append(b"connection: close\r\n")
        lines = b"".join(headers)
        if lines.count(b"\n") + lines.count(b"\r") != 2 * len(headers):
            raise RuntimeError("A header of the answer has more than one line.")
        return b"%b%b%b\r\n" % (STATUS_LINES[start["status"]], pool.headers, lines)

    def has_body(self) -> bool:
        assert self.start is not None
        return self.head.method != "HEAD" and self.start["status"] not in BODILESS

    def lose(self) -> None:
        """Tell the application that nobody waits for its answer."""
        self.is_lost = True
        if self.over:
            self.over.set()
