"""A server without sockets, on a clock that moves where it would be waited for."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from selectors import SelectorKey, SelectSelector
from typing import Any, ParamSpec

from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.connections.connection import Connection as Protocol
from pipeline.connections.connection_pool import ConnectionPool
from pipeline.connections.request_queue import RequestQueue

Parameters = ParamSpec("Parameters")

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
BIG_REQUEST = b"GET /big HTTP/1.1\r\nHost: test\r\n\r\n"
# What BIG_REQUEST is answered.
BIG = b"x" * 2**20
# For all that is on its way to happen, and no time limit to pass (seconds).
MOMENT = 0.01


class MovedClock(asyncio.SelectorEventLoop):
    """An event loop that never waits: its clock moves on instead.

    Attributes:
        connections: All that were made on it.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.connections: list[Connection] = []
        super().__init__(ImpatientSelector(self))

    def time(self) -> float:
        return self.seconds


class ImpatientSelector(SelectSelector):
    def __init__(self, loop: MovedClock) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen"
            self.loop.seconds += timeout
        return ready


def on_a_moved_clock(
    test: Callable[Parameters, Awaitable[None]],
) -> Callable[Parameters, None]:
    """Let a test run on an event loop whose clock moves by itself.

    In the end all its clients leave.
    """

    @wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        async def tested() -> None:
            try:
                await test(*args, **kwargs)
            finally:
                for connection in clock().connections:
                    connection.leave()
                await asyncio.sleep(1)

        with asyncio.Runner(loop_factory=MovedClock) as runner:
            runner.run(tested())

    return run


def clock() -> MovedClock:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, MovedClock)
    return loop


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer /big with much, and anything else with its path and what was sent."""
    body = scope["path"].encode() + (await receive())["body"]
    if scope["path"] == "/big":
        body = BIG
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class Watched:
    """An application that notes what it is asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        await self.may_answer.wait()
        await answer(scope, receive, send)


class Server:
    """All that connections share.

    Attributes:
        pool: The open connections.
        queue: The requests that wait.
    """

    def __init__(self, app: ASGIApp = answer, places: int = 1_000) -> None:
        self.pool = ConnectionPool(app, places, set())
        self.queue = RequestQueue(self.pool.loop)

    def connect(self, saying: bytes = b"", reads: bool = True) -> "Connection":
        """Open a connection, and say something."""
        connected = Connection(Protocol(self.pool, self.queue), reads)
        if saying:
            connected.say(saying)
        return connected


class Connection(asyncio.Transport):
    """A client's connection, as its server's transport.

    Attributes:
        received: What the client has read.
        ended: How it ended, by the server "closed", once all is sent, or "aborted", by
            the client "left"; "" while it is open.
        is_told_all: Whether the server has said that it says no more.
    """

    def __init__(self, protocol: Protocol, reads: bool) -> None:
        super().__init__()
        self.protocol = protocol
        self.reads = reads
        self.received = b""
        self.ended = ""
        self.is_told_all = False
        self._said: deque[bytes] = deque()
        self._is_heard = True
        self._unread = b""
        self._most_unread = 0
        self._is_paused = self._is_lost = False
        clock().connections.append(self)
        self.protocol.connection_made(self)

    @property
    def is_open(self) -> bool:
        return not self.ended

    def say(self, data: bytes) -> None:
        assert data
        self._said.append(data)
        self._tell()

    def leave(self) -> None:
        """Close it on the side of the client."""
        if not self._is_lost:
            self.ended = "left"
            self._lose()

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        assert high is not None
        self._most_unread = high

    def get_write_buffer_size(self) -> int:
        return len(self._unread)

    def write(self, data: Any) -> None:
        assert not self.is_told_all
        if self.ended:
            return
        if self.reads:
            self.received += bytes(data)
            return
        self._unread += bytes(data)
        if len(self._unread) > self._most_unread and not self._is_paused:
            self._is_paused = True
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Leave the client's side open."""
        assert not self.is_told_all
        self.is_told_all = True

    def pause_reading(self) -> None:
        self._is_heard = False

    def resume_reading(self) -> None:
        self._is_heard = True
        clock().call_soon(self._tell)

    def _tell(self) -> None:
        """Let the server hear what was said, as far as it reads."""
        while self._said and self._is_heard and not self.ended:
            self.protocol.data_received(self._said.popleft())

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        if not self.ended:
            self.ended = "closed"
            if not self._unread:
                self._lose()

    def abort(self) -> None:
        if not self._is_lost:
            self.ended = "aborted"
            self._lose()

    def _lose(self) -> None:
        self._is_lost = True
        clock().call_soon(self.protocol.connection_lost, None)


def answers(client: Connection, status: int = 200) -> int:
    """How many answers a client has read, of one status."""
    return client.received.count(b"HTTP/1.1 %d " % status)
