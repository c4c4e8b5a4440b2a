"""What every application answers, whatever it is asked, without a server."""

import asyncio
import json
from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from pipeline.connections import FAILURE
from pipeline.service import Readiness, add_endpoint, create_service
from pipeline.service.counted_route import CountedRoute
from pipeline.service.faults import MAX_FAULTS, make_presentable
from pipeline.service.json_route import JsonRoute, check_headers
from pipeline.service.refusals import Refused
from tests.service.applications import (
    CURVES,
    JSON,
    V0_1,
    V0_2,
    Answer,
    ask,
    make_app,
    make_model,
    send_to,
)

ORDER = {"product_code": "SKU001", "orders_placed": 112}
VERSIONS = {V0_1: ORDER, V0_2: {"orders": [ORDER], "level": 0.9}}


class Question(BaseModel):
    """Something to be asked."""

    number: int = Field(gt=0)


class Reply(BaseModel):
    half: float


def make_other_app(reply: Callable[[int], Any]) -> FastAPI:
    """An application of somebody else, on the same engine."""

    async def halve(question: Question) -> Reply:
        """Halve a number."""
        told: Reply = reply(question.number)
        return told

    model = make_model()
    app = create_service(
        "Halves", "1", "Halves.", model, Readiness(model_version="1", refused=[])
    )
    add_endpoint(app, "/halve", halve, Question, Reply, "Halve a number", "halves")
    return app


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return make_app()


@pytest.fixture(scope="module")
def documented(app: FastAPI) -> FastAPI:
    """The same functions as FastAPI by itself would ask them, as they are documented.

    Of what it refuses, the faults are told as our handler of them always did.
    """
    by_itself = FastAPI(openapi_url=None)
    for route in app.routes:
        if isinstance(route, JsonRoute):
            by_itself.post(route.path, response_model=route.response_model)(
                route.endpoint
            )
        elif isinstance(route, CountedRoute) and route.answers_by_itself:
            by_itself.get(route.path, response_model=route.response_model)(
                route.endpoint
            )

    @by_itself.exception_handler(RequestValidationError)
    async def refuse(_: object, error: RequestValidationError) -> JSONResponse:
        faults = [
            {"loc": [*map(make_presentable, fault["loc"])]}
            | {"msg": fault["msg"], "type": fault["type"]}
            for fault in error.errors()[:MAX_FAULTS]
        ]
        return JSONResponse({"detail": faults}, status_code=422)

    return by_itself


def assert_alike(app: FastAPI, documented: FastAPI, path: str, body: bytes) -> Answer:
    """Both answer the same: to the byte, but for words on what is no JSON."""
    ours, theirs = ask(app, path, body), ask(documented, path, body)
    assert ours.status == theirs.status
    assert ours.headers.items() >= {("content-type", "application/json")}
    faults = ours.json()["detail"] if ours.status == 422 else [{"type": ""}]
    if path == V0_2 and faults[0]["type"] == "json_invalid":
        del faults[0]["msg"]
        [fault] = theirs.json()["detail"]
        assert faults[0].items() < fault.items()
    else:
        assert ours.body == theirs.body
    return ours


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
ORDERS = st.fixed_dictionaries(
    {
        "product_code": st.sampled_from([*CURVES]) | ANY_JSON,
        "orders_placed": st.floats(-1, 1e6) | st.integers(0, 2_000_000) | ANY_JSON,
    },
    optional={"warehouse": ANY_JSON},
) | st.sampled_from([ORDER, {}, {"product_code": "sku001"}])
REQUESTS = st.fixed_dictionaries(
    {"orders": st.lists(ORDERS, max_size=4) | ANY_JSON},
    optional={"level": st.sampled_from([0.5, 0.9, 0.95, 1]) | ANY_JSON},
)


@given(path=st.sampled_from([V0_1, V0_2]), content=ORDERS | REQUESTS | ANY_JSON)
@example(path=V0_1, content=ORDER)
@example(path=V0_2, content=VERSIONS[V0_2])
@example(path=V0_1, content={str(number): number for number in range(30)})
@example(path=V0_1, content=ORDER | {"orders_placed": -0.0})
@example(path=V0_1, content=ORDER | {"orders_placed": 10**400})
def test_what_is_documented_and_what_is_quick_answer_alike(
    app: FastAPI, documented: FastAPI, path: str, content: object
) -> None:
    assert_alike(app, documented, path, json.dumps(content).encode())


# Pieces of which JSON is made, and such as look like it.
PIECES = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u00", b"d83d", b"\xff"),
    *(b" ", b"\n", b"\x0b", b"\xc2\xa0", b"\xef\xbb\xbf", b"0", b"1", b"-", b".", b"e"),
    *(b"NaN", b"-Infinity", b"null", b"true", b"0x1", b"1_0", b"'", b"//", b"\x00"),
]


@given(
    path=st.sampled_from([V0_1, V0_2]),
    cut=st.tuples(st.integers(0, 80), st.integers(0, 3)),
    pieces=st.lists(st.sampled_from(PIECES), max_size=4),
)
@example(path=V0_1, cut=(0, 0), pieces=[b"\xef\xbb\xbf"])
@example(path=V0_1, cut=(0, 99), pieces=[b"[" * 8_000])
@example(path=V0_2, cut=(0, 99), pieces=[b"[" * 500 + b"]" * 500])
@example(path=V0_1, cut=(0, 99), pieces=[b"9" * 4_999])
def test_what_is_nearly_json_is_taken_and_refused_alike(
    app: FastAPI,
    documented: FastAPI,
    path: str,
    cut: tuple[int, int],
    pieces: list[bytes],
) -> None:
    body = json.dumps(VERSIONS[path]).encode()
    start, length = cut
    body = body[:start] + b"".join(pieces) + body[start + length :]
    assert_alike(app, documented, path, body)


def test_what_takes_nothing_of_a_request_answers_alike(
    app: FastAPI, documented: FastAPI
) -> None:
    quick = [
        route.path
        for route in app.routes
        if isinstance(route, CountedRoute)
        and route.answers_by_itself
        and route.allowed == "GET"
    ]
    assert {"/livez", "/readyz", "/readyz/estimates", "/docs", "/"} <= {*quick}
    for path in quick:
        ours, theirs = (ask(each, path, method="GET") for each in (app, documented))
        assert ours == theirs


def test_who_waited_for_metrics_gets_those_that_were_made_meanwhile(
    app: FastAPI,
) -> None:
    async def ask_when(arrived: float) -> bytes:
        metrics = await send_to(app, "/metrics", method="GET", arrived=arrived)
        return metrics.body

    async def ask_all() -> list[bytes]:
        before = perf_counter()
        return [await ask_when(before) for _ in range(2)] + [
            await ask_when(perf_counter()) for _ in range(2)
        ]

    first, meanwhile, second, third = asyncio.run(ask_all())
    # Each is counted, and so changes the next that is made.
    assert first == meanwhile and len({first, second, third}) == 3


@pytest.mark.parametrize("path", [V0_1, V0_2])
def test_who_begins_with_unknown_fields_is_refused_for_these(
    app: FastAPI, path: str
) -> None:
    unknown = {f"größe {number}": number for number in range(10)}
    few = {**VERSIONS[path], **unknown}
    told = ask(app, path, few).json()["detail"]
    assert len(told) == 10
    others = dict.fromkeys(map(str, range(400)))
    many = json.dumps({**unknown, **VERSIONS[path], **others})
    # What comes after them is not read.
    answer = ask(app, path, many.encode()[:-1] + b"?")
    assert (answer.status, answer.json()["detail"]) == (422, told)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-be", "utf-8-sig"])
@pytest.mark.parametrize("path", [V0_1, V0_2])
def test_json_is_taken_in_whatever_encoding(
    app: FastAPI, documented: FastAPI, path: str, encoding: str
) -> None:
    body = json.dumps(VERSIONS[path]).encode(encoding)
    assert assert_alike(app, documented, path, body).status == 200


@pytest.mark.parametrize("path", ["/api/v0.3/times_to_dispatch", "//", "/livez/"])
@pytest.mark.parametrize("method", ["GET", "POST", "INVENTED"])
def test_of_an_unknown_path_those_are_told_that_there_are(
    app: FastAPI, path: str, method: str
) -> None:
    answer = ask(app, path, method=method)
    assert answer.status == 404
    detail = answer.json()["detail"]
    assert detail.startswith(
        f"There is no such path; there are POST {V0_1}, POST {V0_2}, GET /livez, "
    )
    assert detail.endswith(", GET /docs.")
    # The operators' own.
    assert "/metrics" not in detail


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        *[("GET", V0_1, "POST"), ("PUT", V0_2, "POST"), ("OPTIONS", V0_2, "POST")],
        *[("POST", "/livez", "GET"), ("HEAD", "/docs", "GET"), ("POST", "/", "GET")],
    ],
)
def test_of_an_unknown_method_the_right_one_is_told(
    app: FastAPI, method: str, path: str, allowed: str
) -> None:
    answer = ask(app, path, method=method)
    assert answer.status == 405 and answer.headers["allow"] == allowed
    assert answer.json() == {"detail": "Method Not Allowed"}


@pytest.mark.parametrize("path", ["/", "/redoc"])
def test_people_are_led_to_the_documentation(app: FastAPI, path: str) -> None:
    answer = ask(app, path, method="GET")
    # To no host that a request could name.
    assert (answer.status, answer.headers["location"]) == (307, "/docs")


@pytest.mark.parametrize("path", [V0_1, V0_2])
@pytest.mark.parametrize(
    "encoding, status", [("gzip", 415), ("br, gzip", 415), ("", 415), ("Identity", 200)]
)
def test_an_encoded_body_is_refused(
    app: FastAPI, path: str, encoding: str, status: int
) -> None:
    answer = ask(app, path, VERSIONS[path], JSON | {"content-encoding": encoding})
    assert answer.status == status
    if status == 415:
        assert "without Content-Encoding" in answer.json()["detail"]


def test_the_first_declaration_of_a_body_counts() -> None:
    """As in Starlette."""
    declared = [(b"content-type", each) for each in (b"application/json", b"text/a")]
    check_headers(declared)
    with pytest.raises(Refused):
        check_headers(declared[::-1])


def test_nobody_need_prove_who_they_are_wherever_it_runs(app: FastAPI) -> None:
    """And linters insist that it is said."""
    document = app.openapi()
    assert document["security"] == [] and document["servers"][0]["url"] == "/"
    assert [tag["name"] for tag in document["tags"]] == ["estimates", "operation"]


def test_a_body_is_read_to_its_end(app: FastAPI) -> None:
    """Our own server hands it over whole, others need not."""
    body = json.dumps(ORDER).encode()
    pieces = [body[10:20], body[20:], b""]
    answer = asyncio.run(send_to(app, V0_1, body[:10], pieces=pieces))
    assert answer == ask(app, V0_1, body)


def test_an_answer_becomes_json_and_is_checked() -> None:
    app = make_other_app(lambda number: Reply(half=number / 2))
    answer = ask(app, "/halve", {"number": 3})
    assert (answer.status, answer.body) == (200, b'{"half":1.5}')
    assert ask(app, "/halve", {"number": 0}).status == 422
    assert "/halve" in app.openapi()["paths"]


def fail(number: int) -> Reply:
    raise ValueError("a secret")


@pytest.mark.parametrize(
    "reply, error",
    [(fail, ValueError), (lambda _: "no reply", ValidationError)],
    ids=["fail", "str"],
)
def test_a_failure_is_counted_and_says_nothing_of_the_inside(
    reply: Callable[[int], Any], error: type[Exception]
) -> None:
    app = make_other_app(reply)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b'{"number": 3}'}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/halve", "state": {}}
    headers = [(b"content-type", b"application/json")]
    # The server logs what is raised.
    with pytest.raises(error):
        asyncio.run(app({**scope, "headers": headers}, receive, send))
    start, body = sent
    assert start["status"] == 500
    assert (b"connection", b"close") in start["headers"]
    assert json.loads(body["body"]) == {"detail": FAILURE}
    metrics = ask(app, "/metrics", method="GET").body
    assert b'http_requests_total{route="/halve",status="500"} 1.0\n' in metrics
