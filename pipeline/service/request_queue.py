"""Whose request is answered next: what is quick at once, the rest one after the other.

An event loop does one thing at a time. What takes it long, such as a thousand
estimates or a page of metrics, would delay all that is asked meanwhile by as much for
each. So one such request begins in each of its rounds, and between two rounds it reads
what has come: quick requests wait for one long one at most, however many there are.
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


class RequestQueue:
    """Requests that have come whole and wait to be answered.

    Attributes:
        loop: The event loop.
        long: Those that may take long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.long: deque[Callable[[], None]] = deque()

    def add(
        self, head: Head, body: bytes, waiting: int, begin: Callable[[], None]
    ) -> None:
        """Begin to answer a request, now or later.

        Args:
            waiting: How many others are not answered yet.

        Raises:
            Refused: Too many are not.
        """
        is_probe = head.path in PROBES
        if waiting >= MAX_WAITING_REQUESTS and not is_probe:
            raise Refused(503)
        if is_probe or (head.method == "POST" and len(body) <= MAX_QUICK_BODY_BYTES):
            begin()
            return
        if len(self.long) >= MAX_LONG_REQUESTS:
            raise Refused(503)
        self.long.append(begin)
        if len(self.long) == 1:
            self.loop.call_soon(self.begin_next)

    def begin_next(self) -> None:
        """Begin a long request; the next one follows in the next round of the loop."""
        self.long.popleft()()
        if self.long:
            self.loop.call_soon(self.begin_next)
