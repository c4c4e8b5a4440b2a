"""A pod gets traffic when its service answers as clients ask, whatever it says.

The probe of deploy/cluster, run as the kubelet runs it: asked is a service that is not
ours, for the probe must know nothing but the contract.
"""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from deploy.releases import ENDPOINT
from tests.deploy.test_bodywork_yaml import STAGES
from tests.deploy.test_cluster import PATCH

pytestmark = [pytest.mark.once, pytest.mark.process]

PRODUCTS = ["SKU001", "SKU002", "SKU003", "SKU004", "new"]
PLACED = 40.5
UNPROVEN = "/tmp/products-unproven"
# Each look at this clock takes a second; the first is at the start of the probe.
IMPORT = "import time\n"
CLOCK = "import itertools, types\ntime = types.SimpleNamespace()\n"
CLOCK += "time.monotonic = itertools.count().__next__\n"


class Service:
    """Answers as it is told.

    Attributes:
        products: What it documents that it can be asked for.
        estimate: What is answered to an order; None to be gone, an Event to wait for.
        said: What its model says of each product; None for a service that tells none.
        asked: The products of the orders, in their order.
        connections: How many were made to it.
        documented: How often it was asked for its documentation.
    """

    def __init__(self) -> None:
        self.ready = 200
        self.products = PRODUCTS
        self.estimate: Callable[[str], Any] = lambda product: {
            "est_hours_to_dispatch": 8.5,
            "model_version": "newest",
        }
        self.said: dict[str, float] | None = dict.fromkeys(PRODUCTS, 8.5)
        self.asked: list[str] = []
        self.connections = 0
        self.documented = 0

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if (method, path) == ("GET", "/readyz"):
            return self.ready, {"model_version": "newest"}
        if (method, path) == ("GET", "/openapi.json"):
            self.documented += 1
            properties = {"product_code": {"enum": self.products}}
            request = {"EstimateRequest": {"properties": properties}}
            return 200, {"components": {"schemas": request}}
        if (method, path) == ("GET", "/readyz/estimates") and self.said is not None:
            return 200, {"orders_placed": PLACED, "est_hours_to_dispatch": self.said}
        if (method, path) == ("POST", f"/{ENDPOINT}"):
            assert body["orders_placed"] == (112 if self.said is None else PLACED)
            self.asked.append(body["product_code"])
            estimate = self.estimate(body["product_code"])
            if estimate is not None:
                return 200, estimate
        return 404, {"detail": "Not Found"}


@pytest.fixture
def service() -> Iterator[tuple[Service, int]]:
    told = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            told.connections += 1
            super().setup()

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            order = json.loads(body) if body else None
            status, answer = told.answer(self.command, self.path, order)
            # A probe that waited for too long is gone.
            with suppress(BrokenPipeError):
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = reply

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield told, server.server_port
        server.shutdown()


def probe(port: int, directory: Path, clock: str = IMPORT) -> tuple[int, str]:
    """Run the probe; returns its exit code, and what it says."""
    [container] = PATCH["spec"]["template"]["spec"]["containers"]
    python, options, command, script = container["readinessProbe"]["exec"]["command"]
    assert (python, command) == ("python", "-c")
    asked = str(STAGES["serve_model"]["service"]["port"])
    for replaced in (f"{asked},", UNPROVEN, IMPORT):
        assert script.count(replaced) == 1
    script = script.replace(f"{asked},", f"{port},")
    script = script.replace(UNPROVEN, str(directory / "unproven"))
    script = script.replace(IMPORT, clock)
    process = subprocess.run(
        [sys.executable, options, command, script], capture_output=True, text=True
    )
    return process.returncode, process.stdout + process.stderr


def test_it_is_ready_when_it_has_answered_for_each_product(
    service: tuple[Service, int], tmp_path: Path
) -> None:
    told, port = service
    assert probe(port, tmp_path) == (0, "")
    assert (told.asked, told.connections) == (PRODUCTS, 1)
    # And from then on, as long as it says that it is.
    assert probe(port, tmp_path) == (0, "")
    assert (told.asked, told.documented) == (PRODUCTS, 1)
    told.ready = 503
    assert probe(port, tmp_path) == (1, "/readyz answered 503.\n")


def test_it_goes_on_at_the_next_probe_where_one_has_ended(
    service: tuple[Service, int], tmp_path: Path
) -> None:
    """However many products there are, a probe ends before the kubelet ends it."""
    told, port = service
    left = "products have not been asked for yet.\n"
    assert probe(port, tmp_path, CLOCK) == (1, f"3 {left}")
    assert told.asked == PRODUCTS[:2]
    assert probe(port, tmp_path, CLOCK) == (1, f"1 {left}")
    assert probe(port, tmp_path, CLOCK) == (0, "")
    assert (told.asked, told.documented) == (PRODUCTS, 1)


def test_it_is_not_ready_without_products(
    service: tuple[Service, int], tmp_path: Path
) -> None:
    told, port = service
    told.products = []
    for _ in range(2):
        assert probe(port, tmp_path) == (1, "/openapi.json names no product.\n")


@pytest.mark.parametrize(
    "estimate, sentence",
    [
        (None, f"/{ENDPOINT} answered 404."),
        ({"est_hours_to_dispatch": 8.5, "model_version": "older"}, "another model."),
        (
            {"est_hours_to_dispatch": 8.500000000000002, "model_version": "newest"},
            "new takes 8.500000000000002 hours, and its model says 8.5.",
        ),
        ({"est_hours_to_dispatch": -1.0, "model_version": "newest"}, "takes -1.0 h"),
        ({"est_hours_to_dispatch": math.nan, "model_version": "newest"}, "nan hours"),
        ("<html>", "TypeError"),
    ],
)
def test_it_is_not_ready_while_one_product_is_answered_wrongly(
    service: tuple[Service, int], tmp_path: Path, estimate: Any, sentence: str
) -> None:
    told, port = service
    good = told.estimate
    told.estimate = lambda product: (
        estimate if product == PRODUCTS[-1] else good(product)
    )
    exit_code, said = probe(port, tmp_path)
    assert (exit_code, told.asked) == (1, PRODUCTS)
    assert sentence in said
    # The others have been right, and are not asked for again.
    assert probe(port, tmp_path)[0] == 1
    told.estimate = good
    assert probe(port, tmp_path) == (0, "")
    assert told.asked == [*PRODUCTS, PRODUCTS[-1], PRODUCTS[-1]]


def test_it_is_not_ready_while_a_product_is_none_of_its_model(
    service: tuple[Service, int], tmp_path: Path
) -> None:
    told, port = service
    told.said = dict.fromkeys(PRODUCTS[1:], 8.5)
    exit_code, said = probe(port, tmp_path)
    assert exit_code == 1 and "KeyError: 'SKU001'" in said
    assert told.asked == []


def test_a_release_from_before_that_does_not_tell_is_ready(
    service: tuple[Service, int], tmp_path: Path
) -> None:
    told, port = service
    told.said = None
    assert probe(port, tmp_path) == (0, "")
    assert told.asked == PRODUCTS


def test_it_is_not_ready_while_it_is_slow(
    service: tuple[Service, int], tmp_path: Path
) -> None:
    told, port = service
    answered = Event()
    told.estimate = lambda product: answered.wait(60)
    try:
        exit_code, said = probe(port, tmp_path)
    finally:
        answered.set()
    assert exit_code == 1 and "TimeoutError" in said
