"""The benchmarks measure what they say: small runs, and how their output is read."""

import os
from collections.abc import Iterator

import pytest

from benchmarks import listing, search, serve
from benchmarks.services import (
    BASELINE,
    BODY,
    FLOOR,
    HEADERS,
    OURS,
    find_program,
    run_service,
    trained_model,
)
from pipeline.aws.client import s3_client
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
    with trained_model():
        for module in (OURS, BASELINE, FLOOR):
            with run_service(module) as service:
                response = client.post(service.url, content=BODY, headers=HEADERS)
                answers[module] = response.raise_for_status().json()
                assert service.seconds > 0
                assert service.memory > 2**20
    versions = {answers[module]["model_version"] for module in (OURS, BASELINE)}
    assert len(versions) == 1
    hours = [answers[module]["est_hours_to_dispatch"] for module in (OURS, BASELINE)]
    assert hours[0] == pytest.approx(hours[1], rel=0.2)


@pytest.mark.process
def test_listing_counts_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "RUNS", 1)
    measured = listing.measure(2_001)
    assert measured.requests == 3
    assert measured.seconds > 0


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
