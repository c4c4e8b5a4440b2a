"""How long a server that ends waits for what is on its way: on a clock of its own."""

import asyncio

from fastapi import FastAPI

from pipeline.service.graceful_shutdown import (
    ARRIVAL_SECONDS,
    MAX_ACCEPTING_SECONDS,
    MAX_ARRIVAL_SECONDS,
    QUIET_SECONDS,
    GracefulServer,
)
from tests.service.connections import Server, on_a_moved_clock

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
MOMENT = 0.01


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
