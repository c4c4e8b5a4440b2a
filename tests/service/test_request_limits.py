"""Whoever makes the service wait is let go: on a clock that is not waited for."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from pipeline.service import refusal_log, request_limits
from pipeline.service.request_limits import MAX_SECONDS, LimitedProtocol
from tests.service.connections import BIG, Server, on_a_moved_clock

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
BIG_REQUEST = b"GET /big HTTP/1.1\r\nHost: test\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n"
# Uvicorn's own, between two requests.
KEEP_ALIVE_SECONDS = 5
# Each can make a request wait.
WAITED_FOR = 100
MOMENT = 0.01


@pytest.fixture(autouse=True)
def left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave alone how many files this process may open, and what others count."""
    monkeypatch.setattr(request_limits, "max_connections", lambda: 1_000)
    monkeypatch.setattr(request_limits, "refusal_log", refusal_log.RefusalLog())
    yield
    assert not LimitedProtocol.unread


@on_a_moved_clock
async def test_who_says_nothing_is_let_go_in_time() -> None:
    silent = Server().connect()
    await asyncio.sleep(MAX_SECONDS - MOMENT)
    assert silent.is_open
    await asyncio.sleep(2 * MOMENT)
    assert silent.ended == "closed" and not silent.received


@pytest.mark.parametrize("begun", [HEAD, HEAD + b"\r\n"], ids=["head", "body"])
@on_a_moved_clock
async def test_what_does_not_arrive_whole_is_refused_in_time(begun: bytes) -> None:
    """However often a little more of it comes."""
    slow = Server().connect(saying=begun)
    for _ in range(6):
        await asyncio.sleep((MAX_SECONDS - MOMENT) / 6)
        assert not slow.received
        slow.say(b"a")
    await asyncio.sleep(2 * MOMENT)
    assert slow.received.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    # The client is to close, and is heard no more.
    assert slow.is_open
    slow.say(b"aaaaaa\r\n\r\n")


@on_a_moved_clock
async def test_who_does_not_close_after_a_refusal_is_let_go_in_time() -> None:
    refused = Server().connect()
    await asyncio.sleep(MAX_SECONDS / 2)
    refused.say(b"garbage\r\n\r\n")
    assert refused.received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    await asyncio.sleep(MAX_SECONDS - MOMENT)
    assert refused.is_open
    await asyncio.sleep(2 * MOMENT)
    assert refused.ended == "aborted"


@on_a_moved_clock
async def test_a_connection_without_a_request_is_closed_for_all_its_empty_lines() -> (
    None
):
    restless = Server().connect(saying=REQUEST)
    await asyncio.sleep(KEEP_ALIVE_SECONDS - MOMENT)
    assert restless.received.endswith(b"\r\n\r\nok") and restless.is_open
    restless.say(b"\r\n")
    await asyncio.sleep(2 * MOMENT)
    assert restless.ended == "closed"


@on_a_moved_clock
async def test_a_connection_with_requests_now_and_then_is_kept() -> None:
    used = Server().connect()
    for _ in range(5):
        used.say(REQUEST)
        await asyncio.sleep(KEEP_ALIVE_SECONDS - MOMENT)
    assert used.received.count(b"HTTP/1.1 200 OK") == 5 and used.is_open


@pytest.mark.parametrize("requests", [1, 2])
@on_a_moved_clock
async def test_who_does_not_read_is_let_go_in_time(requests: int) -> None:
    greedy = Server().connect(saying=BIG_REQUEST * requests, reads=False)
    await asyncio.sleep(MAX_SECONDS - MOMENT)
    assert greedy.ended != "aborted" and greedy.get_write_buffer_size() > len(BIG)
    await asyncio.sleep(2 * MOMENT)
    assert greedy.ended == "aborted"


@on_a_moved_clock
async def test_only_so_many_who_do_not_read_are_waited_for() -> None:
    server = Server()
    waited_for = [
        server.connect(saying=BIG_REQUEST, reads=False)
        for _ in range(WAITED_FOR)
    ]
    await asyncio.sleep(MOMENT)
    assert not any(connection.ended for connection in waited_for)
    one_more = server.connect(saying=BIG_REQUEST, reads=False)
    reader = server.connect(saying=REQUEST)
    await asyncio.sleep(MOMENT)
    assert one_more.ended == "aborted"
    assert reader.received.endswith(b"ok")
    assert not any(connection.ended for connection in waited_for)


@on_a_moved_clock
async def test_refusals_are_logged_anew_when_their_time_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()

    def refuse() -> None:
        server.connect(saying=b"garbage\r\n\r\n")

    refuse()
    await asyncio.sleep(refusal_log.SECONDS - MOMENT)
    refuse()
    assert not caplog.records
    await asyncio.sleep(2 * MOMENT)
    refuse()
    await asyncio.sleep(refusal_log.SECONDS + MOMENT)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "Refused requests within 60 seconds: 2 with 400."),
        (logging.WARNING, "Refused requests within 60 seconds: 1 with 400."),
    ]


@on_a_moved_clock
async def test_the_request_that_is_answered_hears_that_its_client_has_left() -> None:
    """Not only the latest one, which has not begun to be answered."""
    asked = Server().connect(saying=BIG_REQUEST * 3, reads=False)
    await asyncio.sleep(MOMENT)
    answered = asked.protocol.answering
    assert answered is not None and answered is not asked.protocol.cycle
    asked.leave()
    await asyncio.sleep(MOMENT)
    assert answered.disconnected


@on_a_moved_clock
async def test_the_answer_to_what_came_before_a_refusal_is_the_last() -> None:
    confused = Server().connect(saying=REQUEST + b"garbage\r\n\r\n")
    await asyncio.sleep(MOMENT)
    assert confused.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in confused.received
    assert confused.ended == "closed"
