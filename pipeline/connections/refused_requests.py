"""What is refused, in an answer each and a line a minute: a flood fills no log."""

import asyncio
import logging
from collections import Counter

from pipeline.connections.request_limits import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_SECONDS,
)

# What is refused, by status; the documentation lists the same.
REFUSALS = {
    400: "The request is not valid HTTP or JSON.",
    408: f"The request did not arrive whole within {MAX_SECONDS} seconds.",
    413: f"The body is larger than {MAX_BODY_BYTES} bytes.",
    431: f"The request line and headers are larger than {MAX_HEAD_BYTES} bytes, "
    f"or there are more than {MAX_HEADERS} headers.",
    503: "The service has too much to do; try again after Retry-After seconds.",
}
FAILURE = "The service failed to answer; its log says why."
# Between two lines of the log.
SECONDS = 60

log = logging.getLogger("pipeline")


class NotTaken(Exception):
    """A request is not taken; its argument is the status of the answer."""


class RefusalLog:
    """Counts refusals by status, and logs the counts a minute after the first.

    Attributes:
        counts: Those that are not logged yet.
        unread: All of requests that were not read, for Prometheus.
    """

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.unread: Counter[int] = Counter()

    def count(self, status: int) -> None:
        if not self.counts:
            asyncio.get_running_loop().call_later(SECONDS, self.write)
        self.counts[status] += 1

    def count_unread(self, status: int) -> None:
        """Count what the application does not see, and so does not count."""
        self.unread[status] += 1
        self.count(status)

    def write(self) -> None:
        """Log what was counted, if anything was, and count anew."""
        if self.counts:
            counts = sorted(self.counts.items())
            listed = ", ".join(f"{count} with {status}" for status, count in counts)
            log.warning(f"Refused requests within {SECONDS} seconds: {listed}.")
            self.counts.clear()


refusal_log = RefusalLog()
