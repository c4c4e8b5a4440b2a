"""A server without sockets, on a clock that moves where it would be waited for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from selectors import SelectorKey, SelectSelector
from typing import Any, ParamSpec

import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.server import ServerState

from pipeline.service.request_limits import LimitedProtocol

Parameters = ParamSpec("Parameters")

BIG = b"x" * 2**20


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


async def answer(
    scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
) -> None:
    """Answer /big with much, and anything else with little."""
    assert scope["type"] == "http"
    body = BIG if scope["path"] == "/big" else b"ok"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


class Server:
    """All that connections share.

    Attributes:
        state: Uvicorn's, with the open connections.
    """

    def __init__(self) -> None:
        self.config = uvicorn.Config(answer, log_config=None, access_log=False)
        self.state = ServerState()

    def connect(self, saying: bytes = b"", reads: bool = True) -> "Connection":
        """Open a connection, and say something."""
        connection = Connection(
            LimitedProtocol(self.config, self.state, app_state={}), reads
        )
        if saying:
            connection.say(saying)
        return connection


class Connection(asyncio.Transport):
    """A client's connection, as its server's transport.

    Attributes:
        received: What the client has read.
        ended: How it ended, by the server "closed", once all is sent, or "aborted", by
            the client "left"; "" while it is open.
    """

    def __init__(self, protocol: LimitedProtocol, reads: bool) -> None:
        super().__init__()
        self.protocol = protocol
        self.reads = reads
        self.received = b""
        self.ended = ""
        self._unread = b""
        self._most_unread = 0
        self._is_paused = self._is_lost = False
        clock().connections.append(self)
        self.protocol.connection_made(self)

    @property
    def is_open(self) -> bool:
        return not self.ended

    def say(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def leave(self) -> None:
        """Close it on the side of the client."""
        if not self._is_lost:
            self.ended = "left"
            self._lose()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return IgnoredSocket() if name == "socket" else default

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        assert high is not None
        self._most_unread = high

    def get_write_buffer_size(self) -> int:
        return len(self._unread)

    def write(self, data: Any) -> None:
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

    def pause_reading(self) -> None:
        """Take what is said all the same."""

    resume_reading = pause_reading

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


class IgnoredSocket:
    """Takes all options, and is nowhere."""

    def setsockopt(self, *option: int) -> None:
        pass

    def getpeername(self) -> None:
        pass

    getsockname = getpeername
