"""Each model check fails for the model it is made for, and only for that."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.model_checks import NEGATIVE, NOT_INCREASING, OUTLIER, find_model_faults

FEATURES = np.array([[orders, product] for orders in (0, 200) for product in range(5)])
HOURS = np.linspace(1, 20, len(FEATURES))


class Formula:
    """An estimator that computes hours from orders and product."""

    def __init__(
        self, hours: Callable[[NDArray[np.float64], NDArray[np.float64]], object]
    ):
        self.hours = hours

    def predict(self, X: NDArray[np.float64]) -> object:
        return self.hours(X[:, 0], X[:, 1])


@pytest.mark.parametrize(
    "hours, faults",
    [
        (lambda orders, product: 0.1 * orders, []),
        (lambda orders, product: 0.125 * orders, []),
        (lambda orders, product: 0.1251 * orders, [OUTLIER]),
        (lambda orders, product: 0.1 * orders - 1, [NEGATIVE]),
        (lambda orders, product: 10 + 0 * orders, [NOT_INCREASING]),
        (
            lambda orders, product: orders * np.where(product == 4, -0.01, 0.1) + 2,
            [NOT_INCREASING],
        ),
        (lambda orders, product: -orders, [NOT_INCREASING, NEGATIVE]),
        (lambda orders, product: 999 - orders, [NOT_INCREASING, OUTLIER]),
    ],
)
def test_faults(
    hours: Callable[[NDArray[np.float64], NDArray[np.float64]], object],
    faults: list[str],
) -> None:
    assert find_model_faults(Formula(hours), FEATURES, HOURS) == faults
