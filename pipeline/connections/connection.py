"""One connection: requests come, wait for their turn, are answered, one by one."""

import asyncio
import json
import logging
from functools import cache

from pipeline.connections.connection_pool import ConnectionPool, Place
from pipeline.connections.exchange import STATUS_LINES, Exchange
from pipeline.connections.refused_requests import (
    FAILURE,
    REFUSALS,
    NotTaken,
    refusal_log,
)
from pipeline.connections.request_limits import (
    MAX_HEAD_BYTES,
    MAX_UNREAD_BYTES,
    RETRY_AFTER_SECONDS,
)
from pipeline.connections.request_parser import (
    ChunkedBody,
    Head,
    parse_chunks,
    parse_head,
)
from pipeline.connections.request_queue import RequestQueue

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# What a parsed header takes beyond its bytes.
HEADER_BYTES = 128

log = logging.getLogger("pipeline")


class Connection(asyncio.Protocol):
    """One connection, and where it stands among all.

        unused --1--> arriving --2--> asking --3--> idle --1--> arriving ...

        1: a part of a request has come;
        2: all of it has: no more is read until it is answered;
        3: it is answered.

    From each of them to leaving, and never back, with the last answer: a refusal, or
    one that says so. To close at once would reset the connection of a client that still
    sends, and the answer would be lost with it (RFC 9112, section 9.6).

    Attributes:
        pool: All connections.
        queue: All requests that wait.
        place: Where this one stands, of the pool's.
        received: What has come and is not part of a request that is taken.
        head: Of the request that is arriving, once it has come whole.
        chunks: Where its body ends, if it comes in chunks.
        exchange: The request that is asked.
        writable: Set when the client has read what waits for it; None if nothing does.
        is_read: Whether what the client sends is read.
        has_ended: Whether the client sends no more.
        answered: When it was answered last, 0 for never (seconds of the loop's clock).
        held_bytes: What it holds, for the pool to know.
    """

    __slots__ = (
        "pool",
        "queue",
        "transport",
        "place",
        "received",
        "head",
        "chunks",
        "exchange",
        "writable",
        "is_read",
        "has_ended",
        "answered",
        "held_bytes",
    )

    transport: asyncio.Transport
    place: Place

    def __init__(self, pool: ConnectionPool, queue: RequestQueue) -> None:
        self.pool = pool
        self.queue = queue
        self.received: bytes | bytearray = b""
        self.head: Head | None = None
        self.chunks: ChunkedBody | None = None
        self.exchange: Exchange | None = None
        self.writable: asyncio.Event | None = None
        self.is_read = True
        self.has_ended = False
        self.answered = 0.0
        self.held_bytes = 0

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(MAX_UNREAD_BYTES)
        self.place = self.pool.unused
        try:
            self.pool.add(self)
        except NotTaken as refused:
            self.refuse(*refused.args)

    def connection_lost(self, error: Exception | None) -> None:
        self.pool.open.discard(self)
        self.leave_places()

    def leave_places(self) -> None:
        """Wait for nothing more of this connection, nor let anybody wait for it."""
        self.place.pop(self, None)
        self.pool.hold(self, 0)
        self.received = b""
        self.head = None
        self.resume_writing()
        if self.exchange:
            self.exchange.lose()

    def move(self, place: Place) -> None:
        self.place.pop(self, None)
        place[self] = self.pool.loop.time()
        self.place = place

    def data_received(self, data: bytes) -> None:
        if self.place is self.pool.leaving:
            return
        if self.received:
            if isinstance(self.received, bytes):
                self.received = bytearray(self.received)
            self.received += data
        else:
            self.received = data
        if self.place is not self.pool.asking:
            self.take_request()
        elif self.is_read:
            self.is_read = False
            self.transport.pause_reading()
            self.pool.hold(self, len(self.received))

    def take_request(self) -> None:
        """Take the next request, if it has come whole."""
        try:
            self.read_request()
        except NotTaken as refused:
            self.refuse(*refused.args)
        except Exception:
            log.exception("The service failed to read a request.")
            self.refuse(500)
        held = len(self.received)
        if self.head:
            held += len(self.head.data) + HEADER_BYTES * len(self.head.headers)
        if held != self.held_bytes:
            self.pool.hold(self, held)

    def read_request(self) -> None:
        """Read what has come of a request, and ask for an answer when it is whole.

        Raises:
            NotTaken: It is not to be answered.
        """
        if self.head is None and not self.read_head():
            return
        body = self.read_body()
        if body is None:
            return
        assert self.head is not None
        self.exchange = exchange = Exchange(self, self.head, body)
        self.head = self.chunks = None
        self.move(self.pool.asking)
        self.queue.add(exchange, self.answered)

    def read_head(self) -> bool:
        """Tell whether the head has come whole, and note that it has begun to come."""
        if self.received[:1] in (b"\r", b"\n"):
            # Empty lines may come before a request, and are none.
            self.received = self.received.lstrip(b"\r\n")
        received = self.received
        if not received:
            return False
        end = received.find(b"\r\n\r\n") + 4
        if end > MAX_HEAD_BYTES or (end < 4 and len(received) > MAX_HEAD_BYTES):
            raise NotTaken(431)
        if end < 4:
            if not received[:1].isalpha():
                # Nor will it be HTTP, such as what TLS begins with.
                raise NotTaken(400)
            self.begin_to_arrive()
            return False
        self.head = parse_head(bytes(received[:end]))
        self.received = received[end:]
        return True

    def begin_to_arrive(self) -> None:
        if self.place is not self.pool.arriving:
            self.move(self.pool.arriving)

    def read_body(self) -> bytes | None:
        """Take the body from what has come, or None if it has not come whole."""
        assert self.head is not None
        received = self.received
        end = self.head.body_bytes
        if end is None:
            self.chunks = self.chunks or ChunkedBody()
            end = self.chunks.find_end(received)
        elif len(received) < end:
            end = None
        if end is None:
            if self.head.expects_continue and not received:
                self.transport.write(CONTINUE)
            self.begin_to_arrive()
            return None
        body = bytes(received[:end])
        self.received = bytes(received[end:])
        return body if self.chunks is None else parse_chunks(self.head, body)

    def finish(self) -> None:
        """Go on after an answer: with the next request, or wait for it."""
        assert self.exchange is not None
        keep_alive = self.exchange.keep_alive
        self.exchange = None
        self.pool.answered += 1
        self.answered = self.pool.loop.time()
        if not keep_alive:
            self.end()
            return
        self.move(self.pool.idle)
        if self.received:
            self.take_request()
        if self.place is not self.pool.asking:
            if self.has_ended:
                self.transport.close()
            else:
                self.resume_reading()

    def resume_reading(self) -> None:
        if not self.is_read:
            self.is_read = True
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        """Answer a client that says no more, but has asked."""
        self.has_ended = True
        return self.place is self.pool.asking

    def pause_writing(self) -> None:
        self.writable = asyncio.Event()
        self.pool.add_unread(self)

    def resume_writing(self) -> None:
        if self.writable:
            self.writable.set()
            self.writable = None
            self.pool.unread.pop(self, None)

    def refuse(self, status: int) -> None:
        """Answer that a request is not taken, as the last answer."""
        refusal_log.count_unread(status)
        status_line, rest = make_refusal(status)
        self.transport.write(status_line + self.pool.headers + rest)
        self.end()

    def fail(self) -> None:
        """Say that there is no answer, or break off the one that has begun."""
        assert self.exchange is not None
        if self.exchange.is_begun:
            self.drop()
        else:
            self.refuse(500)

    def end(self) -> None:
        """Wait for the client to close, hearing no more."""
        self.pool.hold(self, 0)
        self.received = b""
        self.head = self.exchange = None
        self.move(self.pool.leaving)
        if not self.transport.is_closing():
            self.transport.write_eof()
            self.resume_reading()

    def drop(self) -> None:
        """Close at once, whatever the client does."""
        self.leave_places()
        self.transport.abort()

    def shutdown(self) -> None:
        """Close, because the service ends, but not what asks or is about to."""
        if self.place in (self.pool.unused, self.pool.idle):
            self.drop()


@cache
def make_refusal(status: int) -> tuple[bytes, bytes]:
    """What a refusal sends before the headers of every answer, and after them."""
    detail = FAILURE if status == 500 else REFUSALS[status]
    body = json.dumps({"detail": detail}).encode()
    retry = b"retry-after: %d\r\n" % RETRY_AFTER_SECONDS if status == 503 else b""
    return STATUS_LINES[status], (
        b"content-type: application/json\r\ncontent-length: %d\r\n"
        b"connection: close\r\n%b\r\n%b" % (len(body), retry, body)
    )
