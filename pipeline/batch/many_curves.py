"""What a model answers, for arrays of orders: to the last digit what the service does.

The service asks the curve of one product for one order. Here the curves of all products
are one table of pieces, and a million orders find theirs in a tenth of a second.
"""

from collections.abc import Mapping
from math import inf, nan, nextafter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.estimator import (
    Curve,
    PiecewiseLinear,
    Ranges,
    StepFunction,
    most_orders_placed,
)

DECIMALS = 4

Floats = NDArray[np.float64]
Numbers = NDArray[np.intp]


class Answers(NamedTuple):
    """Estimates and their ranges, each of shape (orders,).

    Attributes:
        hours: Estimates, rounded.
        lower, upper: Range around each, rounded; NaN where there is none.
        beyond_observed: Whether so many orders, or so few, were never observed.
    """

    hours: Floats
    lower: Floats
    upper: Floats
    beyond_observed: NDArray[np.bool_]


class ManyCurves:
    """The curves and ranges of a model.

    Attributes:
        codes: Of its products, which are numbered in this order.
    """

    def __init__(
        self, curves: Mapping[str, Curve], ranges: Ranges | None, level: float
    ) -> None:
        """Lay out a model.

        Args:
            ranges: Of the model, if it has some.
            level: Which share of dispatches a range is to hold.

        Raises:
            TypeError: A curve is of a form that no model has.
        """
        self.codes = list(curves)
        pieces = [lay_out(curve) for curve in curves.values()]
        counts = [len(each) for each in pieces]
        self._pieces = np.concatenate(pieces)
        # Complex numbers are in the order of their real parts, then the imaginary ones.
        self._starts = np.repeat(np.arange(len(counts)), counts).astype(complex)
        self._starts.imag = self._pieces["start"]
        self._pieces["start"][~np.isfinite(self._pieces["start"])] = 0.0
        if ranges is None:
            self._scale = 0.0, 0.0
            sides = [(nan, nan)] * len(curves)
            limits = [(-inf, most_orders_placed(curve)) for curve in curves.values()]
        else:
            self._scale = ranges.scale
            sides = [
                ranges.own.get(code, ranges.common).get(level, (nan, nan))
                for code in curves
            ]
            limits = [ranges.limits.get(code, (0.0, 0.0)) for code in curves]
        self._sides = np.array(sides)
        self._limits = np.array(limits)

    @np.errstate(over="ignore", invalid="ignore")
    def answer(self, products: Numbers, orders_placed: Floats) -> Answers:
        """Estimate as v0.2 of the service does.

        Args:
            products: Number of the product of each order, shape (orders,).
            orders_placed: Of each order, shape (orders,); none is NaN.

        Raises:
            RuntimeError: An estimate, or its range, is not a number.
        """
        hours = self.estimate(products, orders_placed)
        below, above = self._sides[products].T
        has_none = np.isnan(below)
        usual = self._scale[0] + self._scale[1] * hours
        lower = np.where(has_none, hours, np.maximum(0.0, hours + below * usual))
        upper = np.where(has_none, hours, hours + above * usual)
        if not np.isfinite(upper).all():
            at = np.flatnonzero(~np.isfinite(upper))[0]
            code = self.codes[products[at]]
            raise RuntimeError(
                f"Of {orders_placed[at]} orders of {code}: {hours[at]} {upper[at]}."
            )
        low, high = self._limits[products].T
        beyond = ~((low <= orders_placed) & (orders_placed <= high))
        lower, upper = (
            np.where(has_none, nan, round_as_text(each)) for each in (lower, upper)
        )
        return Answers(round_as_text(hours), lower, upper, beyond)

    def estimate(self, products: Numbers, orders_placed: Floats) -> Floats:
        """Hours, to the bit as the curve of each product says them."""
        asked = np.empty(len(products), complex)
        asked.real, asked.imag = products, orders_placed
        at = np.searchsorted(self._starts, asked, side="right") - 1
        pieces = self._pieces[at]
        rise = pieces["slope"] * (orders_placed - pieces["start"])
        hours: Floats = np.minimum(pieces["from"] + rise, pieces["to"])
        return hours


def lay_out(curve: Curve) -> NDArray[np.void]:
    """Lay out a curve as straight pieces, the first of which reaches back to -inf.

    Raises:
        TypeError: It is of a form that no model has.
    """
    if isinstance(curve, PiecewiseLinear):
        placed, hours = np.array(curve.orders_placed), np.array(curve.hours)
        start = np.concatenate([[-inf], placed])
        before, after = hours[[0, *range(len(hours))]], hours[[*range(len(hours)), -1]]
        slope = np.concatenate([[0.0], np.diff(hours) / np.diff(placed), [0.0]])
    elif isinstance(curve, StepFunction):
        bounds = [nextafter(bound, inf) for bound in curve.upper_bounds[:-1]]
        start = np.array([-inf, *bounds])
        before = after = np.array(curve.estimates)
        slope = np.zeros(len(start))
    else:
        raise TypeError(f"{type(curve).__name__} is no curve that can be laid out")
    pieces = np.empty(
        len(start), [(name, float) for name in ("start", "from", "slope", "to")]
    )
    pieces["start"], pieces["from"], pieces["slope"] = start, before, slope
    pieces["to"] = after
    return pieces


@np.errstate(over="ignore", invalid="ignore")
def round_as_text(values: Floats) -> Floats:
    """Round as `"%.4f"` does, which knows the exact value of a binary number."""
    scaled = values * 10**DECIMALS
    whole = np.rint(scaled)
    # To multiply rounds as well: where that could have crossed a half, text decides.
    margin = np.abs(scaled) * 2.0**-52
    is_certain = np.abs(np.abs(scaled - whole) - 0.5) > margin
    rounded: Floats = whole / 10**DECIMALS
    for at in np.flatnonzero(~is_certain):
        rounded[at] = float(f"{values[at]:.{DECIMALS}f}")
    return rounded
