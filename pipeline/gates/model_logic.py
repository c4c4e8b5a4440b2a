"""What a model must satisfy before anyone sees it."""

from math import inf, nextafter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.estimator import (
    ORDERS_FEATURE,
    MonotoneTreeRegressor,
    read_step_function,
)
from pipeline.orders import PRODUCT_CODE_MAP

QUIET_DAY_ORDERS = 100
BUSY_DAY_ORDERS = 150
LARGEST_CREDIBLE_RATIO = 1.25

NOT_INCREASING = "hours_to_dispatch predictions do not increase with orders_placed"
NEGATIVE = "negative hours_to_dispatch predictions found for test set"
OUTLIER = "outlier hours_to_dispatch predictions found for test set"


def find_model_faults(
    model: Any, features: NDArray[np.float64], hours: ArrayLike
) -> list[str]:
    """Check a model against what any sensible estimate satisfies.

    Args:
        model: A fitted estimator.
        features: The held-out set, shape (orders, 2): orders placed and product index.
        hours: The observed hours to dispatch of the held-out set, shape (orders,).

    Returns:
        What is wrong; empty if nothing is.
    """
    predictions = np.asarray(model.predict(features))
    checks = {
        NOT_INCREASING: all(
            estimates_rise(model, product) for product in PRODUCT_CODE_MAP.values()
        )
        and count_falls(model, features) == 0,
        NEGATIVE: bool(np.all(predictions >= 0)),
        OUTLIER: bool(np.all(predictions <= LARGEST_CREDIBLE_RATIO * np.max(hours))),
    }
    return [fault for fault, passed in checks.items() if not passed]


def estimates_rise(model: Any, product: int) -> bool:
    """Whether a busy day takes longer than a quiet one."""
    days = np.array([[QUIET_DAY_ORDERS, product], [BUSY_DAY_ORDERS, product]])
    quiet, busy = np.ravel(model.predict(days))
    return bool(quiet < busy)


def count_falls(model: Any, features: NDArray[np.float64]) -> int:
    """Count the places where one more order makes an estimate shorter.

    Every step of a tree and every piece of a projection is looked at, any other
    estimator at the orders placed of the features.
    """
    falls = 0
    for product in PRODUCT_CODE_MAP.values():
        places = np.unique(
            np.concatenate(
                [features[:, ORDERS_FEATURE], turning_points(model, product)]
            )
        )
        rows = np.column_stack([places, np.full(len(places), product)])
        falls += int(np.sum(np.diff(np.ravel(model.predict(rows))) < 0))
    return falls


def turning_points(model: Any, product: int) -> list[float]:
    """Orders placed at both sides of each step of a tree or knot of a projection."""
    if isinstance(model, MonotoneTreeRegressor):
        turns = model.curves_[product].orders_placed
    elif hasattr(model, "tree_"):
        turns = read_step_function(model, product).upper_bounds[:-1]
    else:
        return []
    return [nextafter(turn, side) for turn in turns for side in (-inf, turn, inf)]
