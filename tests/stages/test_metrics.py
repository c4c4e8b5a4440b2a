"""What Prometheus is told: by the stage as a process, over HTTP."""

import re
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from time import time
from typing import NamedTuple

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text

from pipeline import aws
from tests.stages.services import ENDPOINT, ORDER, ROOT, client, wait_until

Served = tuple[str, aws.Model]

MOST = 1_000_000


class Page(NamedTuple):
    """The metrics of a service at one moment: each sample by its name and labels."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def get(self, series: str, /, **labels: str) -> float:
        return self.samples.get((series, frozenset(labels.items())), 0)


def look(address: str) -> Page:
    response = client.get(f"{address}/metrics").raise_for_status()
    return Page(
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in read_text(response.text)
            for sample in family.samples
        }
    )


@pytest.fixture
def address(service: Served) -> str:
    return service[0]


@pytest.fixture
def before(address: str) -> Page:
    return look(address)


def ask(address: str, **changes: object) -> int:
    return client.post(address + ENDPOINT, json={**ORDER, **changes}).status_code


def test_estimates_are_counted_by_product_orders_and_hours(
    address: str, before: Page
) -> None:
    answer = client.post(address + ENDPOINT, json=ORDER | {"product_code": "SKU002"})
    hours = answer.json()["est_hours_to_dispatch"]
    assert ask(address, product_code="SKU002", orders_placed=50) == 200
    after = look(address)

    def rise(series: str, **labels: str) -> float:
        labels["product"] = "SKU002"
        return after.get(series, **labels) - before.get(series, **labels)

    # A bucket holds its own bound, and all that is less.
    bounds = ("25.0", "50.0", "100.0", "200.0", "+Inf")
    assert [rise("estimate_orders_placed_bucket", le=each) for each in bounds] == [
        *(0, 1, 1, 2, 2)
    ]
    assert rise("estimate_orders_placed_sum") == 112 + 50
    assert rise("estimate_orders_placed_count") == rise("estimate_hours_count") == 2
    assert rise("estimate_hours_sum") > hours
    hours_bounds = ("1.0", "100.0")
    assert [rise("estimate_hours_bucket", le=each) for each in hours_bounds] == [0, 2]
    assert rise("estimates_beyond_observed_total") == 0
    assert not [labels for name, labels in after.samples if ("product", "") in labels]


def test_estimates_beyond_what_was_observed_are_counted(
    service: Served, before: Page
) -> None:
    address, model = service
    assert model.metadata is not None
    most = model.metadata["curves"]["SKU003"]["orders_placed"][-1]
    for orders_placed in (most, most + 0.5, MOST):
        assert ask(address, product_code="SKU003", orders_placed=orders_placed) == 200
    name, labels = "estimates_beyond_observed_total", {"product": "SKU003"}
    assert look(address).get(name, **labels) == before.get(name, **labels) + 2


@pytest.mark.parametrize(
    "method, path, content, route, status, reason",
    [
        ("POST", ENDPOINT, b'{"product_code": "A"}', ENDPOINT, 422, "literal_error"),
        ("POST", ENDPOINT, b"{", ENDPOINT, 422, "json_invalid"),
        ("POST", ENDPOINT, None, ENDPOINT, 415, "not_declared_as_json"),
        ("GET", ENDPOINT, None, ENDPOINT, 405, "unknown_method"),
        ("GET", "/secret-of-a-client", None, "unknown", 404, "unknown_path"),
        ("GET", "/" + "a" * 9_000, None, "unread", 431, "head_too_large"),
        ("POST", ENDPOINT, b"9" * 9_000, ENDPOINT, 413, "body_too_large"),
        ("POST", ENDPOINT, b"9" * 140_000, "unread", 413, "body_too_large"),
    ],
    ids="product json type method path head body large-body".split(),
)
def test_refusals_are_counted_by_reason(
    address: str,
    before: Page,
    method: str,
    path: str,
    content: bytes | None,
    route: str,
    status: int,
    reason: str,
) -> None:
    headers = {} if content is None else {"content-type": "application/json"}
    answer = client.request(method, address + path, content=content, headers=headers)
    assert answer.status_code == status
    after = look(address)
    requests = ("http_requests_total", {"route": route, "status": str(status)})
    refusals = ("http_refusals_total", {"reason": reason})
    for name, labels in (requests, refusals):
        assert after.get(name, **labels) == before.get(name, **labels) + 1


def test_no_label_is_what_a_client_invented(address: str) -> None:
    invented = "INVENTED"
    client.get(f"{address}/{invented}")
    client.request(invented, f"{address}{ENDPOINT}")
    ask(address, product_code=invented)
    ask(address, **{invented: 1})
    client.get(f"{address}/livez", headers={invented: invented})
    assert invented not in client.get(f"{address}/metrics").text


def test_each_answer_is_counted_once_with_its_time(address: str, before: Page) -> None:
    for _ in range(3):
        ask(address)
        client.get(f"{address}/readyz")
    after = look(address)
    for route in (ENDPOINT, "/readyz"):
        for name, labels in (
            ("http_requests_total", {"route": route, "status": "200"}),
            ("http_request_duration_seconds_count", {"route": route}),
        ):
            assert after.get(name, **labels) == before.get(name, **labels) + 3
        seconds = "http_request_duration_seconds_sum"
        assert after.get(seconds, route=route) > before.get(seconds, route=route)
    # So that the first failure is a rise.
    labels = {"route": ENDPOINT, "status": "500"}
    assert ("http_requests_total", frozenset(labels.items())) in after.samples


def test_the_model_is_named(service: Served) -> None:
    address, model = service
    page = look(address)
    assert page.get(
        "model_info",
        name="time-to-dispatch",
        commit=model.pipeline_git_commit_hash,
        delivery=model.train_dataset_key,
    )
    created = datetime.fromisoformat(model.creation_time).timestamp()
    assert page.get("model_created_timestamp_seconds") == created
    assert page.samples["model_newer_refused", frozenset()] == 0


def test_connections_are_counted_while_they_are_open(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    others = look(address).get("http_connections") - 1
    idle = [socket.create_connection((host, int(port))) for _ in range(20)]
    try:
        wait_until(lambda: look(address).get("http_connections") >= others + 21)
    finally:
        for connection in idle:
            connection.close()
    wait_until(lambda: look(address).get("http_connections") < others + 20)


def test_the_process_is_described(address: str) -> None:
    page = look(address)
    assert 0 < time() - page.get("process_start_time_seconds") < 3600
    assert page.get("process_resident_memory_bytes") > 10 * 2**20


def series(text: str) -> Iterator[str]:
    read: Callable[[str], Iterable[Metric]] = (
        read_openmetrics if text.endswith("# EOF\n") else read_text
    )
    for family in read(text):
        for sample in family.samples:
            yield f"{sample.name}{sorted(sample.labels.items())}"


def test_it_is_told_in_the_format_that_is_asked_for(address: str) -> None:
    """Asked for as Prometheus 2.42 does, and as a person does."""
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    asked = client.get(f"{address}/metrics", headers={"accept": accept})
    plain = client.get(f"{address}/metrics", headers={"accept": "*/*"})
    openmetrics, text = (each.headers["content-type"] for each in (asked, plain))
    assert openmetrics.startswith("application/openmetrics-text; version=1.0.0;")
    assert text == "text/plain; version=0.0.4; charset=utf-8"
    assert set(series(asked.text)) == set(series(plain.text))
    assert len(set(series(plain.text))) > 100


def test_the_page_of_operators_lists_each_metric(address: str) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    text = client.get(f"{address}/metrics").text
    told = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    listed = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert {name for name in told if not name.startswith("process_")} == {
        name for name in listed if name.startswith(("http_", "estimate", "model_"))
    } - {"model_version", "estimates"}


def test_it_is_for_operators_alone(address: str) -> None:
    document = client.get(f"{address}/openapi.json").json()
    assert "/metrics" not in document["paths"]
