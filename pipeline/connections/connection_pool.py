"""Where all connections stand, how long they may, and who makes room for others."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator
from email.utils import formatdate
from typing import Protocol, TypeAlias

from starlette.types import ASGIApp

from pipeline.connections.refused_requests import NotTaken
from pipeline.connections.request_limits import (
    KEEP_ALIVE_SECONDS,
    MAX_HELD_BYTES,
    MAX_SECONDS,
    MAX_UNREAD_CONNECTIONS,
)
from pipeline.connections.response_headers import RESPONSE_HEADERS

SWEEP_SECONDS = 1.0


class PooledConnection(Protocol):
    """What others know of a connection; connection.py says more."""

    pool: "ConnectionPool"
    transport: asyncio.Transport
    place: "Place"
    writable: asyncio.Event | None
    held_bytes: int

    def drop(self) -> None: ...

    def refuse(self, status: int) -> None: ...

    def finish(self) -> None: ...

    def fail(self) -> None: ...


# Connections that wait for the same, and since when (seconds of the loop's clock); who
# has waited longest comes first.
Place: TypeAlias = OrderedDict[PooledConnection, float]


class ConnectionPool:
    """All connections of a service.

    Each stands in one place, and leaves it after the time that `sweep` gives it:

        unused: It never asked.
        idle: It has asked, been answered, and may ask again.
        arriving: A part of a request has come.
        asking: A request has come whole and is not answered yet.
        leaving: It has had its last answer, and the client is to close.

    Some of them stand in another place as well:

        unread: What they were answered, their clients do not read.

    Attributes:
        app: The application that answers.
        places: How many connections there may be.
        open: Those that there are.
        loop: The event loop.
        headers: Those of every answer, as they are sent.
        is_ending: Whether each answer is to be the last of its connection.
        answered: How many requests were, since the start.
        held_bytes: Of requests that are not whole, of all connections.
    """

    def __init__(
        self, app: ASGIApp, places: int, connections: set[PooledConnection]
    ) -> None:
        """Begin without a connection, on the running event loop."""
        self.app = app
        self.places = places
        self.open = connections
        self.loop = asyncio.get_running_loop()
        self.unused: Place = OrderedDict()
        self.idle: Place = OrderedDict()
        self.arriving: Place = OrderedDict()
        self.asking: Place = OrderedDict()
        self.leaving: Place = OrderedDict()
        self.unread: Place = OrderedDict()
        self.is_ending = False
        self.answered = 0
        self.held_bytes = 0
        self.sweep()

    def add(self, connection: PooledConnection) -> None:
        """Give a connection its first place.

        Raises:
            NotTaken: There is none.
        """
        has_place = len(self.open) < self.places or self.make_room()
        self.open.add(connection)
        self.unused[connection] = self.loop.time()
        if not has_place:
            raise NotTaken(503)

    def make_room(self) -> bool:
        """Let go of who has been waited for longest, but of nobody who is asking."""
        if self.leaving:
            first(self.leaving).drop()
        elif waiting := [place for place in (self.unused, self.idle) if place]:
            min(map(first, waiting), key=lambda each: each.place[each]).drop()
        elif self.arriving:
            first(self.arriving).refuse(503)
        else:
            return False
        return True

    def hold(self, connection: PooledConnection, count: int) -> None:
        """Take note of how many bytes a connection holds; if all hold too many, those
        that have been arriving for longest make room."""
        self.held_bytes += count - connection.held_bytes
        connection.held_bytes = count
        while self.held_bytes > MAX_HELD_BYTES and self.arriving:
            first(self.arriving).refuse(503)

    def add_unread(self, connection: PooledConnection) -> None:
        """Wait for a client to read; if there are too many, no longer for the first."""
        self.unread[connection] = self.loop.time()
        if len(self.unread) > MAX_UNREAD_CONNECTIONS:
            first(self.unread).drop()

    def sweep(self) -> None:
        """Let go of whoever has been waited for long enough; once a second."""
        date = formatdate(time.time(), usegmt=True).encode()
        self.headers = b"date: %b\r\n%b" % (date, RESPONSE_HEADERS)
        for place, seconds in (
            (self.unused, MAX_SECONDS),
            (self.idle, KEEP_ALIVE_SECONDS),
            (self.leaving, MAX_SECONDS),
            (self.unread, MAX_SECONDS),
        ):
            for overdue in self.take_overdue(place, seconds):
                overdue.drop()
        for overdue in self.take_overdue(self.arriving, MAX_SECONDS):
            overdue.refuse(408)
        self.loop.call_later(SWEEP_SECONDS, self.sweep)

    def take_overdue(self, place: Place, seconds: float) -> Iterator[PooledConnection]:
        """Yield who stands in a place for too long, and is to leave it at once."""
        while place and place[longest := first(place)] + seconds <= self.loop.time():
            yield longest


def first(place: Place) -> PooledConnection:
    return next(iter(place))
