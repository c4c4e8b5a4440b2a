"""How late others are answered while someone attacks: against a quiet time before.

Usage: python -m benchmarks.attacks [SECONDS]

The service has one core, attackers and clients share another. Each attack is measured
for 20 seconds, or SECONDS, and compared with the same client and nobody attacking right
before it: 100 estimates a second, each on a connection of its own and due at a fixed
time, whatever came of those before it; and 5 times a second a probe of each kind.
"""

import asyncio
import gc
import json
import multiprocessing
import os
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from math import inf, isfinite
from multiprocessing.process import BaseProcess
from threading import Event, Thread
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

import uvloop

from benchmarks.services import (
    BODY,
    LOAD_CORE,
    MANY_PATH,
    OURS,
    PATH,
    resident_memory,
    run_service,
    trained_model,
)

SECONDS = 20
# Attackers come one after the other in this time, and come back when they are let go:
# at most so many in a second.
RAMP_SECONDS = 10
RETURN_RATE = 1_000
PAUSE_SECONDS = 2
OTHER_FILES = 50
RATE = 100
PROBE_RATE = 10
PROBES = ("/livez", "/readyz")
ANSWER_TIMEOUT_SECONDS = 10
STATUS_LINE = b"HTTP/1.1 "


def make_request(path: str, body: str = "", method: str = "POST") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


REQUEST = make_request(PATH, BODY)
HEAD, _, _ = REQUEST.partition(b"\r\n\r\n")
UNKNOWN_FIELDS = json.dumps({f"{number:x}": 0 for number in range(800)})
ORDERS = json.dumps({"orders": [json.loads(BODY)] * 1_000})


class Seen(NamedTuple):
    """What clients saw: latencies in seconds, how many were not answered, and the
    longest time that a probe took."""

    p50: float
    p99: float
    failed: int
    probe: float


class Attack(NamedTuple):
    """Connections that say something first, and something more now and then.

    Attributes:
        answers: Of how many answers they wait before they say more; 0 for none, and
            more is said each second.
    """

    connections: int
    first: bytes
    then: bytes = b""
    answers: int = 0
    closes_its_side: bool = False
    reads: bool = True


def flood(connections: int, request: bytes, at_once: int = 1) -> Attack:
    """Requests as fast as they are answered."""
    return Attack(connections, request * at_once, request * at_once, at_once)


ATTACKS = {
    "12,100 connections that never ask": Attack(12_100, b""),
    "12,100 that have asked and stay": Attack(12_100, REQUEST),
    "5,000 that send 16 kB of headers and stop": Attack(
        5_000, b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 4_000
    ),
    "5,000 that send 7 kB of headers and stop": Attack(
        5_000, b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 1_750
    ),
    "5,000 that send half of a body and stop": Attack(
        5_000, make_request(PATH, BODY.ljust(8_000))[:-4_000]
    ),
    "1,000 whose headers drip": Attack(1_000, HEAD, b"a"),
    "1,000 whose bodies drip": Attack(1_000, REQUEST[:-1], b" "),
    "1,000 half-closed": Attack(1_000, HEAD, closes_its_side=True),
    "1,000 that send garbage": Attack(1_000, b"garbage\r\n\r\n"),
    "1,000 that do not read": Attack(1_000, REQUEST * 500, REQUEST, reads=False),
    "a flood of 800 unknown fields": flood(32, make_request(PATH, UNKNOWN_FIELDS)),
    "a flood of estimates, 100 at once": flood(32, REQUEST, at_once=100),
    "a flood of 1,000 orders": flood(32, make_request(MANY_PATH, ORDERS)),
    "a flood of 1,000 orders, 10 at once": flood(
        100, make_request(MANY_PATH, ORDERS), at_once=10
    ),
    "a flood of metrics": flood(32, make_request("/metrics", method="GET")),
    "a flood of probes": flood(1_000, make_request("/readyz", method="GET")),
}


async def measure_latency(address: tuple[str, int], seconds: float) -> Seen:
    """Ask for estimates and probe, each at a fixed rate."""
    requests = [make_request(path, method="GET") for path in PROBES]
    start = time.perf_counter()
    asking: list[asyncio.Task[float]] = []
    probing: list[asyncio.Task[float]] = []
    for number in range(int(seconds * RATE)):
        due = start + number / RATE
        await asyncio.sleep(due - time.perf_counter())
        asking.append(asyncio.create_task(ask(address, REQUEST, due)))
        if number % (RATE // PROBE_RATE) == 0:
            probe = requests[len(probing) % len(requests)]
            probing.append(asyncio.create_task(ask(address, probe, due)))
    latencies = await asyncio.gather(*asking)
    answered = sorted(filter(isfinite, latencies)) or [inf]
    return Seen(
        answered[len(answered) // 2],
        answered[len(answered) * 99 // 100],
        latencies.count(inf),
        max(await asyncio.gather(*probing)),
    )


async def ask(address: tuple[str, int], request: bytes, due: float) -> float:
    """Ask on a new connection; returns the seconds from when it was due, infinitely
    many if it is not answered."""
    with suppress(OSError):
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(request)
                if b" 200 " in await reader.readline():
                    return time.perf_counter() - due
            finally:
                writer.close()
    return inf


async def keep_attacking(address: tuple[str, int], attack: Attack) -> None:
    """Keep connections open and talking; whoever is let go comes back."""

    async def keep_on(number: int) -> None:
        await asyncio.sleep(RAMP_SECONDS * number / attack.connections)
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(*address)
                writer.write(attack.first)
                if attack.closes_its_side:
                    writer.write_eof()
                if attack.reads:
                    await talk(reader, writer)
                else:
                    while not writer.is_closing():
                        await writer.drain()
                        await asyncio.sleep(1)
                        writer.write(attack.then)
                writer.close()
            await asyncio.sleep(max(1, attack.connections / RETURN_RATE))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while attack.then and not reader.at_eof():
            answers = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(None if attack.answers else 1):
                    while answers < attack.answers or not attack.answers:
                        data = await reader.read(2**16)
                        if not data:
                            return
                        answers += data.count(STATUS_LINE)
            writer.write(attack.then)
        await reader.read()

    await asyncio.gather(*map(keep_on, range(attack.connections)))


@contextmanager
def under_attack(address: tuple[str, int], attack: Attack) -> Iterator[None]:
    """Attack from a process of its own, which first has all its connections open.

    Raises:
        RuntimeError: It ended by itself, so that nobody was under attack.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=run_attack, args=(address, attack), daemon=True
    )
    process.start()
    try:
        check_goes_on(process, RAMP_SECONDS + 3)
        yield
        check_goes_on(process)
    finally:
        process.kill()
        process.join()


def check_goes_on(process: BaseProcess, seconds: float = 0) -> None:
    """Check that a process has not ended after some seconds."""
    process.join(seconds)
    if process.exitcode is not None:
        raise RuntimeError(f"The attack ended by itself, with {process.exitcode}.")


def run_attack(address: tuple[str, int], attack: Attack) -> None:
    files = prepare_process()
    # Else those that cannot be opened would pass for some that were let go.
    if 0 <= files < attack.connections + OTHER_FILES:
        sys.exit(
            f"{attack.connections:,} connections need as many open files, and here are "
            f"{files:,} at most: raise that limit (ulimit -Hn), and try again."
        )
    # Clients are not to wait for the core: it would look as if the service were late.
    os.nice(10)
    # Pauses would turn a steady stream of connections into bursts.
    gc.disable()
    uvloop.run(keep_attacking(address, attack))


def prepare_process() -> int:
    """Leave the service its core, and allow as many connections as there can be.

    Returns:
        How many files may be open; -1 for any number.
    """
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def watched_memory(process_id: int) -> Iterator[list[int]]:
    """Look at the memory of a process ten times a second, in bytes."""
    seen = [resident_memory(process_id)]
    is_over = Event()

    def watch() -> None:
        while not is_over.wait(0.1):
            seen.append(resident_memory(process_id))

    watching = Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        is_over.set()
        watching.join()


def read_refusals(url: str) -> Counter[str]:
    """What the service has refused so far, by reason."""
    with urlopen(urljoin(url, "/metrics")) as response:
        page = response.read().decode()
    found = re.findall(r'refusals_total{reason="(\w+)"} (\S+)', page)
    return Counter({reason: int(float(count)) for reason, count in found})


def main(seconds: float) -> None:
    """Measure quiet and under each attack, and print each against the quiet."""
    with trained_model(), run_service(OURS) as service:
        prepare_process()
        url = urlsplit(service.url)
        assert url.hostname is not None and url.port is not None
        address = (url.hostname, url.port)

        def measure() -> Seen:
            return uvloop.run(measure_latency(address, seconds))

        print("attack | p50 | p99 | unanswered | longest probe | memory | refused")
        print("--- | --- | --- | --- | --- | --- | ---")
        for name, attack in {"none": None, **ATTACKS, "none, again": None}.items():
            quiet = measure()
            before = read_refusals(service.url)
            with watched_memory(service.process_id) as memory:
                with under_attack(address, attack) if attack else nullcontext():
                    seen = measure()
            time.sleep(PAUSE_SECONDS)
            refused = read_refusals(service.url) - before
            print(f"{name} | {describe(seen, quiet, max(memory), refused)}", flush=True)


def describe(seen: Seen, quiet: Seen, memory: int, refused: Counter[str]) -> str:
    """A row of the table."""
    return " | ".join(
        [
            f"{seen.p50 * 1000:.2f} ms ({seen.p50 / quiet.p50:.1f} times)",
            f"{seen.p99 * 1000:.2f} ms ({seen.p99 / quiet.p99:.1f} times)",
            f"{seen.failed}",
            f"{seen.probe * 1000:.0f} ms",
            f"{memory / 2**20:.0f} MiB",
            ", ".join(f"{refused[why]:,} {why}" for why in refused) or "nothing",
        ]
    )


if __name__ == "__main__":
    try:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
    except RuntimeError as error:
        sys.exit(str(error))
