"""Rows whose hours nothing explains: no other order of their product, and no model."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from pipeline.orders import (
    LABEL,
    MAX_HOURS_TO_DISPATCH,
    ORDERS_PLACED,
    PRODUCT_CODE,
)

# Beyond this many standard deviations of the product's noise, and this many times as
# long or as short as expected: normal tails reach neither, skewed ones not both.
DEVIATIONS = 15.0
FACTOR = 3.0
# Noise that is smaller is taken for this much, hours.
LEAST_DEVIATION = 0.25
BUSY_SHARE = 1 / 3
# As many other orders of a product as explain one between them.
NEIGHBOURS = 6
# The median absolute deviation of normal noise is this part of its standard deviation.
NORMAL_MAD = 0.6745

TOLERATED_SHARE = 0.01
# For weeks with fewer rows a share of them says little.
SMALL_WEEK, TOLERATED_ROWS = 500, 5


class Mistyped(NamedTuple):
    """A row that is set aside.

    Attributes:
        line: In the file; of a table without lines, the row.
        hours: As delivered.
        expected: What its product's other orders, or the model in service, say, hours.
    """

    line: int
    product_code: str
    orders_placed: float
    hours: float
    expected: float

    def __str__(self) -> str:
        return (
            f"{self.line}: {self.product_code} at {self.orders_placed:g} orders took "
            f"{self.hours:g} hours, expected about {self.expected:.1f}"
        )


def are_too_many(mistyped: int, rows: int) -> bool:
    """Whether so many rows are wrong that the others cannot be trusted."""
    tolerated = TOLERATED_ROWS if rows < SMALL_WEEK else TOLERATED_SHARE * rows
    return not mistyped <= tolerated


def find_mistyped(
    orders: DataFrame, estimates: NDArray[np.float64], fewest: int
) -> list[Mistyped]:
    """Find the rows that neither the others of their product nor the model explain.

    Args:
        orders: A checked delivery; the index holds the lines.
        estimates: What the model in service says of each row, hours; NaN where it says
            nothing.
        fewest: A product with fewer rows is judged by the model alone.

    Returns:
        In the order of the file.
    """
    hours = orders[LABEL].to_numpy()
    placed = orders[ORDERS_PLACED].to_numpy()
    lines = orders.index.to_numpy()
    expected = estimates.copy()
    unexplained = hours > MAX_HOURS_TO_DISPATCH
    groups = orders.groupby(PRODUCT_CODE, sort=False).indices
    for rows in groups.values():
        deviation = LEAST_DEVIATION
        explanations = [estimates[rows]]
        if len(rows) >= fewest:
            line = fit_robust_line(placed[rows], hours[rows])
            residuals = np.abs(hours[rows] - line)
            deviation = max(deviation, float(np.median(residuals)) / NORMAL_MAD)
            nearby = take_median_of_neighbours(placed[rows], hours[rows])
            explanations += [line, follow_busy_days(placed[rows], hours[rows]), nearby]
            unknown = np.isnan(expected[rows])
            expected[rows] = np.where(unknown, np.maximum(line, 0.0), expected[rows])
        far = [is_far(hours[rows], each, deviation) for each in explanations]
        said = ~np.isnan(explanations).all(axis=0)
        unexplained[rows] |= said & np.all(far, axis=0)
    return [
        Mistyped(
            int(lines[row]),
            str(orders[PRODUCT_CODE].iloc[row]),
            float(placed[row]),
            float(hours[row]),
            float(expected[row]),
        )
        for row in np.flatnonzero(unexplained)
    ]


def is_far(
    hours: NDArray[np.float64], explanation: NDArray[np.float64], deviation: float
) -> NDArray[np.bool_]:
    """Whether hours are too far from what is expected to be noise, or none is."""
    expected = np.maximum(explanation, 0.0)
    near = np.abs(hours - expected) <= DEVIATIONS * deviation
    alike = (hours <= FACTOR * expected) & (expected <= FACTOR * hours)
    return ~(near | alike)


def fit_robust_line(
    orders_placed: NDArray[np.float64], hours: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Estimate the hours of rows by a line that a quarter of them does not bend.

    Theil's incomplete method: the median slope between each row and the one half of
    them further on (Theil 1950; Sen 1968 takes all pairs, which are too many here).
    """
    order = np.argsort(orders_placed, kind="stable")
    half = len(order) // 2
    first, second = order[:half], order[-half:]
    run = orders_placed[second] - orders_placed[first]
    rise = hours[second] - hours[first]
    slope = float(np.median(rise[run > 0] / run[run > 0])) if np.any(run > 0) else 0.0
    start = float(np.median(hours - slope * orders_placed))
    return start + slope * orders_placed


def follow_busy_days(
    orders_placed: NDArray[np.float64], hours: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Estimate the hours of the busiest third by a line of its own; NaN for others.

    Where hours grow faster than orders, one line for all is too low there.
    """
    busy = orders_placed >= np.quantile(orders_placed, 1 - BUSY_SHARE)
    estimates = np.full(len(hours), np.nan)
    estimates[busy] = fit_robust_line(orders_placed[busy], hours[busy])
    return estimates


def take_median_of_neighbours(
    orders_placed: NDArray[np.float64], hours: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The median hours of the rows with the most similar orders placed, but its own."""
    order = np.argsort(orders_placed, kind="stable")
    places = np.arange(len(order))
    size = min(NEIGHBOURS + 1, len(order))
    first = np.clip(places - size // 2, 0, len(order) - size)
    window = first[:, np.newaxis] + np.arange(size)
    nearby = hours[order][window]
    others = nearby[window != places[:, np.newaxis]].reshape(len(order), size - 1)
    medians = np.empty(len(order))
    medians[order] = np.median(others, axis=1)
    return medians
