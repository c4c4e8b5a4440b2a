"""The serving stage as a process, and a small model for it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
from pandas import DataFrame

from pipeline import aws
from pipeline.train_model import persist_model, prepare_data, train_model
from sandbox.orders import make_week

ROOT = Path(__file__).parents[2]
ENDPOINT = "/api/v0.1/time_to_dispatch"
MANY_ENDPOINT = "/api/v0.2/times_to_dispatch"
ORDER = {"product_code": "SKU001", "orders_placed": 112}
# For what takes a second or two where nothing else runs.
TIMEOUT_SECONDS = 60
DATASET = aws.Dataset(
    DataFrame(), datetime(2021, 7, 2, 23, tzinfo=UTC), "b", "datasets/w.csv", "c0ffee"
)

# Each request has a connection of its own.
client = httpx.Client(
    timeout=TIMEOUT_SECONDS,
    limits=httpx.Limits(max_keepalive_connections=0),
    trust_env=False,
)


def persist(bucket: str) -> aws.Model:
    """Train a small model and persist it."""
    model, metrics = train_model(
        prepare_data(make_week(rows=300, seed=5)), {"random_state": [42]}
    )
    persist_model(bucket, model, DATASET, metrics)
    return aws.get_latest_pkl_model_from_s3(bucket, "models")


@contextmanager
def running_service(
    bucket: str, as_bodywork: bool = False
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the stage on a free port; yields the process and its address."""
    command = ["serve_model.py"] if as_bodywork else ["-m", "pipeline.serve_model"]
    folder = ROOT / "pipeline" if as_bodywork else ROOT
    with running(*command, bucket, folder=folder) as (process, address):
        yield process, address


@contextmanager
def running(
    *arguments: str, folder: Path = ROOT
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start Python with what serves on a free port; yields it and its address."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HOST": "127.0.0.1",
            "PORT": "0",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "Answering on " in line:
                address = line.partition("Answering on ")[2].partition(",")[0]
                break
        else:
            pytest.fail("the service ended before it answered")
        yield process, address
    finally:
        process.kill()
        process.communicate()


@contextmanager
def request_in_flight(address: str) -> Iterator[Callable[[], bytes]]:
    """Send half of a request; yields what sends the rest, and returns the answer."""
    body = json.dumps(ORDER).encode()
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port)) as connection:
        connection.sendall(
            f"POST {ENDPOINT} HTTP/1.1\r\nHost: {place.hostname}\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Content-Type: application/json\r\n\r\n".encode()
            + body[:10]
        )

        def finish() -> bytes:
            connection.sendall(body[10:])
            return connection.makefile("rb").read()

        yield finish


def refuses_connections(address: str) -> bool:
    place = urlsplit(address)
    try:
        socket.create_connection((place.hostname, place.port)).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
