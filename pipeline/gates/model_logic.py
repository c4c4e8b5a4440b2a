"""What a model must satisfy before anyone sees it."""

from math import inf, nextafter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.estimator import ORDERS_FEATURE, PRODUCT_FEATURE, MonotoneTreeRegressor

QUIET_DAY_ORDERS = 100.0
BUSY_DAY_ORDERS = 150.0
# Of a product with fewer held-out orders, noise may hide that a busy day takes longer.
ENOUGH_TO_RISE = 20
LARGEST_CREDIBLE_RATIO = 1.25
# Estimates made at once: bounds the memory.
ROWS_IN_ONE_GO = 1_000_000

NOT_INCREASING = "hours_to_dispatch predictions do not increase with orders_placed"
NEGATIVE = "negative hours_to_dispatch predictions found for test set"
OUTLIER = "outlier hours_to_dispatch predictions found for test set"


class ModelRefused(RuntimeError):
    """A model did not pass a gate, and why."""


def find_model_faults(
    model: Any, features: NDArray[np.float64], hours: ArrayLike
) -> list[str]:
    """Check a model against what any sensible estimate satisfies.

    Args:
        model: A fitted estimator.
        features: The held-out set, shape (orders, 2): orders placed and product number.
        hours: The observed hours to dispatch of the held-out set, shape (orders,).

    Returns:
        What is wrong; empty if nothing is.
    """
    predictions = np.asarray(model.predict(features))
    checks = {
        NOT_INCREASING: estimates_rise(model, features)
        and count_falls(model, features) == 0,
        NEGATIVE: bool(np.all(predictions >= 0)),
        OUTLIER: bool(np.all(predictions <= LARGEST_CREDIBLE_RATIO * np.max(hours))),
    }
    return [fault for fault, passed in checks.items() if not passed]


def estimates_rise(model: Any, features: NDArray[np.float64]) -> bool:
    """Whether a busy day takes longer than a quiet one, for each product.

    A projected tree says the same of all days that are busier than those it has seen,
    so that products without busy days, or with few orders, are left out.
    """
    products, orders = np.unique(features[:, PRODUCT_FEATURE], return_counts=True)
    if isinstance(model, MonotoneTreeRegressor):
        busiest = [model.curves_[int(each)].orders_placed[-1] for each in products]
        judged = (np.array(busiest) >= BUSY_DAY_ORDERS) & (orders >= ENOUGH_TO_RISE)
        products = products[judged]
        if not len(products):
            return True
    quiet, busy = (
        np.ravel(model.predict(np.column_stack([days, products])))
        for days in (
            np.full(len(products), day) for day in (QUIET_DAY_ORDERS, BUSY_DAY_ORDERS)
        )
    )
    return bool(np.all(quiet < busy))


def count_falls(model: Any, features: NDArray[np.float64]) -> int:
    """Count the places where one more order makes an estimate shorter.

    Every step of a tree and every piece of a projection is looked at, any other
    estimator at the orders placed of the features.
    """
    falls = 0
    places = np.unique(features[:, ORDERS_FEATURE])
    if hasattr(model, "tree_"):
        places = np.unique(np.concatenate([places, sides_of_steps(model)]))
    products = np.unique(features[:, PRODUCT_FEATURE])
    in_one_go = max(1, ROWS_IN_ONE_GO // len(places))
    if isinstance(model, MonotoneTreeRegressor):
        return sum(count_falls_of_curve(model, product, places) for product in products)
    for start in range(0, len(products), in_one_go):
        some = products[start : start + in_one_go]
        rows = np.column_stack(
            [np.tile(places, len(some)), np.repeat(some, len(places))]
        )
        estimates = np.reshape(model.predict(rows), (len(some), len(places)))
        falls += int(np.sum(np.diff(estimates, axis=1) < 0))
    return falls


def count_falls_of_curve(
    model: MonotoneTreeRegressor, product: float, places: NDArray[np.float64]
) -> int:
    """Count the falls of one product of a projection, on both sides of each knot."""
    knots = model.curves_[int(product)].orders_placed
    sides = [nextafter(knot, side) for knot in knots for side in (-inf, knot, inf)]
    places = np.unique(np.concatenate([places, sides]))
    rows = np.column_stack([places, np.full(len(places), product)])
    return int(np.sum(np.diff(model.predict(rows)) < 0))


def sides_of_steps(tree: Any) -> NDArray[np.float64]:
    """Orders placed at both sides of each step of a tree, which rounds to float32."""
    nodes = tree.tree_
    thresholds = nodes.threshold[nodes.feature == ORDERS_FEATURE]
    below = thresholds.astype(np.float32)
    below = np.where(
        below.astype(float) > thresholds, np.nextafter(below, np.float32(-inf)), below
    )
    above = np.nextafter(below, np.float32(inf))
    return np.concatenate([below, above]).astype(float)
