"""What a model must satisfy before anyone sees it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
    products = list(PRODUCT_CODE_MAP.values())
    quiet = model.predict(np.array([[QUIET_DAY_ORDERS, code] for code in products]))
    busy = model.predict(np.array([[BUSY_DAY_ORDERS, code] for code in products]))
    predictions = np.asarray(model.predict(features))
    checks = {
        NOT_INCREASING: bool(np.all(np.ravel(quiet) < np.ravel(busy))),
        NEGATIVE: bool(np.all(predictions >= 0)),
        OUTLIER: bool(np.all(predictions <= LARGEST_CREDIBLE_RATIO * np.max(hours))),
    }
    return [fault for fault, passed in checks.items() if not passed]
