"""A server that ends without losing a request that it could have answered."""

import asyncio
import ctypes
import socket
import struct
import sys
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from pipeline.connections.connection import Connection
from pipeline.connections.connection_pool import ConnectionPool, PooledConnection
from pipeline.connections.request_queue import RequestQueue

# Kubernetes sends SIGTERM while its nodes may still send new connections here, and
# SIGKILL when the pod's grace is over: 30 seconds, where nothing else is set.
QUIET_SECONDS = 1.0
MAX_ACCEPTING_SECONDS = 5.0
MAX_ANSWERING_SECONDS = 20
# For connections that have begun, and their first requests: both sides may be busy.
ARRIVAL_SECONDS = 0.5
MAX_ARRIVAL_SECONDS = 2.0
POLL_SECONDS = 0.1

SO_ATTACH_FILTER = 26
# Classic BPF, as (code, jump if true, jump if false, value).
DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags from the TCP header
    (0x45, 0, 1, 0x02),  # is SYN among them?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFF),  # keep it
)


class GracefulServer(uvicorn.Server):
    """Uvicorn's server with our own connections, and an end without a loss.

    All that is uvicorn's stands here: it opens the server on a socket, makes a
    connection with `connect`, waits for a signal, and ends with `shutdown`, which waits
    until its `connections` is empty. Its own would close the port on connections that
    wait there.

    Attributes:
        pool: All connections; there is none before it starts.
        queue: All requests that wait; the same.
    """

    def __init__(self, app: ASGIApp, places: int) -> None:
        """Make a server that does not run yet.

        Args:
            app: The application that answers.
            places: How many connections there may be.
        """
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=self.connect,  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            timeout_graceful_shutdown=MAX_ANSWERING_SECONDS,
        )
        super().__init__(config)
        self.app = app
        self.places = places

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.pool = ConnectionPool(self.app, self.places, self.open_connections)
        self.queue = RequestQueue(self.pool.loop)
        await super().startup(sockets)

    @property
    def open_connections(self) -> set[PooledConnection]:
        return self.server_state.connections  # type: ignore[return-value]

    def connect(self, **of_uvicorn: object) -> Connection:
        """Make a connection; uvicorn offers what its own would need."""
        return Connection(self.pool, self.queue)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Go on until a second passes without a request, then answer what has come."""
        # Clients are to move on.
        self.pool.is_ending = True
        await self.wait_for_quiet()
        for listener in sockets or []:
            refuse_new_connections(listener)
        await self.wait_for_arrivals()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await super().shutdown(sockets)

    async def wait_for_quiet(self) -> None:
        for _ in range(int(MAX_ACCEPTING_SECONDS / QUIET_SECONDS)):
            answered = self.pool.answered
            await asyncio.sleep(QUIET_SECONDS)
            if self.force_exit or self.pool.answered == answered:
                return

    async def wait_for_arrivals(self) -> None:
        """Accept the connections that have begun, and read the first request of each.

        The event loop accepts a connection, knows it and reads from it one round after
        the other. So rounds are counted, not seconds: a busy loop makes them slowly.
        """
        least = int(ARRIVAL_SECONDS / POLL_SECONDS)
        for rounds in range(1, int(MAX_ARRIVAL_SECONDS / POLL_SECONDS) + 1):
            await asyncio.sleep(POLL_SECONDS)
            if self.force_exit or (rounds >= least and not self.pool.unused):
                return


def refuse_new_connections(listener: socket.socket) -> None:
    """Take no more connections, so that none waits to be accepted when the port closes.

    The kernel resets those that do, though their clients may have sent requests. Where
    the first packet of a connection is dropped, the client repeats it a second later,
    and is refused by the closed port, before it has sent anything.

    Where the system knows no such filter, the port closes without.
    """
    if sys.platform == "linux":
        program = b"".join(struct.pack("HBBI", *line) for line in DROP_SYN)
        memory = ctypes.create_string_buffer(program)
        packed = struct.pack("HP", len(DROP_SYN), ctypes.addressof(memory))
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, packed)
