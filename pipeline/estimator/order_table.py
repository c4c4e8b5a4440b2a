"""What orders of all products took, summed up in one table.

All products are computed on at once: thousands take no longer than their rows do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from pipeline.estimator.knowledge import Observations
from pipeline.orders import MAX_HOURS_TO_DISPATCH, MAX_ORDERS_PLACED

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Chosen = NDArray[np.int64] | NDArray[np.bool_] | slice

# What weighs less than this share of an order is forgotten.
LEAST_WEIGHT = 0.01
# What is carried on is rounded: hours to a third of a second.
ORDERS_DIGITS, HOURS_DIGITS, WEIGHT_DIGITS = 3, 4, 4


@dataclass(frozen=True)
class OrderTable:
    """Mean hours at numbers of orders placed, sorted by product and orders placed.

    Attributes:
        product: Number of the product, shape (means,), as are the others.
        orders_placed: Ascending within a product.
        hours: Mean hours to dispatch there.
        weights: How many orders stand behind each mean.
    """

    product: Numbers
    orders_placed: Floats
    hours: Floats
    weights: Floats

    @classmethod
    def from_rows(
        cls, product: Numbers, orders_placed: Floats, hours: Floats, weights: Floats
    ) -> Self:
        """Sort rows, and merge those of a product with as many orders placed."""
        orders_placed = orders_placed.round(ORDERS_DIGITS)
        order = np.lexsort((orders_placed, product))
        rows = cls(product, orders_placed, hours, weights)[order]
        return rows.merge(rows.orders_placed)

    @classmethod
    def join(cls, tables: Iterable[Self]) -> Self:
        """Put the orders of several tables together."""
        columns = zip(*(vars(table).values() for table in tables), strict=True)
        product, *rest = (np.concatenate(column) for column in columns)
        orders_placed, hours, weights = rest
        return cls.from_rows(product, orders_placed, hours, weights)

    def __getitem__(self, chosen: Chosen) -> Self:
        return type(self)(
            self.product[chosen],
            self.orders_placed[chosen],
            self.hours[chosen],
            self.weights[chosen],
        )

    def merge(self, key: Floats | Numbers) -> Self:
        """Merge neighbours of a product that have the same key into their mean."""
        if not len(key):
            return self
        differs = (np.diff(key) != 0) | (np.diff(self.product) != 0)
        start = np.flatnonzero(np.concatenate([[True], differs]))
        weights = np.add.reduceat(self.weights, start)
        orders, hours = (
            np.add.reduceat(self.weights * column, start) / weights
            for column in (self.orders_placed, self.hours)
        )
        orders = orders.round(ORDERS_DIGITS)
        return type(self)(self.product[start], orders, hours, weights)

    def fade(self, shares: Floats) -> Self:
        """Weigh each product by its share; what weighs nothing any more is left out."""
        weights = self.weights * shares[self.product]
        faded = type(self)(self.product, self.orders_placed, self.hours, weights)
        return faded[weights > LEAST_WEIGHT]

    def rise(self, width: float) -> Self:
        """The means in bins of a width, made never to fall: isotonic regression."""
        bins = self.merge(np.floor(self.orders_placed / width))
        # Far enough apart that no product is levelled with the next.
        apart = 2 * MAX_HOURS_TO_DISPATCH * bins.product
        hours = isotonic_regression(bins.hours + apart, sample_weight=bins.weights)
        rising = np.maximum(hours - apart, 0.0)
        return type(self)(bins.product, bins.orders_placed, rising, bins.weights)

    def estimate(self, product: Numbers, orders_placed: Floats) -> Floats:
        """Interpolate between the means, and stay level beyond them.

        Returns:
            Hours, shape (orders,); of a product that is not there, of any other one.
        """
        first = np.searchsorted(self.product, product).clip(max=len(self.product) - 1)
        last = np.searchsorted(self.product, product, side="right") - 1
        lowest, highest = self.orders_placed[first], self.orders_placed[last]
        # As if they were one long curve.
        apart = 2 * MAX_ORDERS_PLACED
        hours: Floats = np.interp(
            np.clip(orders_placed, lowest, highest) + apart * product,
            self.orders_placed + apart * self.product,
            self.hours,
        )
        return hours

    def of(self, product: int) -> Self:
        """What it holds of one product."""
        start, end = np.searchsorted(self.product, [product, product + 1])
        return self[start:end]

    def observe(self, product: int, most: int) -> Observations:
        """What it holds of one product, at no more than so many numbers of orders."""
        found = self.of(product)
        count = len(found.product)
        if count > most:
            found = found.merge(np.arange(count) * most // count)
        return Observations(
            found.orders_placed.tolist(),
            found.hours.round(HOURS_DIGITS).tolist(),
            found.weights.round(WEIGHT_DIGITS).tolist(),
        )
