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
        totals: All.
    """

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.totals: Counter[int] = Counter()

    def count(self, status: int) -> None:
        if not self.counts:
            asyncio.get_running_loop().call_later(SECONDS, self.write)
        self.counts[status] += 1
        self.totals[status] += 1

    def write(self) -> None:
        """Log what was counted, if anything was, and count anew."""
        if self.counts:
            counts = sorted(self.counts.items())
            listed = ", ".join(f"{count} with {status}" for status, count in counts)
            log.warning(f"Refused requests within {SECONDS} seconds: {listed}.")
            self.counts.clear()
