"""What the proxy does to requests is what the page says: as it is seen by who asks."""

import os
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from select import select
from urllib.parse import urlsplit

import pytest
from types_boto3_s3 import S3Client

from tests.stages import s3_proxy
from tests.stages.faults import CHANGED, SHORTER, SLOW_DOWN
from tests.stages.s3_proxy import Act, Request, S3Proxy, run_s3_proxy

pytestmark = pytest.mark.once

KEY = "datasets/key"
CONTENT, OTHER = b"0123456789" * 10, b"another" * 10
HALF = CONTENT[:50]
# S3 asks whose request it is, and the server on this machine believes it.
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20210703/eu-west-1/s3/x"}

Ask = Callable[..., HTTPResponse]


@pytest.fixture
def proxy(s3: S3Client, bucket: str) -> Iterator[S3Proxy]:
    """A proxy before a bucket with one object."""
    s3.put_object(Bucket=bucket, Key=KEY, Body=CONTENT)
    with run_s3_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        yield proxy


@pytest.fixture
def ask(proxy: S3Proxy, bucket: str) -> Iterator[Ask]:
    """Ask through the proxy for the object, or put another, while something happens."""
    connections = []

    def ask(act: Act, body: bytes | None = None, timeout: float = 60) -> HTTPResponse:
        proxy.fail = lambda request, kind, count: act(request)
        address = urlsplit(proxy.address)
        connection = HTTPConnection(address.hostname or "", address.port, timeout)
        connections.append(connection)
        method = "GET" if body is None else "PUT"
        connection.request(method, f"/{bucket}/{KEY}", body, SIGNED)
        return connection.getresponse()

    yield ask
    for connection in connections:
        connection.close()


@pytest.fixture
def stored(s3: S3Client, bucket: str) -> Callable[[], bytes]:
    return lambda: s3.get_object(Bucket=bucket, Key=KEY)["Body"].read()


def test_what_is_to_pass_passes(ask: Ask, stored: Callable[[], bytes]) -> None:
    assert ask(s3_proxy.pass_on).read() == CONTENT
    assert ask(s3_proxy.pass_on, OTHER).status == 200
    assert stored() == OTHER


def test_requests_are_told_apart_and_counted(proxy: S3Proxy, s3: S3Client) -> None:
    told: list[tuple[str, int]] = []

    def fail(request: Request, kind: str, count: int) -> None:
        told.append((kind, count))
        SLOW_DOWN(request)

    proxy.fail = fail
    address = urlsplit(proxy.address)
    for method, path in [
        ("GET", "/b/datasets/k"),
        ("GET", "/b?list-type=2&prefix=datasets%2F"),
        ("GET", "/b/datasets/k"),
        ("GET", "/b/models/k"),
        ("PUT", "/b/models/k"),
    ]:
        connection = HTTPConnection(address.hostname or "", address.port)
        connection.request(method, path)
        assert connection.getresponse().status == 503
        connection.close()
    assert told == [
        ("read datasets", 1),
        ("list datasets", 1),
        ("read datasets", 2),
        ("read models", 1),
        ("write models", 1),
    ]


def test_an_error_is_answered_in_its_place(
    ask: Ask, stored: Callable[[], bytes]
) -> None:
    for body in (None, OTHER):
        answer = ask(SLOW_DOWN, body)
        assert answer.status == 503
        assert b"<Code>SlowDown</Code>" in answer.read()
    assert stored() == CONTENT


def test_another_body_comes_as_if_it_were_right(ask: Ask) -> None:
    answer = ask(SHORTER)
    assert answer.read() == CONTENT[:-9] and answer.length == 0
    changed = ask(CHANGED).read()
    assert sum(a != b for a, b in zip(CONTENT, changed, strict=True)) == 1


def test_a_body_breaks_off_half_way(ask: Ask) -> None:
    with pytest.raises(IncompleteRead) as error:
        ask(s3_proxy.break_off).read()
    assert error.value.partial == HALF
    answer = ask(s3_proxy.reset_within_the_answer)
    assert answer.read(len(HALF)) == HALF
    with pytest.raises(ConnectionResetError):
        answer.read()


def test_a_body_stalls_or_drips(proxy: S3Proxy, ask: Ask) -> None:
    answer = ask(s3_proxy.drip)
    assert answer.read(len(HALF) + 2) == CONTENT[: len(HALF) + 2]
    answer = ask(s3_proxy.stall)
    assert answer.read(len(HALF)) == HALF
    assert select([answer], [], [], 2 * s3_proxy.DRIP_SECONDS) == ([], [], [])
    proxy.ended.set()
    with pytest.raises(IncompleteRead):
        answer.read()


def test_connections_are_reset_or_refused(ask: Ask) -> None:
    with pytest.raises(ConnectionResetError):
        ask(s3_proxy.reset_at_once)
    with pytest.raises(ConnectionResetError):
        ask(s3_proxy.refuse_for_a_moment)
    while True:
        try:
            assert ask(s3_proxy.pass_on).read() == CONTENT
            break
        except ConnectionRefusedError:
            continue
    with pytest.raises(ConnectionResetError):
        ask(s3_proxy.refuse_for_ever)
    with pytest.raises(ConnectionRefusedError):
        ask(s3_proxy.pass_on)


@pytest.mark.parametrize(
    "act, is_stored, kills",
    [
        (s3_proxy.reset_within_the_request, False, 0),
        (s3_proxy.give_no_answer, False, 0),
        (s3_proxy.lose_the_answer, True, 0),
        (s3_proxy.kill_within_the_request, False, 1),
        (s3_proxy.kill_before_the_answer, True, 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_put_gets_no_answer_and_is_stored_or_not(
    proxy: S3Proxy,
    ask: Ask,
    stored: Callable[[], bytes],
    act: Act,
    is_stored: bool,
    kills: int,
) -> None:
    killed: list[bytes] = []
    proxy.kill = lambda: killed.append(stored())
    with pytest.raises(OSError):
        ask(act, OTHER, timeout=1 if act is s3_proxy.give_no_answer else 60)
    expected = OTHER if is_stored else CONTENT
    assert killed == [expected] * kills
    assert stored() == expected
