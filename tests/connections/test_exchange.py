"""What an application sends, and what the client gets of it; and if it fails."""

import asyncio
import logging

import pytest
from starlette.types import Message, Receive, Scope, Send

from pipeline.connections import FAILURE
from tests.connections.moved_clock import (
    MOMENT,
    REQUEST,
    Connection,
    Server,
    answers,
    on_a_moved_clock,
)


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": headers}


def piece(body: bytes, more_body: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more_body}


async def answer_with(
    *messages: Message, request: bytes = REQUEST, error: Exception | None = None
) -> Connection:
    """Ask an application that sends these messages, and then fails with an error."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if error:
            raise error

    client = Server(app).connect(request)
    await asyncio.sleep(MOMENT)
    return client


def body_of(client: Connection) -> bytes:
    return client.received.partition(b"\r\n\r\n")[2]


@on_a_moved_clock
async def test_an_answer_in_one_piece_has_a_length() -> None:
    client = await answer_with(start((b"a", b"b")), piece(b"abc"))
    assert b"\r\na: b\r\ncontent-length: 3\r\n\r\nabc" in client.received


@on_a_moved_clock
async def test_an_answer_in_pieces_of_a_length_is_sent_as_they_are() -> None:
    length = start((b"content-length", b"6"))
    client = await answer_with(length, piece(b"abc", True), piece(b"def"))
    assert body_of(client) == b"abcdef" and client.is_open


@on_a_moved_clock
async def test_an_answer_in_pieces_without_a_length_is_sent_in_chunks() -> None:
    pieces = (piece(b"abc", True), piece(b"", True), piece(b"x" * 16, True), piece(b""))
    client = await answer_with(start(), *pieces)
    assert b"\r\ntransfer-encoding: chunked\r\n" in client.received
    chunks = b"3\r\nabc\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
    assert body_of(client) == chunks


@pytest.mark.parametrize("pieces", [[piece(b"abc")], [piece(b"ab", True), piece(b"c")]])
@pytest.mark.parametrize("headers", [[], [(b"content-length", b"3")]])
@on_a_moved_clock
async def test_head_is_answered_without_a_body(
    pieces: list[Message], headers: list[tuple[bytes, bytes]]
) -> None:
    request = REQUEST.replace(b"GET", b"HEAD")
    client = await answer_with(start(*headers), *pieces, request=request)
    assert answers(client) == 1 and body_of(client) == b"" and client.is_open


@on_a_moved_clock
async def test_what_has_no_body_announces_none() -> None:
    client = await answer_with(start(status=204), piece(b""))
    assert answers(client, 204) == 1 and b"content-length" not in client.received


SHORT = start((b"content-length", b"5"))
FAILURES = {
    "error": (),
    "half": (start(),),
    "no start": (piece(b"abc"),),
    "too short": (SHORT, piece(b"abc")),
    "too long": (SHORT, piece(b"abcdef")),
    "two lines": (start((b"a", b"b\r\nset-cookie: c")), piece(b"abc")),
}


@pytest.mark.parametrize("messages", FAILURES.values(), ids=FAILURES)
@on_a_moved_clock
async def test_where_an_application_fails_the_client_is_told(
    messages: tuple[Message, ...], caplog: pytest.LogCaptureFixture
) -> None:
    client = await answer_with(*messages)
    assert answers(client, 500) == client.received.count(b"HTTP/1.1 ") == 1
    assert FAILURE.encode() in client.received and client.is_told_all
    [record] = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info is not None


@on_a_moved_clock
async def test_an_answer_that_has_begun_is_broken_off_by_a_failure() -> None:
    begun = (SHORT, piece(b"abc", True))
    client = await answer_with(*begun, error=KeyError("ours"))
    assert client.ended == "aborted" and body_of(client) == b"abc"


@on_a_moved_clock
async def test_a_failure_after_the_answer_is_logged_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = await answer_with(start(), piece(b"abc"), error=KeyError("ours"))
    assert body_of(client) == b"abc" and client.is_open
    assert "KeyError: 'ours'" in caplog.text
