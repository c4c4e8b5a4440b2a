"""What was refused, in a line a minute: a flood of requests shall not fill the log."""

import asyncio
import logging
from collections import Counter

SECONDS = 60

log = logging.getLogger("pipeline")


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
