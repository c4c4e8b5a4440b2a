"""Whose request is answered next: who has waited longest since the last answer.

An event loop does one thing at a time, in rounds: it reads what has come and accepts
connections, then it runs what waits. A round must not take long, or all that come
meanwhile are late. So a few requests that are quick begin in a round, and one that may
take long, such as a thousand estimates or a page of metrics.

Of the others, those of connections that were answered least recently come first, and
those that were answered most recently are refused when there are too many. So who asks
now and then does not wait behind those who ask without a pause.
"""

import asyncio
from bisect import insort
from itertools import count
from typing import TypeAlias

from pipeline.connections.exchange import Exchange
from pipeline.connections.request_limits import (
    MAX_LONG_REQUESTS,
    MAX_QUICK_BODY_BYTES,
    MAX_WAITING_REQUESTS,
    PROBES,
)

QUICK_IN_A_ROUND = 8

# With the time of the last answer, and a number that rises: the first comes first.
Waiting: TypeAlias = list[tuple[float, int, Exchange]]


class RequestQueue:
    """Requests that have come whole and wait to be answered.

    Attributes:
        loop: The event loop.
        quick: Those that do not take long.
        long: Those that may.
        numbers: For those that come next.
        begun: How many quick ones have begun in this round.
        is_waiting: Whether the next round will be noticed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.quick: Waiting = []
        self.long: Waiting = []
        self.numbers = count()
        self.begun = 0
        self.is_waiting = False

    def add(self, exchange: Exchange, answered: float) -> None:
        """Begin to answer a request, now or later; if too many wait, refuse one.

        Args:
            answered: When its connection was answered last, 0 for never (seconds).
        """
        head = exchange.head
        is_quick = head.method == "POST" or head.path in PROBES
        if not is_quick or len(exchange.body or b"") > MAX_QUICK_BODY_BYTES:
            self.wait(exchange, answered, self.long, MAX_LONG_REQUESTS)
        elif self.begun < QUICK_IN_A_ROUND:
            self.begun += 1
            exchange.begin()
        else:
            self.wait(exchange, answered, self.quick, MAX_WAITING_REQUESTS)
        self.wait_for_round()

    def wait(
        self, exchange: Exchange, answered: float, waiting: Waiting, most: int
    ) -> None:
        insort(waiting, (answered, next(self.numbers), exchange))
        if len(waiting) > most:
            _, _, latest = waiting.pop()
            if not latest.is_lost:
                latest.connection.refuse(503)

    def wait_for_round(self) -> None:
        if not self.is_waiting:
            self.is_waiting = True
            self.loop.call_soon(self.begin_round)

    def begin_round(self) -> None:
        """Begin as many requests as a round may have."""
        self.is_waiting = False
        quick, long = self.quick[:QUICK_IN_A_ROUND], self.long[:1]
        del self.quick[:QUICK_IN_A_ROUND]
        del self.long[:1]
        self.begun = len(quick)
        for _, _, exchange in quick + long:
            exchange.begin()
        if quick or long:
            self.wait_for_round()
