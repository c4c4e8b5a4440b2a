"""Requests in any pieces get their answers, in order; on a clock that moves."""

import asyncio
import logging
import re
from itertools import pairwise

import pytest
from hypothesis import given, strategies
from starlette.types import Receive, Scope, Send

from pipeline.connections import FAILURE, request_parser
from pipeline.connections.request_limits import (
    MAX_BODY_BYTES,
    MAX_LONG_REQUESTS,
    MAX_WAITING_REQUESTS,
)
from pipeline.connections.request_queue import QUICK_IN_A_ROUND
from tests.connections.moved_clock import (
    BIG_REQUEST,
    MOMENT,
    REQUEST,
    Server,
    Watched,
    answer,
    answers,
    on_a_moved_clock,
)

CHUNKED = b"POST /c HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
POST = b"POST /%b HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
# Each with what it is answered.
REQUESTS = [
    (b"GET /a?q HTTP/1.1\r\nHost: test\r\n\r\n", b"/a"),
    (b"GET /%61 HTTP/1.1\r\nhOST:\r\n\r\n", b"/a"),
    (b"\r\nPOST /b HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nG\r\n\r\n", None),
    (CHUNKED + b"4;x=y\r\nab\r\n\r\n00A\r\n0123456789\r\n0\r\nHost: b\r\n\r\n", None),
    (CHUNKED + b"0\r\n\r\n", b"/c"),
    (b"GET http://test/d HTTP/1.1\r\nHost: test\r\n\r\n", b"/d"),
    (
        b"GET /u HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"/u",
    ),
]
BODIES = {2: b"/bG\r\n\r\n", 3: b"/cab\r\n0123456789"}


def body_of(number: int) -> bytes:
    return REQUESTS[number][1] or BODIES[number]


@given(
    numbers=strategies.lists(
        strategies.integers(0, len(REQUESTS) - 1), min_size=1, max_size=20
    ),
    cuts=strategies.lists(strategies.integers(0, 2000), max_size=20),
)
def test_requests_in_any_pieces_are_answered_in_order(
    numbers: list[int], cuts: list[int]
) -> None:
    said = b"".join(REQUESTS[number][0] for number in numbers)
    ends = sorted({0, *(cut for cut in cuts if cut < len(said)), len(said)})

    @on_a_moved_clock
    async def ask() -> None:
        client = Server().connect()
        for begin, end in pairwise(ends):
            client.say(said[begin:end])
        await asyncio.sleep(MOMENT)
        bodies = [body_of(number) for number in numbers]
        lengths = [b"content-length: %d\r\n\r\n" % len(body) for body in bodies]
        heads = re.split(b"HTTP/1.1 200 OK\r\n", client.received)
        assert heads[0] == b"" and len(heads) == len(bodies) + 1
        for head, length, body in zip(heads[1:], lengths, bodies, strict=True):
            assert head.endswith(length + body)
        assert client.is_open

    ask()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        # What TLS begins with is told so at once.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        CHUNKED + b"-6\r\n\r\n0\r\n\r\n",
        CHUNKED + b"1_0\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n",
        CHUNKED + b"g\r\na\r\n0\r\n\r\n",
        CHUNKED + b"1\r\naa\r\n0\r\n\r\n",
        CHUNKED + b"0\r\nnot a header\r\n\r\n",
    ],
)
@on_a_moved_clock
async def test_what_is_no_http_is_refused(request_: bytes) -> None:
    client = Server().connect(saying=request_)
    await asyncio.sleep(MOMENT)
    assert answers(client, 400) == 1 and answers(client) == 0


@on_a_moved_clock
async def test_http_of_old_needs_no_host_and_gets_one_answer() -> None:
    client = Server().connect(saying=b"GET /old HTTP/1.0\r\n\r\n" + REQUEST)
    await asyncio.sleep(MOMENT)
    assert client.received.endswith(b"/old") and answers(client) == 1
    assert b"\r\nconnection: close\r\n" in client.received and client.is_told_all


@pytest.mark.parametrize(
    "chunks, status",
    [
        (b"%x\r\n%b\r\n0\r\n\r\n" % (MAX_BODY_BYTES, b" " * MAX_BODY_BYTES), 200),
        (b"%x\r\n" % (MAX_BODY_BYTES + 1), 413),
        (b"1\r\n \r\n" * 2_000, 413),
        (b"1;" + b"a" * 9_000, 413),
        (b"0\r\n" + b"A: b\r\n" * 2_000, 413),
    ],
    ids=["largest", "announced", "framing", "extension", "trailers"],
)
@on_a_moved_clock
async def test_a_body_in_chunks_is_bounded(chunks: bytes, status: int) -> None:
    client = Server().connect(saying=CHUNKED)
    for begin in range(0, len(chunks), 1000):
        client.say(chunks[begin : begin + 1000])
    await asyncio.sleep(MOMENT)
    assert answers(client, status) == 1


@on_a_moved_clock
async def test_a_fault_of_ours_is_not_the_clients(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a callback of the parser raises looks like an error of the parser."""

    def fail(told: request_parser.Told, name: bytes, value: bytes) -> None:
        raise KeyError("ours")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request_parser.Told, "on_header", fail)
        client = Server().connect(saying=REQUEST)
    assert answers(client, 500) == 1 and FAILURE.encode() in client.received
    assert client.is_told_all
    [record] = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info is not None
    assert "KeyError: 'ours'" in caplog.text


@on_a_moved_clock
async def test_what_is_quick_waits_for_one_long_request_at_most() -> None:
    app = Watched()
    server = Server(app)
    for _ in range(20):
        server.connect(saying=BIG_REQUEST)
    while not app.asked:
        await asyncio.sleep(0)
    server.connect(saying=POST % b"quick")
    server.connect(saying=REQUEST.replace(b"/", b"/livez", 1))
    await asyncio.sleep(MOMENT)
    assert len(app.asked) == 22
    assert max(app.asked.index("/quick"), app.asked.index("/livez")) <= 3


@on_a_moved_clock
async def test_only_so_many_long_requests_wait() -> None:
    server = Server()
    clients = [
        server.connect(saying=BIG_REQUEST) for _ in range(MAX_LONG_REQUESTS + 10)
    ]
    await asyncio.sleep(MOMENT)
    refused = [answers(client, 503) for client in clients]
    assert refused == [0] * MAX_LONG_REQUESTS + [1] * 10
    assert all(b"\r\nretry-after: 1\r\n" in each.received for each in clients[-10:])
    assert sum(answers(client) for client in clients) == MAX_LONG_REQUESTS


@on_a_moved_clock
async def test_who_was_answered_least_recently_comes_first() -> None:
    app = Watched()
    server = Server(app)
    restless = [server.connect(POST % b"restless") for _ in range(20)]
    seldom = server.connect(POST % b"seldom")
    await asyncio.sleep(MOMENT)
    for _ in range(2):
        app.asked.clear()
        for client in restless:
            client.say(POST % b"restless")
        seldom.say(POST % b"seldom")
        server.connect(POST % b"first")
        await asyncio.sleep(MOMENT)
        for client in restless:
            client.say(POST % b"restless")
        await asyncio.sleep(MOMENT)
    latest = [app.asked.index(path) for path in ("/first", "/seldom")]
    assert latest == [QUICK_IN_A_ROUND, QUICK_IN_A_ROUND + 1]


@on_a_moved_clock
async def test_of_too_many_requests_who_was_answered_last_is_refused() -> None:
    server = Server()
    await asyncio.sleep(MOMENT)
    restless = []
    for _ in range(MAX_WAITING_REQUESTS + QUICK_IN_A_ROUND):
        restless.append(server.connect(POST % b"restless"))
        await asyncio.sleep(0)
    await asyncio.sleep(MOMENT)
    for client in restless:
        client.say(POST % b"restless")
    newcomers = [server.connect(POST % b"first") for _ in range(10)]
    await asyncio.sleep(MOMENT)
    assert [answers(client) for client in newcomers] == [1] * 10
    assert sum(answers(client, 503) for client in restless) == 10
    assert sum(answers(client) == 2 for client in restless) == len(restless) - 10


@on_a_moved_clock
async def test_a_connection_has_one_request_in_a_round() -> None:
    app = Watched()
    server = Server(app)
    server.connect(POST % b"many" * 100)
    server.connect(POST % b"one")
    await asyncio.sleep(MOMENT)
    assert len(app.asked) == 101 and app.asked.index("/one") <= 2


@on_a_moved_clock
async def test_the_request_that_is_answered_hears_that_its_client_has_left() -> None:
    heard = []

    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])
        await answer(scope, receive, send)

    client = Server(listen).connect(saying=REQUEST)
    await asyncio.sleep(MOMENT)
    assert heard == ["http.request"]
    client.leave()
    await asyncio.sleep(MOMENT)
    assert heard == ["http.request", "http.disconnect"] and not client.received


@on_a_moved_clock
async def test_the_answers_to_what_came_before_a_refusal_come_first() -> None:
    confused = Server().connect(saying=REQUEST * 2 + b"garbage\r\n\r\n" + REQUEST)
    await asyncio.sleep(MOMENT)
    statuses = re.findall(rb"HTTP/1.1 (\d+)", confused.received)
    assert statuses == [b"200", b"200", b"400"] and confused.is_told_all
