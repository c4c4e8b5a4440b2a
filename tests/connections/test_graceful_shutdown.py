"""How long a server that ends waits for what is on its way: on a clock of its own."""

import asyncio
import inspect

import pytest
import uvicorn
from fastapi import FastAPI

from pipeline.connections import graceful_shutdown
from pipeline.connections.connection import Connection
from pipeline.connections.graceful_shutdown import (
    ARRIVAL_SECONDS,
    MAX_ACCEPTING_SECONDS,
    MAX_ARRIVAL_SECONDS,
    QUIET_SECONDS,
    GracefulServer,
)
from pipeline.connections.server import open_port
from tests.connections.moved_clock import (
    MOMENT,
    REQUEST,
    Server,
    answer,
    on_a_moved_clock,
)


class Ending:
    """A server that ends, and the connections that it has.

    Attributes:
        waited: How long it did (seconds).
    """

    def __init__(self) -> None:
        self.connections = Server()
        self.server = GracefulServer(FastAPI(), places=10)
        self.server.pool = self.connections.pool
        self._began = asyncio.get_running_loop().time()

    @property
    def waited(self) -> float:
        return asyncio.get_running_loop().time() - self._began


@on_a_moved_clock
async def test_connections_that_arrive_late_are_waited_for() -> None:
    """One takes some rounds of the event loop, which a busy one makes slowly."""
    ending = Ending()
    waiting = asyncio.create_task(ending.server.wait_for_arrivals())
    await asyncio.sleep(ARRIVAL_SECONDS - 0.15)
    late = ending.connections.connect()
    await asyncio.sleep(0.5)
    assert not waiting.done()
    late.say(REQUEST)
    await waiting
    assert ARRIVAL_SECONDS < ending.waited < MAX_ARRIVAL_SECONDS


@on_a_moved_clock
async def test_no_connection_is_no_reason_to_hurry() -> None:
    ending = Ending()
    await ending.server.wait_for_arrivals()
    assert ending.waited > ARRIVAL_SECONDS - MOMENT


@on_a_moved_clock
async def test_who_never_speaks_is_not_waited_for() -> None:
    ending = Ending()
    ending.connections.connect()
    await ending.server.wait_for_arrivals()
    assert ending.waited < MAX_ARRIVAL_SECONDS + MOMENT


@on_a_moved_clock
async def test_new_requests_are_taken_until_a_second_passes_without() -> None:
    ending = Ending()
    waiting = asyncio.create_task(ending.server.wait_for_quiet())
    for _ in range(3):
        ending.connections.pool.answered += 1
        await asyncio.sleep(QUIET_SECONDS)
    await waiting
    assert 3 * QUIET_SECONDS <= ending.waited < 4 * QUIET_SECONDS + MOMENT


@on_a_moved_clock
async def test_requests_without_a_pause_do_not_keep_it_for_ever() -> None:
    ending = Ending()
    waiting = asyncio.create_task(ending.server.wait_for_quiet())
    while not waiting.done():
        ending.connections.pool.answered += 1
        await asyncio.sleep(QUIET_SECONDS / 4)
    assert ending.waited < MAX_ACCEPTING_SECONDS + QUIET_SECONDS


SEAM = f"GracefulServer needs another uvicorn than {uvicorn.__version__}, whose server "


@pytest.mark.parametrize(
    "method, told",
    [("startup", "sockets"), ("shutdown", "sockets"), ("handle_exit", "sig, frame")],
)
def test_uvicorn_calls_what_we_override_and_has_what_we_call(
    method: str, told: str
) -> None:
    has = inspect.signature(getattr(uvicorn.Server, method, lambda: None)).parameters
    assert ", ".join(list(has)[1:]) == told, f"{SEAM}has no {method}({told})."


def test_uvicorn_serves_our_connections_and_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graceful_shutdown, "QUIET_SECONDS", MOMENT)
    monkeypatch.setattr(graceful_shutdown, "POLL_SECONDS", MOMENT)

    async def serve_and_end() -> None:
        server = GracefulServer(answer, places=10)
        listener = open_port("127.0.0.1", "0")
        address = listener.getsockname()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not serving.done(), SEAM + "does not tell when it has started."
            await asyncio.sleep(MOMENT)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(REQUEST)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        await reader.readuntil(b"\r\n\r\n/")
        assert len(server.servers) == 1, SEAM + "does not list what listens in servers."
        [connection] = server.server_state.connections
        assert isinstance(connection, Connection), SEAM + "does not make ours."
        assert server.force_exit is False, SEAM + "does not tell of a second signal."
        server.should_exit = True
        ended = await asyncio.wait_for(reader.read(), 60)
        assert ended == b"", SEAM + "does not shut our connections down."
        await asyncio.wait_for(serving, 60)
        assert not server.open_connections, SEAM + "does not wait for them."
        writer.close()

    asyncio.run(serve_and_end())
