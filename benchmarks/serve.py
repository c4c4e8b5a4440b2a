"""How many estimates a second, and how late: ours against the baseline.

Usage: python -m benchmarks.serve

The service has one core and the load generator another. The baseline is the service
written in the obvious way (baseline_service.py), the floor a bare ASGI application
(echo_service.py) on the same server. They are loaded in turn, several rounds each:

- closed loop: wrk keeps 32 connections busy, so that the service is never idle;
- fixed rate: hey sends 1,000 requests a second, whatever the service does. A closed
  loop waits for slow answers and so hides how requests queue up behind them.

Of ours alone are measured: 1,000 orders in each request; what others notice of a client
that never ceases to send such; what counting for /metrics costs, against the same
service without (uncounted_service.py); and what a refusal costs. The last two in
processor time for each request, which other load on the machine changes least.

Medians of the rounds are printed, and of processor times the least.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple
from urllib.parse import urljoin

from benchmarks.services import (
    BASELINE,
    BODY,
    FLOOR,
    HEADERS,
    LOAD_CORE,
    MANY_PATH,
    OURS,
    PATH,
    UNCOUNTED,
    Service,
    find_program,
    processor_seconds,
    run_service,
    trained_model,
)
from benchmarks.table import Row, print_rows

ROUNDS = 5
ROUND_SECONDS = 5
CONNECTIONS = 32
FIXED_RATE = 1_000

MANY = 1_000
PRODUCTS = 5
# Different ones, as no two customers are alike.
ORDERS = [
    {"product_code": f"SKU00{1 + each % PRODUCTS}", "orders_placed": each * 37 % 600}
    for each in range(MANY)
]
MANY_BODY = json.dumps({"orders": ORDERS})
REFUSED_BODY = json.dumps({f"{each:x}": each for each in range(700)})

WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = '%s'
wrk.headers["Content-Type"] = "%s"
"""
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Load(NamedTuple):
    """What a load generator saw: requests a second and latencies in seconds."""

    rate: float
    p50: float
    p99: float


class Costs(NamedTuple):
    """What requests cost, beside those that our service and the baseline answer alike.

    Attributes:
        estimate: Processor time for one request of one order (seconds).
        uncounted_estimate: The same, where nothing is counted.
        many: For one request of MANY orders.
        uncounted_many: The same, where nothing is counted.
        refusal: For one request with hundreds of unknown fields.
        rate_of_many: Requests of MANY orders that are answered in a second.
        beside_many: What others notice at the fixed rate while one client sends such.
    """

    estimate: float
    uncounted_estimate: float
    many: float
    uncounted_many: float
    refusal: float
    rate_of_many: float
    beside_many: Load


def run_closed_loop(url: str, body: str = BODY, refused: bool = False) -> Load:
    """Keep a service busy with wrk.

    Args:
        refused: Whether the requests are such as are to be refused.

    Raises:
        RuntimeError: Requests failed, or not one was refused that should be.
    """
    with keeping_busy(url, body, CONNECTIONS) as command:
        output = run_on_load_core(*command)
    if ("Non-2xx" in output) != refused or "Socket errors" in output:
        raise RuntimeError(f"Requests failed:\n{output}")
    latencies = re.findall(r"(?:50|99)%\s+([\d.]+)(us|ms|s)", output)
    p50, p99 = (float(value) * SECONDS[unit] for value, unit in latencies)
    return Load(float(find(r"Requests/sec:\s+([\d.]+)", output)), p50, p99)


@contextmanager
def keeping_busy(url: str, body: str, connections: int) -> Iterator[list[str]]:
    """Make the command that keeps a service busy."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT % (body, HEADERS["Content-Type"]))
        script.flush()
        yield [
            *(find_program("wrk"), "--threads=1", f"--connections={connections}"),
            *(f"--duration={ROUND_SECONDS}s", "--latency", f"--script={script.name}"),
            url,
        ]


def run_fixed_rate(url: str) -> Load:
    """Send requests at a fixed rate with hey."""
    workers = 50
    output = run_on_load_core(
        *(find_program("hey"), "-z", f"{ROUND_SECONDS}s", "-c", str(workers)),
        *("-q", str(FIXED_RATE // workers), "-m", "POST", "-d", BODY),
        *("-T", HEADERS["Content-Type"], url),
    )
    if "Error distribution" in output or re.search(r"\[[345]\d\d\]\s+\d+ resp", output):
        raise RuntimeError(f"Requests failed:\n{output}")
    p50 = float(find(r"50% in ([\d.]+) secs", output))
    p99 = float(find(r"99% in ([\d.]+) secs", output))
    return Load(float(find(r"Requests/sec:\s+([\d.]+)", output)), p50, p99)


def run_on_load_core(*command: str) -> str:
    process = start_on_load_core(*command)
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{output}")
    return output


def start_on_load_core(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["taskset", "--cpu-list", LOAD_CORE, *command],
        stdout=subprocess.PIPE,
        text=True,
    )


def find(pattern: str, output: str) -> str:
    found = re.search(pattern, output)
    if found is None:
        raise RuntimeError(f"{pattern} not found in:\n{output}")
    return found[1]


def measure() -> tuple[dict[str, Load], dict[str, Load], Costs]:
    """Load all services in turn; returns the medians of the closed loop and of the
    fixed rate, by service, and what else requests cost."""
    closed: dict[str, list[Load]] = {OURS: [], BASELINE: [], FLOOR: []}
    fixed: dict[str, list[Load]] = {OURS: [], BASELINE: []}
    with (
        trained_model(),
        run_service(OURS) as ours,
        run_service(BASELINE) as baseline,
        run_service(FLOOR) as floor,
        run_service(UNCOUNTED) as uncounted,
    ):
        urls = {OURS: ours.url, BASELINE: baseline.url, FLOOR: floor.url}
        for _ in range(ROUNDS):
            for module, rounds in closed.items():
                rounds.append(run_closed_loop(urls[module]))
            for module, rounds in fixed.items():
                rounds.append(run_fixed_rate(urls[module]))
        costs = measure_costs(ours, uncounted)
    return take_medians(closed), take_medians(fixed), costs


def measure_costs(ours: Service, uncounted: Service) -> Costs:
    """Measure what kinds of requests cost, in turn."""
    seconds: list[tuple[float, ...]] = []
    rates: list[float] = []
    beside_many: list[Load] = []
    for _ in range(ROUNDS):
        estimate, _ = measure_cost(ours, PATH, BODY)
        uncounted_estimate, _ = measure_cost(uncounted, PATH, BODY)
        many, rate_of_many = measure_cost(ours, MANY_PATH, MANY_BODY)
        uncounted_many, _ = measure_cost(uncounted, MANY_PATH, MANY_BODY)
        refusal, _ = measure_cost(ours, PATH, REFUSED_BODY, refused=True)
        seconds.append((estimate, uncounted_estimate, many, uncounted_many, refusal))
        rates.append(rate_of_many)
        beside_many.append(run_beside_many(ours))
    # Other load on the machine only ever adds to processor time.
    least = [min(each) for each in zip(*seconds, strict=True)]
    medians = take_medians({OURS: beside_many})
    return Costs._make([*least, median(rates), medians[OURS]])


def measure_cost(
    service: Service, path: str, body: str, refused: bool = False
) -> tuple[float, float]:
    """Processor time of a service for each request (seconds), and requests a second."""
    before = processor_seconds(service.process_id)
    load = run_closed_loop(urljoin(service.url, path), body, refused=refused)
    seconds = processor_seconds(service.process_id) - before
    return seconds / (load.rate * ROUND_SECONDS), load.rate


def run_beside_many(ours: Service) -> Load:
    """Ask for one estimate after the other while a client sends 1,000 orders at once,
    and again as soon as they are answered."""
    with keeping_busy(urljoin(ours.url, MANY_PATH), MANY_BODY, 1) as command:
        many = start_on_load_core(*command)
        try:
            return run_fixed_rate(ours.url)
        finally:
            many.kill()
            many.communicate()


def take_medians(loads: dict[str, list[Load]]) -> dict[str, Load]:
    return {
        module: Load(*(median(values) for values in zip(*rounds, strict=True)))
        for module, rounds in loads.items()
    }


def describe(
    closed: dict[str, Load], fixed: dict[str, Load], costs: Costs
) -> list[Row]:
    ours, baseline, floor = closed[OURS], closed[BASELINE], closed[FLOOR]
    many = MANY * costs.rate_of_many
    rows = [
        Row(
            f"requests a second, {CONNECTIONS} busy connections",
            f"{ours.rate:,.0f}",
            f"{baseline.rate:,.0f}",
            f"{ours.rate / baseline.rate:.1f} times",
        ),
        Row(
            "the same, against a bare ASGI application",
            f"{ours.rate:,.0f}",
            f"{floor.rate:,.0f}",
            f"{ours.rate / floor.rate:.0%}",
        ),
        Row(
            f"estimates a second, {MANY:,} orders in a request",
            f"{many:,.0f}",
            f"{baseline.rate:,.0f}, one in a request",
            f"{many / baseline.rate:.0f} times",
        ),
    ]
    rows += describe_costs(costs)
    for name, (mine, theirs) in {
        f"{CONNECTIONS} busy connections": (ours, baseline),
        f"{FIXED_RATE:,} requests a second": (fixed[OURS], fixed[BASELINE]),
    }.items():
        for quantile in ("p50", "p99"):
            of_ours, of_baseline = getattr(mine, quantile), getattr(theirs, quantile)
            rows.append(
                Row(
                    f"{quantile} latency, {name}",
                    f"{of_ours * 1000:.1f} ms",
                    f"{of_baseline * 1000:.1f} ms",
                    f"{of_ours / of_baseline:.0%}",
                )
            )
    beside = (
        f"p99 latency, {FIXED_RATE:,} requests a second, beside a client that never "
        f"ceases to send {MANY:,} orders"
    )
    quiet, busy = fixed[OURS].p99, costs.beside_many.p99
    rows.append(
        Row(
            beside,
            f"{busy * 1000:.1f} ms",
            f"{quiet * 1000:.1f} ms without it",
            f"{busy / quiet:.1f} times",
        )
    )
    return rows


def describe_costs(costs: Costs) -> list[Row]:
    """Processor time for each request."""
    kinds = {
        "an estimate, counted for /metrics": (
            *(costs.estimate, costs.uncounted_estimate, "not counted"),
        ),
        f"{MANY:,} estimates, counted for /metrics": (
            *(costs.many, costs.uncounted_many, "not counted"),
        ),
        f"a refusal of {len(REFUSED_BODY):,} bytes of unknown fields": (
            *(costs.refusal, costs.estimate, "an estimate"),
        ),
    }
    return [
        Row(
            f"processor time of {kind}",
            f"{seconds * 1e6:,.0f} µs",
            f"{other * 1e6:,.0f} µs, {what}",
            f"{seconds / other:.0%}",
        )
        for kind, (seconds, other, what) in kinds.items()
    ]


if __name__ == "__main__":
    try:
        print_rows(describe(*measure()))
    except RuntimeError as error:
        raise SystemExit(str(error)) from error
