"""Whose request is answered next: a few quick ones and one long one in each round.

An event loop does one thing at a time, in rounds: it reads what has come and accepts
connections, then it runs what waits. A round must not take long, or all that come
meanwhile are late. So a few requests that are quick begin in a round, and one that may
take long, such as a thousand estimates or a page of metrics; the others wait for the
next rounds, in the order in which they came.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from pipeline.service.request_limits import (
    MAX_LONG_REQUESTS,
    MAX_QUICK_BODY_BYTES,
    MAX_WAITING_REQUESTS,
    PROBES,
    Refused,
)
from pipeline.service.request_parser import Head

QUICK_IN_A_ROUND = 16


class RequestQueue:
    """Requests that have come whole and wait to be answered.

    Attributes:
        loop: The event loop.
        quick: Those that do not take long.
        long: Those that may.
        begun: How many quick ones have begun in this round.
        is_waiting: Whether the next round will be noticed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.quick: deque[Callable[[], None]] = deque()
        self.long: deque[Callable[[], None]] = deque()
        self.begun = 0
        self.is_waiting = False

    def add(
        self, head: Head, body: bytes, waiting: int, begin: Callable[[], None]
    ) -> None:
        """Begin to answer a request, now or later.

        Args:
            waiting: How many others are not answered yet.

        Raises:
            Refused: Too many are not.
        """
        if head.path in PROBES:
            begin()
            return
        if waiting >= MAX_WAITING_REQUESTS:
            raise Refused(503)
        if head.method != "POST" or len(body) > MAX_QUICK_BODY_BYTES:
            if len(self.long) >= MAX_LONG_REQUESTS:
                raise Refused(503)
            self.long.append(begin)
        elif self.begun < QUICK_IN_A_ROUND:
            self.begun += 1
            begin()
        else:
            self.quick.append(begin)
        self.wait_for_round()

    def wait_for_round(self) -> None:
        if not self.is_waiting:
            self.is_waiting = True
            self.loop.call_soon(self.begin_round)

    def begin_round(self) -> None:
        """Begin as many requests as a round may have."""
        self.is_waiting = False
        self.begun = min(len(self.quick), QUICK_IN_A_ROUND)
        for _ in range(self.begun):
            self.quick.popleft()()
        if self.long:
            self.long.popleft()()
        if self.begun or self.long:
            self.wait_for_round()
