"""Piecewise linear functions of orders placed: what the service answers with.

Nothing heavy is imported here, because the service imports it.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from operator import lt, sub, truediv

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
        numbers = [*self.orders_placed, *self.hours]
        if not (
            len(self.orders_placed) == len(self.hours) > 0
            and {*map(type, numbers)} == {float}
            and all(map(isfinite, numbers))
            and all(map(lt, self.orders_placed, self.orders_placed[1:]))
            # Or an estimate between two knots could be infinite.
            and all(map(isfinite, self._slopes()))
        ):
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

    def _slopes(self) -> Iterator[float]:
        rises = map(sub, self.hours[1:], self.hours)
        return map(truediv, rises, map(sub, self.orders_placed[1:], self.orders_placed))
