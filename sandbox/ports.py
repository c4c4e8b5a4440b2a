"""Ports of this machine, for tests: one to serve on, and one where nobody answers."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HOST = "127.0.0.1"


def free_port() -> int:
    """Find a port that nobody else takes until it is served on.

    It is below those that the operating system gives away, and each process finds
    another.
    """
    first = 10_000 + os.getpid() % 20_000
    for port in range(first, first + 1_000):
        with suppress(OSError), socket.create_server((HOST, port)):
            return port
    raise RuntimeError(f"The ports from {first} on are taken.")


@contextmanager
def closed_port(port: int = 0) -> Iterator[int]:
    """Hold a port, or any, that refuses connections and that nobody else can open."""
    with socket.socket() as held:
        # Connections that a server had there may not be over.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, port))
        yield int(held.getsockname()[1])
