"""Piecewise linear functions of orders placed: what the service answers with.

Nothing heavy is imported here, because the service imports it.
"""

from bisect import bisect_right
from dataclasses import dataclass
from math import isfinite
from operator import lt

# Where a model's metadata holds its curves, by product code.
CURVES = "curves"


@dataclass(frozen=True)
class PiecewiseLinear:
    """Hours by orders placed: linear between its knots, constant beyond them.

    Attributes:
        orders_placed: Orders at the knots, ascending without repetition.
        hours: Hours at the knots.

    Raises:
        ValueError: The knots are not such.
    """

    orders_placed: list[float]
    hours: list[float]

    def __post_init__(self) -> None:
        ascending = all(map(lt, self.orders_placed, self.orders_placed[1:]))
        finite = all(map(isfinite, [*self.orders_placed, *self.hours]))
        same_length = len(self.orders_placed) == len(self.hours) > 0
        if not (ascending and finite and same_length):
            raise ValueError("its knots are not finite, ascending, one per estimate")

    def __call__(self, orders_placed: float) -> float:
        right = bisect_right(self.orders_placed, orders_placed)
        if right == 0:
            return self.hours[0]
        if right == len(self.hours):
            return self.hours[-1]
        start, end = self.orders_placed[right - 1], self.orders_placed[right]
        from_hours, to_hours = self.hours[right - 1], self.hours[right]
        slope = (to_hours - from_hours) / (end - start)
        # Rounding could lift the end of a piece above the start of the next.
        return min(from_hours + slope * (orders_placed - start), to_hours)
