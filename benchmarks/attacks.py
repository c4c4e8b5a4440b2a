"""How late others are answered while someone attacks: against a quiet time before.

Usage: python -m benchmarks.attacks

The service has one core, attackers and clients share another. The baseline is the same
client in the same run with nobody attacking: 100 requests a second, each on a
connection of its own and due at a fixed time, whatever came of those before it.
"""

import asyncio
import gc
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import uvloop

from benchmarks.services import (
    BODY,
    LOAD_CORE,
    OURS,
    PATH,
    resident_memory,
    run_service,
    trained_model,
)

SECONDS = 20
# Attackers come one after the other in this time, and come back when they are let go.
RAMP_SECONDS = 10
PAUSE_SECONDS = 2
RATE = 100
CONNECTIONS = 10_000
ANSWER_TIMEOUT_SECONDS = 10
HEAD = (
    f"POST {PATH} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n"
).encode()
REQUEST = HEAD + b"\r\n" + BODY.encode()


class Seen(NamedTuple):
    """What clients saw: latencies in seconds, and how many were not answered."""

    p50: float
    p99: float
    failed: int


class Attack(NamedTuple):
    """Connections that say something first, and something more each second."""

    connections: int
    first: bytes
    then: bytes
    closes_its_side: bool = False


ATTACKS = {
    "10,000 connections that never ask": Attack(CONNECTIONS, b"", b""),
    "1,000 whose headers drip": Attack(1_000, HEAD, b"a"),
    "1,000 whose bodies drip": Attack(1_000, HEAD + b"\r\n", b" "),
    "1,000 half-closed": Attack(1_000, HEAD, b"", closes_its_side=True),
    "1,000 that send garbage": Attack(1_000, b"garbage\r\n\r\n", b""),
}


async def measure_latency(address: tuple[str, int]) -> Seen:
    """Ask at a fixed rate."""
    start = time.perf_counter()
    asking = []
    for number in range(SECONDS * RATE):
        due = start + number / RATE
        await asyncio.sleep(due - time.perf_counter())
        asking.append(asyncio.create_task(ask(address, due)))
    latencies = await asyncio.gather(*asking, return_exceptions=True)
    answered = sorted(late for late in latencies if isinstance(late, float))
    failed = len(latencies) - len(answered)
    if not answered:
        return Seen(float("inf"), float("inf"), failed)
    return Seen(
        answered[len(answered) // 2], answered[len(answered) * 99 // 100], failed
    )


async def ask(address: tuple[str, int], due: float) -> float:
    """Ask on a new connection; returns the seconds from when it was due."""
    async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(REQUEST)
            status = await reader.readline()
            if b" 200 " not in status:
                raise RuntimeError(status.decode())
            return time.perf_counter() - due
        finally:
            writer.close()


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
                while attack.then and not reader.at_eof():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(2**16), 1)
                    writer.write(attack.then)
                await reader.read()
                writer.close()
            await asyncio.sleep(1)

    await asyncio.gather(*map(keep_on, range(attack.connections)))


@contextmanager
def under_attack(address: tuple[str, int], attack: Attack) -> Iterator[None]:
    """Attack from a process of its own, which first has all its connections open."""
    process = multiprocessing.get_context("spawn").Process(
        target=run_attack, args=(address, attack), daemon=True
    )
    process.start()
    try:
        time.sleep(RAMP_SECONDS + 3)
        yield
    finally:
        process.kill()
        process.join()


def run_attack(address: tuple[str, int], attack: Attack) -> None:
    prepare_process()
    # Clients are not to wait for the core: it would look as if the service were late.
    os.nice(10)
    # Pauses would turn a steady stream of connections into bursts.
    gc.disable()
    uvloop.run(keep_attacking(address, attack))


def prepare_process() -> None:
    """Leave the service its core, and allow as many connections as there can be."""
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    """Measure quiet and under each attack, and print each against the quiet."""
    with trained_model(), run_service(OURS) as service:
        prepare_process()
        url = urlsplit(service.url)
        assert url.hostname is not None and url.port is not None
        address = (url.hostname, url.port)

        def measure() -> Seen:
            return uvloop.run(measure_latency(address))

        def show(name: str, seen: Seen) -> None:
            memory = resident_memory(service.process_id) / 2**20
            print(f"{describe(name, seen, quiet)}, {memory:.0f} MiB", flush=True)

        measure()
        quiet = measure()
        show("quiet", quiet)
        for name, attack in ATTACKS.items():
            with under_attack(address, attack):
                show(name, measure())
            time.sleep(PAUSE_SECONDS)
        show("quiet again", measure())


def describe(name: str, seen: Seen, quiet: Seen) -> str:
    return (
        f"{name}: p50 {seen.p50 * 1000:.2f} ms ({seen.p50 / quiet.p50:.1f} times), "
        f"p99 {seen.p99 * 1000:.2f} ms ({seen.p99 / quiet.p99:.1f} times), "
        f"{seen.failed} of {SECONDS * RATE:,} not answered"
    )


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))
