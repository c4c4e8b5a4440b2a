"""A service that follows a Redis: each publication answers, and no request is lost."""

import re
import signal
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx2 as httpx
import pytest
from redis import Redis

from pipeline import aws
from pipeline.batch.publish import publish_estimates
from pipeline.estimator import read_curves
from sandbox.ports import free_port
from sandbox.redis_server import run_redis_server
from tests.publication.models import MOST, add_model
from tests.stages.services import (
    ENDPOINT,
    MANY_ENDPOINT,
    TIMEOUT_SECONDS,
    client,
    running_service,
    wait_until,
)

pytestmark = [pytest.mark.once, pytest.mark.process]

CLIENTS = 4
CURRENT = "time-to-dispatch:current"


def served_version(address: str) -> str:
    return str(client.get(f"{address}/readyz").json()["model_version"])


def read_metrics(address: str) -> dict[str, float]:
    page = client.get(f"{address}/metrics").text
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (x.rpartition(" ") for x in lines)}


def test_no_request_is_lost_while_publications_go_by(
    redis_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer is that of the model that it names, and each is counted once."""
    monkeypatch.setenv("REDIS_URL", redis_server)
    with Redis.from_url(redis_server) as redis:
        redis.flushall()
    models: dict[str, aws.Model] = {}

    def publish(number: int, codes: list[str]) -> str:
        model = add_model(bucket, number, {code: MOST["SKU001"] for code in codes})
        models[str(model)] = model
        publish_estimates(bucket, None)
        return str(model)

    first = publish(1, ["SKU001", "SKU002"])
    is_over = Event()

    def ask(address: str) -> Counter[str]:
        """Ask without a pause; tells by model how many estimates there were."""
        counts: Counter[str] = Counter()
        order = {"product_code": "SKU001", "orders_placed": 600}
        many = {"orders": [order] * 200}
        with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as one:
            while not is_over.is_set():
                answer = one.post(address + ENDPOINT, json=order).raise_for_status()
                said = answer.json()
                model = models[said["model_version"]]
                hours = read_curves(model)["SKU001"](600)
                assert said["est_hours_to_dispatch"] == hours
                counts[str(model)] += 1
                answer = one.post(address + MANY_ENDPOINT, json=many)
                said = answer.raise_for_status().json()
                [model] = [
                    each
                    for each in models.values()
                    if each.creation_time == said["model"]["timestamp"]
                ]
                hours = round(read_curves(model)["SKU001"](600), 4)
                assert {
                    each["est_hours_to_dispatch"] for each in said["estimates"]
                } == {hours}
                counts[str(model)] += 200
        return counts

    with running_service(redis_server) as (process, address):
        assert served_version(address) == first
        with ThreadPoolExecutor(CLIENTS) as clients:
            asking = [clients.submit(ask, address) for _ in range(CLIENTS)]
            seen = [read_metrics(address)]
            try:
                # The products change, so what they are counted under does.
                for number, codes in enumerate(
                    [["SKU001"], ["SKU001", "SKU003"], ["SKU001", "SKU002"]], start=2
                ):
                    version = publish(number, codes)
                    wait_until(lambda: served_version(address) == version)
                    seen.append(read_metrics(address))
            finally:
                is_over.set()
            counts = sum((each.result() for each in asking), Counter[str]())
        assert counts.keys() == models.keys()
        last = read_metrics(address)
        for before, after in zip(seen, [*seen[1:], last], strict=True):
            assert_no_counter_falls(before, after)
        for path in (ENDPOINT, MANY_ENDPOINT):
            counted = last[f'http_requests_total{{route="{path}",status="200"}}']
            assert counted == counts.total() / 201
        assert last['estimate_hours_count{product="SKU001"}'] == counts.total()
        [created] = {value for name, value in last.items() if "model_created" in name}
        assert created > 0
        document = client.get(f"{address}/openapi.json").json()
        assert document["components"]["schemas"]["ProductCode"]["enum"] == [
            "SKU001",
            "SKU002",
        ]
        process.send_signal(signal.SIGTERM)
        log, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    assert log.count(" - Loaded model ") == len(models) - 1
    assert not re.search("ERROR|WARNING|Traceback", log)


def assert_no_counter_falls(
    before: dict[str, float], after: dict[str, float]
) -> None:
    for name, value in before.items():
        is_counter = re.search(r"_(total|count|sum|bucket)(\{|$)", name)
        if is_counter and name in after:
            assert after[name] >= value, name


def test_a_redis_that_is_gone_changes_nothing(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with run_redis_server(port=port) as redis_address:
        monkeypatch.setenv("REDIS_URL", redis_address)
        first = add_model(bucket, 1)
        publish_estimates(bucket, None)
        with running_service(redis_address) as (process, address):
            assert process.stdout is not None
            with Redis.from_url(redis_address) as redis:
                redis.set(CURRENT, "garbage")
            wait_until(lambda: client.get(f"{address}/readyz").json()["refused"] != [])
            assert served_version(address) == str(first)
            assert read_metrics(address)["model_newer_refused"] == 1
            with Redis.from_url(redis_address) as redis:
                redis.shutdown(nosave=True)
            log = read_until(process.stdout, " goes on serving.")
            assert served_version(address) == str(first)
            # It comes back empty, and is no more than still lost.
            with run_redis_server(port=port):
                assert served_version(address) == str(first)
                second = add_model(bucket, 2)
                publish_estimates(bucket, None)
                wait_until(lambda: served_version(address) == str(second))
                process.send_signal(signal.SIGTERM)
                rest, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    log += rest
    assert log.count(" - WARNING - ") == 2
    assert log.count(" - Refused: ") == log.count(" is followed again.") == 1
    assert not re.search("ERROR|Traceback", log)


def read_until(lines: Iterable[str], text: str) -> str:
    """Read lines until one ends with a text."""
    read = ""
    for line in lines:
        read += line
        if line.endswith(f"{text}\n"):
            return read
    pytest.fail(read)
