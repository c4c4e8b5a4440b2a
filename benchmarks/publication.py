"""What it takes to publish every estimate into Redis, and to follow what is published.

Usage: python -m benchmarks.publication

Published are models of few and of many products, each observed up to so many orders
placed, by the publisher, into a real Redis on this machine; the baseline is a hash for
each product, which a part of the products is enough to measure. Redis is followed by a
service, which is asked until it names the new model.
"""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from json import loads
from typing import NamedTuple
from urllib.parse import urlsplit

from pandas import DataFrame
from redis import Redis
from sklearn.dummy import DummyRegressor

from benchmarks.services import BUCKET, OURS, Service, run_service
from benchmarks.table import Row, print_rows
from pipeline import aws
from pipeline.batch.publish import publish_estimates
from sandbox.redis_server import run_redis_server
from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server

PRODUCTS = (5, 5_000)
MOST_ORDERS = 1_000
KNOTS = 16
CURRENT = "time-to-dispatch:current"
# Of the baseline, whose memory and time grow with them.
PART = 25
POLL_SECONDS = 0.01
TIMEOUT_SECONDS = 120.0
DATASET = aws.Dataset(
    DataFrame(), datetime(2021, 7, 2, 23, tzinfo=UTC), "b", "datasets/w.csv", "c0ffee"
)


class Publishing(NamedTuple):
    """What it took to publish a model.

    Attributes:
        seconds: From the start of the publisher, within this process, to its end.
        memory: Of Redis, for this publication, in bytes.
        followed_seconds: From when it was current to when a service answered with it.
        baseline_seconds, baseline_memory: Of hashes, without making the estimates.
    """

    products: int
    estimates: int
    seconds: float
    memory: int
    followed_seconds: float
    baseline_seconds: float
    baseline_memory: int


def measure() -> list[Publishing]:
    """Publish each number of products.

    Raises:
        RuntimeError: There is no redis-server, or the service took no publication.
    """
    with local_servers() as address, Redis.from_url(address) as redis:
        add_model(1)
        publish_estimates(BUCKET, None)
        with run_service(OURS, address) as service:
            return [measure_one(redis, service, products) for products in PRODUCTS]


@contextmanager
def local_servers() -> Iterator[str]:
    """Run S3 and Redis, and point this process at them; yields Redis' address."""
    with run_s3_server() as settings, run_redis_server() as address:
        replace_aws_settings(settings)
        os.environ["REDIS_URL"] = address
        make_bucket(BUCKET)
        yield address


def measure_one(redis: Redis, service: Service, products: int) -> Publishing:
    part = max(products // PART, 1)
    baseline_seconds, baseline_memory = write_hashes(redis, part)
    version, before = add_model(products), used_memory(redis)
    with ThreadPoolExecutor(1) as publisher:
        publishing = publisher.submit(time_publisher)
        followed_seconds = follow(redis, service, version)
        seconds = publishing.result()
    return Publishing(
        products,
        products * (MOST_ORDERS + 1),
        seconds,
        used_memory(redis) - before,
        followed_seconds,
        baseline_seconds * products / part,
        round(baseline_memory * products / part),
    )


def time_publisher() -> float:
    started = time.perf_counter()
    publish_estimates(BUCKET, None)
    return time.perf_counter() - started


def add_model(products: int) -> str:
    """Add a model to S3; returns its name, as the service has it."""
    orders_placed = [MOST_ORDERS * knot / (KNOTS - 1) for knot in range(KNOTS)]
    curves = {
        f"SKU{number:03}": {
            "orders_placed": [*orders_placed],
            "hours": [1 + (number % 9 + 1) * placed / 99 for placed in orders_placed],
        }
        for number in range(1, products + 1)
    }
    model = aws.Model("time-to-dispatch", DummyRegressor(), DATASET, {"curves": curves})
    model.put_model_to_s3(BUCKET, "models")
    return str(model)


def follow(redis: Redis, service: Service, version: str) -> float:
    """Wait for a publication, and ask a service until it names that model.

    Returns:
        Seconds from when it is current.

    Raises:
        RuntimeError: The service does not.
    """
    former, changed = redis.get(CURRENT), 0.0
    deadline = time.perf_counter() + TIMEOUT_SECONDS
    while time.perf_counter() < deadline:
        if not changed and redis.get(CURRENT) != former:
            changed = time.perf_counter()
        if changed and served_version(service) == version:
            return time.perf_counter() - changed
        time.sleep(POLL_SECONDS)
    raise RuntimeError("The service did not take what was published.")


def served_version(service: Service) -> str:
    place = urlsplit(service.url)
    connection = HTTPConnection(place.netloc, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return str(loads(connection.getresponse().read())["model_version"])
    finally:
        connection.close()


def write_hashes(redis: Redis, products: int) -> tuple[float, int]:
    """Write a hash for each product; returns the seconds, and Redis' memory."""
    items: list[bytes | int] = []
    for placed in range(MOST_ORDERS + 1):
        items += [placed, b"%.4f" % (1 + placed / 99)]
    keys = [f"hash:{number}" for number in range(products)]
    before, started = used_memory(redis), time.perf_counter()
    for key in keys:
        redis.hset(key, items=[*items])
    seconds, memory = time.perf_counter() - started, used_memory(redis) - before
    redis.delete(*keys)
    return seconds, memory


def used_memory(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


def describe(measured: list[Publishing]) -> list[Row]:
    rows = []
    for each in measured:
        name = f"{each.products:,} products, {each.estimates:,} estimates"
        rows += [
            Row(
                f"to publish {name}",
                f"{each.seconds:.2f} s",
                f"{each.baseline_seconds:.2f} s",
                f"{each.seconds / each.baseline_seconds:.0%}",
            ),
            Row(
                f"Redis' memory for {name}",
                f"{each.memory / 2**20:.2f} MiB",
                f"{each.baseline_memory / 2**20:.2f} MiB",
                f"{each.memory / each.baseline_memory:.0%}",
            ),
            Row(
                f"from published to answered, {each.products:,} products",
                f"{each.followed_seconds:.2f} s",
            ),
        ]
    return rows


if __name__ == "__main__":
    try:
        print_rows(describe(measure()))
    except RuntimeError as error:
        sys.exit(str(error))
