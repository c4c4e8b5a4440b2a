"""Who makes the service wait is let go, and who asks is answered: on a clock that is
not waited for."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from pipeline.connections import connection, connection_pool, refused_requests
from pipeline.connections.request_limits import (
    KEEP_ALIVE_SECONDS,
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_HELD_BYTES,
    MAX_LONG_REQUESTS,
    MAX_QUICK_BODY_BYTES,
    MAX_SECONDS,
    MAX_UNREAD_CONNECTIONS,
    MAX_WAITING_REQUESTS,
    MIN_CONNECTIONS,
    RESERVED_FILES,
)
from pipeline.connections.request_queue import QUICK_IN_A_ROUND
from pipeline.connections.server import ACCEPTED
from tests.connections.moved_clock import (
    BIG,
    BIG_REQUEST,
    MOMENT,
    REQUEST,
    Server,
    Watched,
    answers,
    on_a_moved_clock,
)
from tests.stages.services import ROOT

HEAD = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n"
# The clock is looked at once a second.
SWEPT = connection_pool.SWEEP_SECONDS + MOMENT


@pytest.fixture(autouse=True)
def left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave alone what others count."""
    monkeypatch.setattr(connection, "refusal_log", refused_requests.RefusalLog())
    yield


@on_a_moved_clock
async def test_who_never_asks_is_let_go_in_time() -> None:
    silent = Server().connect()
    await asyncio.sleep(MAX_SECONDS - MOMENT)
    assert silent.is_open
    await asyncio.sleep(SWEPT)
    assert silent.ended and not silent.received


@pytest.mark.parametrize("begun", [HEAD, HEAD + b"\r\n"], ids=["head", "body"])
@on_a_moved_clock
async def test_what_does_not_arrive_whole_is_refused_in_time(begun: bytes) -> None:
    """However often a little more of it comes."""
    slow = Server().connect(saying=begun)
    for _ in range(6):
        await asyncio.sleep((MAX_SECONDS - MOMENT) / 6)
        assert not slow.received
        slow.say(b"a")
    await asyncio.sleep(SWEPT)
    assert slow.received.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    # The client is to close, and is heard no more.
    assert slow.is_open and slow.is_told_all
    slow.say(b"aaaaaa\r\n\r\n")
    assert answers(slow, 408) == slow.received.count(b"HTTP/1.1 ") == 1


@on_a_moved_clock
async def test_who_does_not_close_after_a_refusal_is_let_go_in_time() -> None:
    refused = Server().connect()
    await asyncio.sleep(MAX_SECONDS / 2)
    refused.say(b"garbage\r\n\r\n")
    assert refused.received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    await asyncio.sleep(MAX_SECONDS - MOMENT)
    assert refused.is_open
    await asyncio.sleep(SWEPT)
    assert refused.ended == "aborted"


@on_a_moved_clock
async def test_a_client_may_pause_longer_than_a_load_balancer_does() -> None:
    """An ALB keeps a connection for 60 seconds, and answers 502 where it is reset."""
    used = Server().connect()
    for asked, pause in enumerate(range(1, 75), start=1):
        used.say(REQUEST)
        await asyncio.sleep(pause)
        assert answers(used) == asked and used.is_open
    used.say(REQUEST)
    await asyncio.sleep(KEEP_ALIVE_SECONDS - MOMENT)
    assert used.is_open
    await asyncio.sleep(SWEPT)
    assert used.ended


@on_a_moved_clock
async def test_empty_lines_are_no_request() -> None:
    restless = Server().connect(saying=REQUEST)
    await asyncio.sleep(KEEP_ALIVE_SECONDS - MOMENT)
    restless.say(b"\r\n")
    await asyncio.sleep(SWEPT)
    assert restless.ended and answers(restless) == 1


@pytest.mark.parametrize("requests", [1, 2])
@on_a_moved_clock
async def test_who_does_not_read_is_let_go_in_time(requests: int) -> None:
    greedy = Server().connect(saying=BIG_REQUEST * requests, reads=False)
    await asyncio.sleep(MAX_SECONDS - MOMENT)
    assert greedy.is_open and greedy.get_write_buffer_size() > len(BIG)
    await asyncio.sleep(SWEPT)
    assert greedy.ended == "aborted"


@on_a_moved_clock
async def test_of_those_who_do_not_read_the_first_makes_room() -> None:
    server = Server()
    waited_for = []
    for _ in range(MAX_UNREAD_CONNECTIONS):
        waited_for.append(server.connect(saying=BIG_REQUEST, reads=False))
        await asyncio.sleep(0)
    await asyncio.sleep(MOMENT)
    assert all(each.is_open for each in waited_for)
    one_more = server.connect(saying=BIG_REQUEST, reads=False)
    reader = server.connect(saying=REQUEST)
    await asyncio.sleep(MOMENT)
    assert waited_for[0].ended == "aborted"
    assert all(each.is_open for each in [*waited_for[1:], one_more])
    assert answers(reader) == 1


@on_a_moved_clock
async def test_who_has_been_idle_longest_makes_room() -> None:
    server = Server(places=4)
    unused = server.connect()
    await asyncio.sleep(MOMENT)
    longest, asked_again = (server.connect(saying=REQUEST) for _ in range(2))
    arriving = server.connect(saying=HEAD)
    await asyncio.sleep(MOMENT)
    asked_again.say(REQUEST)
    await asyncio.sleep(MOMENT)
    gone = []
    for first in (unused, longest, asked_again):
        newcomer = server.connect(saying=REQUEST)
        gone.append(first)
        await asyncio.sleep(MOMENT)
        assert answers(newcomer) == 1
        assert all(each.ended for each in gone)
        assert all(each.is_open for each in (asked_again, arriving) if each not in gone)
    assert arriving.is_open


@on_a_moved_clock
async def test_where_nobody_is_idle_who_has_been_arriving_longest_makes_room() -> None:
    server = Server(places=3)
    arriving = []
    for _ in range(3):
        arriving.append(server.connect(saying=HEAD))
        await asyncio.sleep(MOMENT)
    newcomer = server.connect(saying=REQUEST)
    await asyncio.sleep(MOMENT)
    assert [answers(each, 503) for each in arriving] == [1, 0, 0]
    assert answers(newcomer) == 1
    # Who is refused is the first to go.
    newcomer.say(HEAD)
    server.connect(saying=HEAD)
    assert arriving[0].ended
    assert all(each.is_open for each in arriving[1:])


@on_a_moved_clock
async def test_who_asks_never_makes_room() -> None:
    app = Watched()
    app.may_answer.clear()
    server = Server(app, places=3)
    asking = [server.connect(saying=REQUEST) for _ in range(3)]
    await asyncio.sleep(MOMENT)
    newcomer = server.connect()
    assert answers(newcomer, 503) == 1 and newcomer.is_told_all
    app.may_answer.set()
    await asyncio.sleep(MOMENT)
    assert [answers(each) for each in asking] == [1, 1, 1]


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nA: ", HEAD + b"\r\n"])
@on_a_moved_clock
async def test_all_that_arrives_together_is_bounded(begun: bytes) -> None:
    """In heads that do not end, and after heads whose headers are parsed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_pool, "MAX_HELD_BYTES", 50_000)
        server = Server()
        clients = []
        for _ in range(100):
            clients.append(server.connect(saying=begun))
            await asyncio.sleep(MOMENT)
            clients[-1].say(b"a" * 8)
            if begun != HEAD + b"\r\n":
                clients[-1].say(b"a" * 8_000)
            assert server.pool.held_bytes <= 50_000
        kept = [not client.received for client in clients]
        assert kept == sorted(kept) and 0 < sum(kept)
        if begun != HEAD + b"\r\n":
            assert sum(kept) < 10
        # Who asks at once is not in their way.
        whole = server.connect(saying=REQUEST)
        await asyncio.sleep(MOMENT)
        assert answers(whole) == 1


@on_a_moved_clock
async def test_nothing_is_held_for_those_who_are_gone() -> None:
    server = Server()
    left = server.connect(saying=HEAD + b"\r\nab")
    refused = server.connect(saying=HEAD + b"Host: two\r\n\r\nab")
    answered = server.connect(saying=HEAD + b"\r\nab")
    assert server.pool.held_bytes > 0
    answered.say(b"cdefghi" + REQUEST)
    left.leave()
    await asyncio.sleep(MOMENT)
    assert answers(refused, 400) == 1 and answers(answered) == 2
    assert server.pool.held_bytes == 0


def pad_head(size: int, filler: bytes) -> bytes:
    """A request without body of so many bytes."""
    begin, end = filler.split(b"*")
    return begin + b"a" * (size - len(begin + end)) + end


@pytest.mark.parametrize(
    "filler",
    [
        b"GET /* HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\n" + b"A: \t    \r\n" * 90 + b"*: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: test\r\nA: *\r\n\r\n",
    ],
    ids=["path", "names", "value"],
)
@pytest.mark.parametrize("pieces", [1, 3])
@on_a_moved_clock
async def test_each_byte_of_a_head_counts(filler: bytes, pieces: int) -> None:
    for size, status in ((MAX_HEAD_BYTES, 200), (MAX_HEAD_BYTES + 1, 431)):
        client = Server().connect()
        head = pad_head(size, filler)
        assert len(head) == size
        for begin in range(0, size, size // pieces + 1):
            client.say(head[begin : begin + size // pieces + 1])
        await asyncio.sleep(MOMENT)
        assert answers(client, status) == 1


@pytest.mark.parametrize("count, status", [(100, 200), (101, 431)])
@on_a_moved_clock
async def test_headers_are_counted(count: int, status: int) -> None:
    others = b"a:\r\n" * (count - 1)
    client = Server().connect(b"GET / HTTP/1.1\r\nHost: a\r\n" + others + b"\r\n")
    await asyncio.sleep(MOMENT)
    assert answers(client, status) == 1


@on_a_moved_clock
async def test_refusals_are_logged_anew_when_their_time_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()

    def refuse() -> None:
        server.connect(saying=b"garbage\r\n\r\n")

    refuse()
    await asyncio.sleep(refused_requests.SECONDS - MOMENT)
    refuse()
    assert not caplog.records
    await asyncio.sleep(2 * MOMENT)
    refuse()
    await asyncio.sleep(refused_requests.SECONDS + MOMENT)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "Refused requests within 60 seconds: 2 with 400."),
        (logging.WARNING, "Refused requests within 60 seconds: 1 with 400."),
    ]


def test_the_page_tells_the_limits() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    for row in (
        f"each byte of them | {MAX_HEAD_BYTES:,} bytes, {MAX_HEADERS} headers | 431 |",
        f"from its first byte to its last | {MAX_SECONDS} s | 408 |",
        f"before its first request | {MAX_SECONDS} s | closed |",
        f"as the Ingress says | {KEEP_ALIVE_SECONDS} s | closed |",
        f"not read | {MAX_SECONDS} s, {MAX_UNREAD_CONNECTIONS} connections | closed,",
        f"for their turn | {MAX_WAITING_REQUESTS} | 503 for",
        f"more than {MAX_QUICK_BODY_BYTES:,} bytes, or no POST | {MAX_LONG_REQUESTS} |",
        f"of all connections together | {MAX_HELD_BYTES // 2**20} MiB | those",
        f"| connections | {MAX_CONNECTIONS:,} | the one that has been idle longest",
        f"it begins {QUICK_IN_A_ROUND} quick requests",
        f"accepts {ACCEPTED} connections.",
        f"fewer than {RESERVED_FILES + MIN_CONNECTIONS} files",
    ):
        assert row in page
