"""How much, how long and how many: what the service takes from its clients.

Uvicorn with httptools hands a request to the application as soon as its headers have
come, and waits without end for both. Here a request is taken whole, within limits of
size and time, before anything else sees it: whoever sends slowly, much or never holds
a connection for a few seconds and nothing more.
"""

import asyncio
import json
import resource
import socket
from enum import Enum, auto
from functools import cache
from http import HTTPStatus
from time import perf_counter
from typing import ClassVar, NoReturn

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from pipeline.service.refusal_log import RefusalLog

MAX_HEAD_BYTES = 8 * 1024
# Of 1,000 orders; endpoints that need less take less.
MAX_BODY_BYTES = 128 * 1024
# For a request to arrive, and for its answer to be taken.
MAX_SECONDS = 10
MAX_CONNECTIONS = 12_000
# Of files other than connections.
RESERVED_FILES = 100
# That have arrived and wait for their answer: less than 0.1 s of a core's work.
MAX_WAITING_REQUESTS = 500
MAX_WAITING_REQUESTS_OF_A_CONNECTION = 16
# Of answers that a client does not read: kept by the system, and here.
SEND_BUFFER_BYTES = 64 * 1024
MAX_UNREAD_BYTES = 8 * 1024
# That have more; each can make a request wait.
MAX_UNREAD_CONNECTIONS = 100
RETRY_AFTER_SECONDS = 1

# Where the state of a request says when it was there as a whole (perf_counter).
ARRIVED = "arrived"

# What is refused, by status; the documentation lists the same.
REFUSALS = {
    400: "The request is not valid HTTP or JSON.",
    408: f"The request did not arrive whole within {MAX_SECONDS} seconds.",
    413: f"The body is larger than {MAX_BODY_BYTES} bytes.",
    431: f"The request line and headers are larger than {MAX_HEAD_BYTES} bytes.",
    503: "The service has too much to do; try again after Retry-After seconds.",
}

refusal_log = RefusalLog()


class Refused(Exception):
    """Stops the parser; the parser takes it for an error of its own."""


@cache
def max_connections() -> int:
    """Allow as many open files as the operating system does; tells for how many
    connections they are enough, up to MAX_CONNECTIONS."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, files - RESERVED_FILES)


class Arrival(Enum):
    """How much of a request has come that uvicorn has not been given yet."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()
    REFUSED = auto()


class LimitedProtocol(HttpToolsProtocol):
    """One connection: uvicorn's, with limits.

    A request arrives so, while those before it may still be answered:

        NOTHING --1--> HEAD --2--> BODY --3--> NOTHING
                         ^----4------+

        1: its first byte has come;
        2: all its headers have;
        3: all its body has, and uvicorn hears of it, from its first header on;
        4: it offers to go on in another protocol: what the parser would take for that
           is parsed again as HTTP, with the head, from which the offer is taken.

    From each of them to REFUSED, and never back: too many, too much, too late or no
    HTTP.

    Attributes:
        unread: All connections that have more than MAX_UNREAD_BYTES to send.
        began: When the connection was opened, or its latest request began to arrive, or
            was refused (seconds of the loop's clock).
        answering: The latest request whose answer has begun to be made.
        arrival: How much of the next request has come.
        received_bytes: How much of it has come in earlier pieces.
        refusal: Status to refuse with what cannot be parsed.
    """

    unread: ClassVar[set["LimitedProtocol"]] = set()

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(MAX_UNREAD_BYTES)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.arrival = Arrival.NOTHING
        self.answering: RequestResponseCycle | None = None
        self.received_bytes = 0
        self.body = bytearray()
        self.refusal = 400
        self.began = self.loop.time()
        self.timer = self.loop.call_later(MAX_SECONDS, self.check_time)
        if len(self.connections) > max_connections():
            self.refuse(503)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        self.unread.discard(self)
        if self.answering:
            # Uvicorn tells the latest request alone.
            self.answering.disconnected = True
        super().connection_lost(exc)

    def check_time(self) -> None:
        """Let go of a client that makes the service wait; called from time to time."""
        rest = self.began + MAX_SECONDS - self.loop.time()
        if rest <= 0:
            rest = MAX_SECONDS
            refused = self.arrival is Arrival.REFUSED
            closing = refused or self.transport.is_closing()
            if closing or self.transport.get_write_buffer_size():
                self.transport.abort()
                return
            if self.is_arriving():
                self.refuse(408)
            elif not self.cycle:
                self.transport.close()
        self.timer = self.loop.call_later(rest, self.check_time)

    def timeout_keep_alive_handler(self) -> None:
        """Close what stays idle: empty lines between two requests do not count."""
        if not self.is_arriving() and not self.is_answering():
            super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """Let go of a client that does not read, if too many others do not."""
        super().pause_writing()
        self.unread.add(self)
        if len(self.unread) > MAX_UNREAD_CONNECTIONS:
            self.transport.abort()

    def resume_writing(self) -> None:
        self.unread.discard(self)
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self.arrival is Arrival.REFUSED:
            return
        try:
            self.parse(data)
        except HttpParserError:
            self.refuse(self.refusal)
        if self.is_arriving():
            self.received_bytes += len(data)
            in_head = self.arrival is Arrival.HEAD
            if in_head and self.received_bytes > MAX_HEAD_BYTES:
                self.refuse(431)
            elif self.received_bytes > MAX_HEAD_BYTES + MAX_BODY_BYTES:
                self.refuse(413)

    def parse(self, data: bytes) -> None:
        """Parse what has come, and decline offers to go on in another protocol.

        Java's clients make one with their first request. The parser would take what
        follows for that protocol, so it gets the head again, without the offer.
        """
        while data:
            try:
                self.parser.feed_data(data)
                data = b""
            except HttpParserUpgrade as offer:
                if self.parser.get_method() == b"CONNECT":
                    self.refuse(400)
                    return
                data = self.make_head_without_offer() + data[offer.args[0] :]

    def make_head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            if name != b"upgrade":
                lines.append(b"%b: %b\r\n" % (name, value))
        return b"".join([*lines, b"\r\n"])

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a client that says no more, but has asked."""
        if self.is_answering():
            self.cycle.keep_alive = False
            return True
        return False

    def has_spoken(self) -> bool:
        """Tell whether a request has come, or has begun to."""
        return self.arrival is not Arrival.NOTHING or self.cycle is not None

    def is_arriving(self) -> bool:
        return self.arrival in (Arrival.HEAD, Arrival.BODY)

    def is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.arrival = Arrival.HEAD
        self.received_bytes = 0
        self.body = bytearray()
        self.began = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take the headers; what follows a chunked body are none (RFC 9110, 6.5.1)."""
        if self.arrival is Arrival.HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check what is known by now; uvicorn hears of it when the request is whole."""
        self.arrival = Arrival.BODY
        head_bytes = len(self.url)
        for name, value in self.headers:
            head_bytes += len(name) + len(value)
            if name == b"content-length" and int(value) > MAX_BODY_BYTES:
                self.stop(413)
        if head_bytes > MAX_HEAD_BYTES:
            self.stop(431)
        if self.expect_100_continue and not self.parser.should_upgrade():
            self.expect_100_continue = False
            # It would stand within the answer to an earlier request.
            if not self.is_answering():
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self.body += body
        if len(self.body) > MAX_BODY_BYTES:
            self.stop(413)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        if (
            len(self.tasks) >= MAX_WAITING_REQUESTS
            or len(self.pipeline) >= MAX_WAITING_REQUESTS_OF_A_CONNECTION
        ):
            self.stop(503)
        self.arrival = Arrival.NOTHING
        self.scope["state"][ARRIVED] = perf_counter()
        super().on_headers_complete()
        super().on_body(bytes(self.body))
        super().on_message_complete()

    def _start_asgi_task(
        self, cycle: RequestResponseCycle, app: ASGI3Application
    ) -> None:
        self.answering = cycle
        super()._start_asgi_task(cycle, app)

    def stop(self, refusal: int) -> NoReturn:
        """Stop the parser, whose callbacks call this, and refuse with a status."""
        self.refusal = refusal
        raise Refused

    def refuse(self, status: int) -> None:
        """Answer with a refusal and wait for the client to close, hearing no more.

        To close at once would reset the connection of a client that still sends, and
        the refusal would be lost with it (RFC 9112, section 9.6).
        """
        self.arrival = Arrival.REFUSED
        self.began = self.loop.time()
        self.body = bytearray()
        refusal_log.count(status)
        if self.is_answering():
            # The answer to an earlier request comes first, and is the last.
            self.cycle.keep_alive = False
            return
        body = json.dumps({"detail": REFUSALS[status]}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.write_eof()

    def shutdown(self) -> None:
        """Close when the service ends, but not while a request is arriving."""
        if not self.is_arriving():
            super().shutdown()
