"""Values counted by their size, in plain integers: for the paths that must be fast."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import inf

from prometheus_client.utils import floatToGoString


class Histogram:
    """How many values were at most each of some bounds.

    Who is in a hurry counts a value without a call, which would take longer than that:

        counts[bisect_left(bounds, value)] += 1
        sum += value

    Nothing is locked: the service counts and is asked in one thread.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def count(self, value: float, times: int) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound as Prometheus writes it, with how many values were within."""
        bounds = map(floatToGoString, [*self.bounds, inf])
        return list(zip(bounds, accumulate(self.counts), strict=True))
