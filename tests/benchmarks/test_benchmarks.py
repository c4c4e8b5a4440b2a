"""The benchmarks measure what they say: small runs, and how their output is read."""

import math
import os
import re
import socket
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import urljoin, urlsplit

import pytest

from benchmarks import (
    batch,
    cluster,
    growth,
    listing,
    publication,
    search,
    serve,
)
from benchmarks.services import (
    BASELINE,
    BODY,
    FLOOR,
    HEADERS,
    MANY_PATH,
    OURS,
    UNCOUNTED,
    Service,
    find_program,
    processor_seconds,
    run_service,
    trained_model,
)
from pipeline import aws
from pipeline.aws.client import s3_client
from pipeline.batch.request_files import open_csv, open_parquet
from tests.stages.services import client

pytestmark = pytest.mark.once

WRK_OUTPUT = """
  Latency Distribution
     50%  900.50us
     75%    4.01ms
     90%    5.62ms
     99%    1.02s
  29373 requests in 4.00s, 12.10MB read
Requests/sec:   7301.47
"""
HEY_OUTPUT = """
  Requests/sec:	996.8501
  0.002 [382]	|■■■■■■■■■■■
  50% in 0.0042 secs
  99% in 0.0111 secs
Status code distribution:
  [200]	5000 responses
"""


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Benchmarks point their process at an S3 server of their own."""
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)
    s3_client.cache_clear()


@pytest.mark.process
def test_ours_and_the_baseline_answer_the_same_for_the_same_tree() -> None:
    answers = {}
    measured_alike = []
    with trained_model():
        for module in (OURS, UNCOUNTED, BASELINE, FLOOR):
            with run_service(module) as service:
                if module in (OURS, UNCOUNTED):
                    measured_alike.append(ask_for_all(service))
                response = client.post(service.url, content=BODY, headers=HEADERS)
                answers[module] = response.raise_for_status().json()
                assert service.seconds > 0
                assert service.memory > 2**20
                assert processor_seconds(service.process_id) > 0
    versions = {answers[module]["model_version"] for module in (OURS, BASELINE)}
    assert len(versions) == 1
    hours = [answers[module]["est_hours_to_dispatch"] for module in (OURS, BASELINE)]
    assert hours[0] == pytest.approx(hours[1], rel=0.2)
    (counted, many), (uncounted, same) = measured_alike
    assert many == same
    assert counted - uncounted == serve.MANY


def ask_for_all(service: Service) -> tuple[float, object]:
    """How many estimates are counted after many, and those; what is refused is."""
    url = urljoin(service.url, MANY_PATH)
    many = client.post(url, content=serve.MANY_BODY, headers=HEADERS)
    refused = client.post(service.url, content=serve.REFUSED_BODY, headers=HEADERS)
    assert refused.status_code == 422
    page = client.get(urljoin(service.url, "/metrics")).text
    counts = re.findall(r"^estimate_hours_count\{.*\} (.*)$", page, re.MULTILINE)
    assert counts
    # One was asked for to see whether the service is there.
    counted = sum(map(float, counts))
    return counted - (counted > 0), many.raise_for_status().json()


@pytest.mark.process
def test_listing_counts_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "RUNS", 1)
    measured = listing.measure(2_001)
    assert measured.requests == 3
    assert measured.seconds > 0


@pytest.mark.process
def test_publishing_and_following_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "PRODUCTS", (2, 30))
    measured = publication.measure()
    assert [each.estimates for each in measured] == [2_002, 30_030]
    for each in measured:
        assert 0 < each.memory < each.baseline_memory
        assert each.seconds > 0 and each.followed_seconds > 0
    assert [row[0] for row in publication.describe(measured)][3:] == [
        "to publish 30 products, 30,030 estimates",
        "Redis' memory for 30 products, 30,030 estimates",
        "from published to answered, 30 products",
    ]


@pytest.mark.parametrize("failure", ["", "Non-2xx or 3xx: 7", "Socket errors: 1"])
def test_what_wrk_prints_is_read(
    monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    monkeypatch.setattr(serve, "find_program", str)
    monkeypatch.setattr(serve, "run_on_load_core", lambda *_: WRK_OUTPUT + failure)
    if failure:
        with pytest.raises(RuntimeError, match="Requests failed"):
            serve.run_closed_loop("http://127.0.0.1")
    else:
        assert serve.run_closed_loop("") == serve.Load(7301.47, 900.5 * 1e-6, 1.02)
        with pytest.raises(RuntimeError, match="Requests failed"):
            serve.run_closed_loop("", refused=True)


@pytest.mark.parametrize("failure", ["", "  [422]\t7 responses", "Error distribution:"])
def test_what_hey_prints_is_read(
    monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    monkeypatch.setattr(serve, "find_program", str)
    monkeypatch.setattr(serve, "run_on_load_core", lambda *_: HEY_OUTPUT + failure)
    if failure:
        with pytest.raises(RuntimeError, match="Requests failed"):
            serve.run_fixed_rate("")
    else:
        assert serve.run_fixed_rate("") == serve.Load(996.8501, 0.0042, 0.0111)


def test_a_missing_load_generator_is_named() -> None:
    with pytest.raises(RuntimeError, match="no-such-program is not installed; try"):
        find_program("no-such-program")


def test_the_search_is_measured_against_gridsearchcv(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        search, "HYPERPARAM_GRID", {"random_state": [42], "max_depth": [2, 5, None]}
    )
    measured = search.measure(rows=300)
    assert measured.same_winner
    assert measured.ratio is not None and "the same winner" in search.describe(measured)


def test_more_workers_are_predicted_from_the_time_of_each_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = [[3.0, 1.0, 1.0, 1.0], [2.0]]
    measured = cluster.Measurement(100, 5.0, steps, {})
    # 0.1 s for each of five tasks, and a second for what is sent to each worker.
    sent = int(cluster.BYTES_PER_SECOND)
    predicted = [cluster.predict(measured, n, 0.1, sent) for n in (1, 2, 4)]
    assert predicted == pytest.approx([8 + 1.5, 5 + 2.5, 5 + 4.5])

    monkeypatch.setattr(cluster, "HYPERPARAM_GRID", {"random_state": [42]})
    [threads], _ = cluster.measure([300], workers=())
    assert threads.steps and threads.tasks >= 5
    assert all(seconds > 0 for step in threads.steps for seconds in step)


def test_the_relay_counts_the_bytes_of_both_directions() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with cluster.relay(address) as (relayed, wire):
            port = urlsplit(relayed).port
            with socket.create_connection(("127.0.0.1", port)) as client:
                there, _ = server.accept()
                with there:
                    client.sendall(b"12345")
                    assert there.recv(5, socket.MSG_WAITALL) == b"12345"
                    there.sendall(b"123")
                    assert client.recv(3, socket.MSG_WAITALL) == b"123"
            assert wire.take() == (5, 3)


def test_what_is_measured_of_serving_stands_in_the_table() -> None:
    ours, baseline, floor = (serve.Load(rate, 0.001, 0.002) for rate in (12, 2, 24))
    closed = {OURS: ours, BASELINE: baseline, FLOOR: floor}
    costs = serve.Costs(50e-6, 49e-6, 5e-3, 4.8e-3, 60e-6, 200, baseline)
    rows = serve.describe(closed, closed, costs)
    ratios = {measure: ratio for measure, _, _, ratio in rows}
    assert ratios["requests a second, 32 busy connections"] == "6.0 times"
    assert ratios["the same, against a bare ASGI application"] == "50%"
    assert ratios["estimates a second, 1,000 orders in a request"] == "100000 times"
    assert ratios["processor time of 1,000 estimates, counted for /metrics"] == "104%"
    assert ratios["processor time of an estimate, counted for /metrics"] == "102%"


@pytest.mark.parametrize("file_format", ["csv", "csv.gz", "parquet"])
def test_files_of_requests_have_their_rows(
    bucket: str, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    monkeypatch.setattr(batch, "BUCKET", bucket)
    monkeypatch.setattr(batch, "ROWS_AT_ONCE", 7)
    batch.put_requests(20, file_format, datetime(2021, 7, 3))
    asked = aws.find_latest_artefact_on_s3("table", bucket, "requests")
    open_request = open_parquet if file_format == "parquet" else open_csv
    pieces = [piece.rows for piece in open_request(asked, []).pieces]
    assert sum(rows.num_rows for rows in pieces) == 20
    orders = [int(str(each)) for rows in pieces for each in rows.column("order")]
    assert orders == [*range(20)]


def test_what_is_measured_of_batches_stands_in_the_table() -> None:
    one_row, ours = batch.Run(1, 0.5, 2**20), batch.Run(3, 1.5, 100 * 2**20)
    slow = batch.Run(20, 10.5, 400 * 2**20)
    measured = batch.Measurement("csv", 2001, ours, one_row, 1001, slow, one_row)
    assert batch.describe([measured]) == [
        (
            "estimates a second of a core, of a csv of 2,001 rows",
            *("2,000", "100", "20 times"),
        ),
        (
            "memory at its peak, of a csv of 2,001 rows",
            *("100 MiB", "400 MiB, of 1,001", "25%"),
        ),
    ]


def test_growth_is_predicted_by_a_power_of_the_rows_and_a_line() -> None:
    measured = [
        growth.Growth(rows, {"read": 0.2 * time, "train": 0.8 * time}, memory)
        for rows, time, memory in (
            (1_000, 99.0, 9 * 2**30),
            (10_000, 10.0, 2**20 + 10_000 * 2**10),
            (100_000, 200.0, 2**20 + 100_000 * 2**10),
        )
    ]
    exponent, seconds, memory = growth.predict(measured)
    assert exponent == pytest.approx(math.log10(20))
    assert seconds == pytest.approx(10 * 20**3)
    assert memory == pytest.approx(2**20 + 10**7 * 2**10)
    [*_, told] = growth.describe(growth.KINDS[0], measured)
    assert told[:2] == (
        "10,000,000 orders (CSV), predicted",
        "1333 minutes, 9.5 GiB: seconds as rows ** 1.30",
    )
    assert len(growth.describe(growth.KINDS[0], measured[:2])) == 2


def test_no_two_rows_of_the_worst_week_are_alike() -> None:
    week = growth.make_unlike(2_000)
    assert week["orders_placed"].is_unique and week["hours_to_dispatch"].is_unique
    week = growth.make_like_the_real(2_000)
    assert not week["orders_placed"].is_unique


@pytest.mark.process
def test_growth_is_that_of_the_stage() -> None:
    [(csv, (of_csv,)), (parquet, (of_parquet,)), (_, nothing)] = growth.measure_all(
        growth.FEWEST
    )
    assert (csv.name, parquet.name, nothing) == ("CSV", "Parquet", [])
    for each in (of_csv, of_parquet):
        assert each.rows == growth.FEWEST
        assert {"read", "train", "publish"} <= each.seconds.keys()
        assert 2**26 < each.memory < 2**30
