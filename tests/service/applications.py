"""The application of our service without a server, on a model that is made at once."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fastapi import FastAPI
from pandas import DataFrame
from sklearn.dummy import DummyRegressor
from starlette.types import Message

from pipeline import aws
from pipeline.connections import ARRIVED
from pipeline.estimator import RANGES, Ranges
from pipeline.serve_model import create_app

V0_1 = "/api/v0.1/time_to_dispatch"
V0_2 = "/api/v0.2/times_to_dispatch"
JSON = {"content-type": "application/json"}
DATASET = aws.Dataset(
    DataFrame(), datetime(2021, 7, 2, 23, tzinfo=UTC), "b", "datasets/w.csv", "c0ffee"
)
# By product code: orders placed and hours at the knots.
CURVES = {
    f"SKU00{number}": {
        "orders_placed": [0.0, 40.0, 112.5, 900.0],
        "hours": [0.1 * number, 3.3333333333333335, 7.0 + number, 1e1 + number / 3],
    }
    for number in range(1, 6)
} | {"Größe 7/ü": {"orders_placed": [1.5], "hours": [2.25]}}
SIDES = {0.5: (-0.4, 0.5), 0.8: (-1.0, 1.25), 0.9: (-1.5, 1.75)}
# Of the first product alone there are enough orders for the widest level.
OWN = SIDES | {0.95: (-2.0, 2.5)}
RANGES_OF_MODEL = Ranges(
    (0.125, 0.0625),
    SIDES,
    {"SKU001": OWN},
    {code: (2.0, 800.0) for code in CURVES if code != "SKU005"},
)


class Answer(NamedTuple):
    """What an application sends."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def make_model(ranges: Ranges | None = RANGES_OF_MODEL) -> aws.Model:
    """Make a model whose name is always the same."""
    metadata: dict[str, Any] = {"curves": CURVES}
    if ranges:
        metadata[RANGES] = ranges.describe()
    model = aws.Model("time-to-dispatch", DummyRegressor(), DATASET, metadata)
    model._creation_time = datetime(2021, 7, 2, 23, 45, 32, tzinfo=UTC)
    model._model_hash = "ab" * 32
    model._pipeline_git_commit_hash = "1f2e3d4"
    return model


def make_app(ranges: Ranges | None = RANGES_OF_MODEL) -> FastAPI:
    return create_app(make_model(ranges))


async def send_to(
    app: FastAPI,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] = JSON,
    method: str = "POST",
    pieces: Iterable[bytes] = (),
    arrived: float | None = None,
) -> Answer:
    """Send a request to an application, as a server does.

    Args:
        pieces: Of the body, after the first.
        arrived: When our own server says that it was there (perf_counter).
    """
    bodies = [body, *pieces]
    sent: list[Message] = []

    async def receive() -> Message:
        piece = bodies.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(bodies)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("test", 80),
        "client": ("test", 1),
        "state": {} if arrived is None else {ARRIVED: arrived},
    }
    await app(scope, receive, send)
    start, *rest = sent
    return Answer(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in rest),
    )


def ask(
    app: FastAPI,
    path: str,
    content: object = b"",
    headers: Mapping[str, str] = JSON,
    method: str = "POST",
) -> Answer:
    """Send one request, and wait for the answer."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return asyncio.run(send_to(app, path, body, headers, method))
