"""What the service refuses, and that it answers others meanwhile, when S3 is gone."""

import json
import re
import resource
import signal
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from http.client import HTTPResponse
from mimetypes import guess_type

import httpx2 as httpx
import pytest

from pipeline.aws.client import s3_client
from pipeline.connections import FAILURE
from pipeline.connections.request_limits import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_WAITING_REQUESTS,
    MIN_CONNECTIONS,
    RESERVED_FILES,
    RETRY_AFTER_SECONDS,
    allow_connections,
)
from sandbox.s3_server import make_bucket, run_s3_server
from tests.stages.services import (
    ENDPOINT,
    MANY_ENDPOINT,
    ORDER,
    TIMEOUT_SECONDS,
    client,
    persist,
    running,
    running_service,
    wait_until,
)

JSON = {"content-type": "application/json"}
BODY = json.dumps(ORDER).encode()
HEAD = (
    f"POST {ENDPOINT} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n"
).encode()
REQUEST = HEAD + b"\r\n" + BODY
BIG_REQUEST = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@pytest.fixture(scope="module")
def attacked() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service whose S3 server ended after its start: its process and address."""
    with ExitStack() as stack:
        with run_s3_server() as settings, pytest.MonkeyPatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            s3_client.cache_clear()
            make_bucket("gone")
            persist("gone")
            started = stack.enter_context(running_service("gone"))
            endpoint = settings["AWS_ENDPOINT_URL"]
        s3_client.cache_clear()
        with pytest.raises(httpx.ConnectError):
            client.get(endpoint)
        yield started
        process, _ = started
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 0
        # Nothing that clients do is an error of the service.
        assert "ERROR" not in log and "Traceback" not in log


@pytest.fixture
def address(attacked: tuple[subprocess.Popen[str], str]) -> str:
    return attacked[1]


@contextmanager
def connected(
    address: str, count: int = 1, saying: bytes = b""
) -> Iterator[list[socket.socket]]:
    """Open connections to a service, and say something on each at once."""
    host, port = address.removeprefix("http://").split(":")
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = socket.create_connection((host, int(port)), TIMEOUT_SECONDS)
            connections.append(stack.enter_context(connection))
            connection.sendall(saying)
        yield connections


def read_answer(connection: socket.socket) -> tuple[HTTPResponse, bytes]:
    """Read the one answer that is sent."""
    with HTTPResponse(connection) as response:
        response.begin()
        return response, response.read()


def read_all(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        return stream.read()


def assert_refused(connection: socket.socket, status: int) -> HTTPResponse:
    """Read a refusal: JSON, with the headers of each answer, and then the end."""
    response, body = read_answer(connection)
    assert response.status == status
    assert response.headers["content-type"] == "application/json"
    assert json.loads(body).keys() == {"detail"}
    assert response.headers["connection"] == "close"
    for name, value in SECURITY_HEADERS.items():
        assert response.headers.get_all(name) == [value]
    assert connection.recv(1) == b""
    return response


def assert_answers(address: str) -> None:
    response = client.post(address + ENDPOINT, json=ORDER)
    assert response.status_code == 200
    assert response.json().keys() == {"est_hours_to_dispatch", "model_version"}


def test_estimates_go_on_without_s3(address: str) -> None:
    assert_answers(address)
    assert client.get(f"{address}/readyz").is_success


@pytest.mark.parametrize(
    "request_, status",
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"GET http://test HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"GET http://test:99999/ HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (b"CONNECT test:1 HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        (HEAD + b"Content-Length: 7\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nA: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\nA: " + b"a" * MAX_HEAD_BYTES, 431),
        (b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n\r\n", 431),
        (
            POST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1),
            413,
        ),
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n" % (MAX_BODY_BYTES + 1)
            + b" " * (MAX_BODY_BYTES + 1),
            413,
        ),
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"1\r\n \r\n" * MAX_BODY_BYTES,
            413,
        ),
    ],
    ids="garbage path no-path port tunnel lengths smuggled head endless-head url "
    "declared chunk chunks".split(),
)
def test_what_is_too_large_or_no_http_is_refused(
    address: str, request_: bytes, status: int
) -> None:
    with connected(address) as [connection]:
        connection.sendall(request_)
        assert_refused(connection, status)


def test_a_head_that_comes_in_pieces_without_end_is_refused(address: str) -> None:
    with connected(address) as [connection]:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(MAX_HEAD_BYTES // 1000 + 1):
            time.sleep(0.001)
            connection.sendall(b"A: " + b"a" * 1000 + b"\r\n")
        assert_refused(connection, 431)


def test_trailers_without_end_are_refused(address: str) -> None:
    with connected(address) as [connection]:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"0\r\n")
        for _ in range((MAX_HEAD_BYTES + MAX_BODY_BYTES) // 1000 + 1):
            time.sleep(0.001)
            connection.sendall(b"A: " + b"a" * 1000 + b"\r\n")
        assert_refused(connection, 413)


def test_who_still_sends_is_not_reset_and_reads_the_refusal(address: str) -> None:
    with connected(address) as [connection]:
        connection.sendall(POST + b"Content-Length: 20000000\r\n\r\n")
        for _ in range(20):
            connection.sendall(b" " * 1_000_000)
        assert_refused(connection, 413)


def test_a_body_of_the_largest_size_is_taken(address: str) -> None:
    body = b'{"orders": [%b]}' % BODY
    url = address + MANY_ENDPOINT
    response = client.post(url, content=body.ljust(MAX_BODY_BYTES), headers=JSON)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "content_type, status",
    [
        ("application/json", 200),
        ("Application/JSON ; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        ("", 415),
        (None, 415),
    ],
    ids=str,
)
def test_only_json_is_taken(
    address: str, content_type: str | None, status: int
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = client.post(address + ENDPOINT, content=BODY, headers=headers)
    assert response.status_code == status
    if status == 415:
        assert "set Content-Type: application/json" in response.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/docs/../../../../../../../../etc/passwd",
        "/docs/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/docs//etc/passwd",
        "/docs/%00",
        "//127.0.0.1/",
    ],
)
def test_no_path_leads_out(address: str, path: str) -> None:
    with connected(address) as [connection]:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        response, body = read_answer(connection)
    assert response.status == 404
    assert json.loads(body)["detail"].startswith("There is no such path; there are ")


@pytest.mark.parametrize(
    "path", [ENDPOINT, "/livez", "/readyz", "/docs", "/openapi.json", "/nowhere"]
)
def test_every_answer_has_the_security_headers(address: str, path: str) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE"):
        response = client.request(method, address + path)
        for name, value in SECURITY_HEADERS.items():
            assert response.headers.get_list(name) == [value]
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "server" not in response.headers


def test_no_answer_leads_to_a_host_that_a_request_names(address: str) -> None:
    for path in ("/livez/", "/docs/", ENDPOINT + "/"):
        answer = client.post(address + path, headers={"host": "elsewhere"}, json=ORDER)
        assert answer.status_code == 404


def test_the_policy_lets_the_documentation_work(address: str) -> None:
    page = client.get(f"{address}/docs")
    [script] = re.findall("<script>(.*?)</script>", page.text, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = page.headers["content-security-policy"]
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(sources) == 3
    for source in sources:
        assert source.startswith("/docs/")
        media_type, _ = guess_type(source)
        answer = client.get(address + source)
        assert answer.headers["content-type"].partition(";")[0] == media_type
        assert len(answer.content) > 1000


# No model that is loaded from S3 makes it fail.
SERVE_A_BROKEN_MODEL = """
from math import inf
from sklearn.tree import DecisionTreeRegressor
from pipeline import aws
from pipeline.connections import serve
from pipeline.logs import configure_logger
from pipeline.serve_model import create_app
from tests.stages.services import DATASET
configure_logger()
tree = DecisionTreeRegressor().fit([[0.0, 0.0], [1.0, 0.0]], [1.0, 2.0])
# Of up to 0.5 orders: an estimate that no answer can hold.
tree.tree_.value[1] = inf
serve(create_app(aws.Model("broken", tree, DATASET)))
"""


@pytest.mark.once
@pytest.mark.process
def test_a_failure_says_nothing_of_the_inside() -> None:
    with running("-c", SERVE_A_BROKEN_MODEL) as (_, address):
        assert_answers(address)
        body = BODY.replace(b"112", b"0.5")
        with connected(address) as [connection]:
            connection.sendall(REQUEST.replace(BODY, body))
            response, answer = read_answer(connection)
        assert_answers(address)
        metrics = client.get(f"{address}/metrics").text
    assert f'http_requests_total{{route="{ENDPOINT}",status="500"}} 1.0\n' in metrics
    assert response.status == 500
    assert json.loads(answer) == {"detail": FAILURE}
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "request_", [REQUEST, BIG_REQUEST], ids=["estimate", "documentation"]
)
def test_a_client_that_closes_its_side_is_answered(
    address: str, request_: bytes
) -> None:
    with connected(address) as [connection]:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        response, body = read_answer(connection)
        assert response.status == 200
        assert len(body) == int(response.headers["content-length"])
        assert connection.recv(1) == b""


def test_requests_sent_at_once_are_answered_in_order(address: str) -> None:
    with connected(address) as [connection]:
        connection.sendall(REQUEST + REQUEST.replace(b"SKU001", b"SKU999") + b"\0")
        answers = read_all(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"422", b"400"]


@pytest.mark.parametrize("last", [REQUEST[:-9], b""], ids=["begun", "whole"])
def test_all_requests_sent_at_once_are_answered(address: str, last: bytes) -> None:
    """However many, and whether or not the last of them comes in one piece."""
    with connected(address) as [connection]:
        connection.sendall(REQUEST * 1_000 + last)
        time.sleep(0.01)
        connection.sendall(REQUEST[len(last) :])
        connection.shutdown(socket.SHUT_WR)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"HTTP/1.1") == 1_001


def test_a_body_is_asked_for(address: str) -> None:
    with connected(address) as [connection]:
        connection.sendall(HEAD + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read_answer(connection)[0].status == 200


def test_a_body_is_not_asked_for_within_another_answer(address: str) -> None:
    with connected(address) as [connection]:
        connection.sendall(BIG_REQUEST + HEAD + b"Expect: 100-continue\r\n\r\n" + BODY)
        connection.shutdown(socket.SHUT_WR)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert b"100 Continue" not in answers


def test_what_follows_a_body_is_no_header(address: str) -> None:
    request = (
        f"POST {ENDPOINT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        f"{len(BODY):x}\r\n{BODY.decode()}\r\n"
        "0\r\nContent-Type: application/json\r\n\r\n"
    )
    with connected(address, saying=request.encode()) as [connection]:
        assert read_answer(connection)[0].status == 415


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"


def test_an_offer_of_another_protocol_is_declined(address: str) -> None:
    """Java's own client makes one, unless it is told not to."""
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    chunked = HEAD.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n"
    whole = HEAD + OFFER + b"\r\n" + BODY
    with connected(address) as [connection]:
        connection.sendall(whole)
        assert read_answer(connection)[0].status == 200
        connection.sendall(HEAD + OFFER)
        time.sleep(0.01)
        connection.sendall(b"\r\n" + BODY[:9])
        time.sleep(0.01)
        connection.sendall(BODY[9:])
        assert read_answer(connection)[0].status == 200
        connection.sendall(HEAD + OFFER + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read_answer(connection)[0].status == 200
        connection.sendall(chunked + OFFER + b"\r\n" + chunks + whole + REQUEST)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).count(b"HTTP/1.1 200 OK") == 3


def test_what_is_too_much_at_once_is_refused_instead_of_queued(
    attacked: tuple[subprocess.Popen[str], str],
) -> None:
    process, address = attacked
    with connected(address, MAX_WAITING_REQUESTS + 200) as connections:
        assert_answers(address)
        process.send_signal(signal.SIGSTOP)
        try:
            for connection in connections:
                connection.sendall(REQUEST)
        finally:
            process.send_signal(signal.SIGCONT)
        answers = [read_answer(connection)[0] for connection in connections]
    refusals = [answer for answer in answers if answer.status == 503]
    assert 100 <= len(refusals) < len(answers)
    for answer in refusals:
        assert answer.headers["retry-after"] == str(RETRY_AFTER_SECONDS)
        assert answer.headers["connection"] == "close"
    assert {answer.status for answer in answers} == {200, 503}
    assert_answers(address)


SERVE_WITH_FEW_FILES = f"""
import resource
import runpy
files = {RESERVED_FILES + MIN_CONNECTIONS}
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
runpy.run_module("pipeline.serve_model", run_name="__main__")
"""


@pytest.mark.once
@pytest.mark.process
def test_who_has_been_idle_longest_makes_room_and_refusals_are_logged(
    bucket: str,
) -> None:
    persist(bucket)
    too_large = HEAD.replace(b"th: ", b"th: 9999") + b"\r\n"
    refused = [(too_large, 413), (b"garbage\r\n\r\n", 400), (too_large, 413)]
    answered = [(BODY, "text/plain", 415), (b"{}", "application/json", 422)]
    with running("-c", SERVE_WITH_FEW_FILES, bucket) as (process, address):
        with connected(address, MIN_CONNECTIONS, REQUEST) as taken:
            assert {read_answer(each)[0].status for each in taken} == {200}
            taken[0].sendall(HEAD)
            with connected(address, MIN_CONNECTIONS // 2, REQUEST) as newcomers:
                for connection in newcomers:
                    assert read_answer(connection)[0].status == 200
            for connection in taken[1 : MIN_CONNECTIONS // 2 + 1]:
                assert connection.recv(1) == b""
            taken[0].sendall(b"\r\n" + BODY)
            for connection in taken[MIN_CONNECTIONS // 2 + 1 :]:
                connection.sendall(REQUEST)
            for connection in [taken[0], *taken[MIN_CONNECTIONS // 2 + 1 :]]:
                assert read_answer(connection)[0].status == 200
        for request, status in refused:
            with connected(address, saying=request) as [connection]:
                assert_refused(connection, status)
        for content, media_type, status in answered:
            headers = {"content-type": media_type}
            response = client.post(address + ENDPOINT, content=content, headers=headers)
            assert response.status_code == status
        assert client.get(f"{address}/nowhere").status_code == 404
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert re.findall("Refused.*", log) == [
        "Refused requests within 60 seconds: "
        "1 with 400, 1 with 404, 2 with 413, 1 with 415, 1 with 422."
    ]


def test_where_too_few_files_may_be_open_it_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (100, 100))
    monkeypatch.setattr(resource, "setrlimit", lambda limit, files: None)
    with pytest.raises(RuntimeError) as caught:
        allow_connections()
    assert str(caught.value) == (
        "Only 100 files may be open, which is too few for connections; "
        "allow 200 or more with ulimit -n."
    )


def test_many_who_do_not_read_leave_room_for_others(
    address: str, open_files: int
) -> None:
    with connected(address, MAX_WAITING_REQUESTS + 100, BIG_REQUEST * 2):
        for _ in range(20):
            assert_answers(address)


@pytest.mark.parametrize(
    "many", [300, pytest.param(10_000, marks=pytest.mark.thorough)]
)
def test_others_are_answered_while_many_make_it_wait(
    address: str, open_files: int, many: int
) -> None:
    third = min(many, open_files - 500) // 3
    with (
        connected(address, third),
        connected(address, third, HEAD),
        connected(address, third, HEAD + b"\r\n" + BODY[:9]),
    ):
        for _ in range(20):
            assert_answers(address)
    assert_answers(address)


# Answers of a megabyte each.
GREED = 16

SERVE_IN_A_HURRY = """
import sys
from pipeline import serve_model
from pipeline.connections import connection_pool
from pipeline.logs import configure_logger

connection_pool.MAX_SECONDS = 1
configure_logger()
serve_model.main(sys.argv[1])
"""


@pytest.mark.once
@pytest.mark.process
def test_who_makes_it_wait_is_let_go(bucket: str) -> None:
    """Each time limit by itself: tests/connections/test_request_limits.py."""
    persist(bucket)
    greed = BIG_REQUEST * GREED
    with (
        running("-c", SERVE_IN_A_HURRY, bucket) as (_, address),
        connected(address, saying=greed) as [greedy],
        connected(address) as [silent],
        connected(address, saying=HEAD) as [head],
        connected(address, saying=HEAD + b"\r\n" + BODY[:9]) as [body],
    ):
        assert silent.recv(1) == b""
        for connection in (head, body):
            assert_refused(connection, 408)
        metrics = f"{address}/metrics"
        wait_until(lambda: "\nhttp_connections 1.0\n" in client.get(metrics).text)
        assert not took_everything(greedy)


@pytest.fixture
def open_files() -> Iterator[int]:
    """Let this process have as many as the operating system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def took_everything(connection: socket.socket) -> bool:
    """Tell whether all answers come, now that they are read."""
    try:
        answers = read_all(connection)
    except ConnectionResetError:
        return False
    return answers.count(b"HTTP/1.1 200 OK") == GREED
