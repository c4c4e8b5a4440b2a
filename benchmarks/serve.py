"""How many estimates a second, and how late: ours against the baseline.

Usage: python -m benchmarks.serve

The service has one core and the load generator another. The baseline is the service
written in the obvious way (baseline_service.py), the floor a bare ASGI application
(echo_service.py) on the same server. They are loaded in turn, several rounds each:

- closed loop: wrk keeps 32 connections busy, so that the service is never idle;
- fixed rate: hey sends 1,000 requests a second, whatever the service does. A closed
  loop waits for slow answers and so hides how requests queue up behind them.

Medians of the rounds are printed.
"""

import re
import subprocess
import tempfile
from statistics import median
from typing import NamedTuple

from benchmarks.services import (
    BASELINE,
    BODY,
    FLOOR,
    HEADERS,
    LOAD_CORE,
    OURS,
    find_program,
    run_service,
    trained_model,
)

ROUNDS = 5
ROUND_SECONDS = 5
CONNECTIONS = 32
FIXED_RATE = 1_000

WRK_SCRIPT = f"""
wrk.method = "POST"
wrk.body = '{BODY}'
wrk.headers["Content-Type"] = "{HEADERS["Content-Type"]}"
"""
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Load(NamedTuple):
    """What a load generator saw: requests a second and latencies in seconds."""

    rate: float
    p50: float
    p99: float


def run_closed_loop(url: str) -> Load:
    """Keep a service busy with wrk."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT)
        script.flush()
        output = run_on_load_core(
            *(find_program("wrk"), "--threads=1", f"--connections={CONNECTIONS}"),
            *(f"--duration={ROUND_SECONDS}s", "--latency", f"--script={script.name}"),
            url,
        )
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"Requests failed:\n{output}")
    latencies = re.findall(r"(?:50|99)%\s+([\d.]+)(us|ms|s)", output)
    p50, p99 = (float(value) * SECONDS[unit] for value, unit in latencies)
    return Load(float(find(r"Requests/sec:\s+([\d.]+)", output)), p50, p99)


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
    return subprocess.run(
        ["taskset", "--cpu-list", LOAD_CORE, *command],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def find(pattern: str, output: str) -> str:
    found = re.search(pattern, output)
    if found is None:
        raise RuntimeError(f"{pattern} not found in:\n{output}")
    return found[1]


def measure() -> tuple[dict[str, Load], dict[str, Load]]:
    """Load all services in turn; returns the medians of the closed loop and of the
    fixed rate, by service."""
    closed: dict[str, list[Load]] = {OURS: [], BASELINE: [], FLOOR: []}
    fixed: dict[str, list[Load]] = {OURS: [], BASELINE: []}
    with (
        trained_model(),
        run_service(OURS) as ours,
        run_service(BASELINE) as baseline,
        run_service(FLOOR) as floor,
    ):
        urls = {OURS: ours.url, BASELINE: baseline.url, FLOOR: floor.url}
        for _ in range(ROUNDS):
            for module, rounds in closed.items():
                rounds.append(run_closed_loop(urls[module]))
            for module, rounds in fixed.items():
                rounds.append(run_fixed_rate(urls[module]))
    return take_medians(closed), take_medians(fixed)


def take_medians(loads: dict[str, list[Load]]) -> dict[str, Load]:
    return {
        module: Load(*(median(values) for values in zip(*rounds, strict=True)))
        for module, rounds in loads.items()
    }


def describe(
    closed: dict[str, Load], fixed: dict[str, Load]
) -> list[tuple[str, str, str, str]]:
    """Rows of a table: measure, ours, baseline, ratio."""
    ours, baseline, floor = closed[OURS], closed[BASELINE], closed[FLOOR]
    rows = [
        (
            f"requests a second, {CONNECTIONS} busy connections",
            f"{ours.rate:,.0f}",
            f"{baseline.rate:,.0f} (a bare ASGI application: {floor.rate:,.0f})",
            f"{ours.rate / baseline.rate:.1f} times",
        )
    ]
    for name, (mine, theirs) in {
        f"{CONNECTIONS} busy connections": (ours, baseline),
        f"{FIXED_RATE:,} requests a second": (fixed[OURS], fixed[BASELINE]),
    }.items():
        for quantile in ("p50", "p99"):
            of_ours, of_baseline = getattr(mine, quantile), getattr(theirs, quantile)
            rows.append(
                (
                    f"{quantile} latency, {name}",
                    f"{of_ours * 1000:.1f} ms",
                    f"{of_baseline * 1000:.1f} ms",
                    f"{of_ours / of_baseline:.0%}",
                )
            )
    return rows


if __name__ == "__main__":
    try:
        for row in describe(*measure()):
            print("{}: {}, baseline {}, ratio {}".format(*row))
    except RuntimeError as error:
        raise SystemExit(str(error)) from error
