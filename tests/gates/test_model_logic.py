"""Each model check fails for the model it is made for, and only for that."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sklearn.tree import DecisionTreeRegressor

from pipeline.gates.model_logic import (
    BUSY_DAY_ORDERS,
    ENOUGH_TO_RISE,
    NEGATIVE,
    NOT_INCREASING,
    OUTLIER,
    count_falls,
    find_model_faults,
)
from pipeline.estimator.monotone_tree import MonotoneTreeRegressor
from pipeline.estimator.piecewise_linear import PiecewiseLinear

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


def grow_tree_with_one_fall() -> DecisionTreeRegressor:
    """A tree that rises with orders, but for 120 to 130 orders of the last product."""
    orders = np.tile(np.arange(0, 201, 10.0), 5)
    product = np.repeat(np.arange(5.0), 21)
    hours = np.where((product == 4) & (orders == 120), 18, orders / 10)
    return DecisionTreeRegressor().fit(np.column_stack([orders, product]), hours)


def test_a_fall_in_a_single_step_of_a_tree_is_found() -> None:
    tree = grow_tree_with_one_fall()
    assert count_falls(tree, FEATURES) == 1
    assert find_model_faults(tree, FEATURES, HOURS) == [NOT_INCREASING]


def test_a_fall_in_a_single_piece_of_a_curve_is_found() -> None:
    tree = grow_tree_with_one_fall()
    model = MonotoneTreeRegressor.from_fitted(tree, [[0, code] for code in range(5)])
    rising = PiecewiseLinear([0.0, 200.0], [0.0, 20.0])
    model.curves_ = dict.fromkeys(range(5), rising)
    assert find_model_faults(model, FEATURES, HOURS) == []
    orders = [0.0, 120.0, 120.5, 200.0]
    model.curves_[4] = PiecewiseLinear(orders, [0.0, 12.0, 11.9, 20.0])
    assert find_model_faults(model, FEATURES, HOURS) == [NOT_INCREASING]


@pytest.mark.parametrize(
    "busiest, faults", [(BUSY_DAY_ORDERS, [NOT_INCREASING]), (BUSY_DAY_ORDERS - 1, [])]
)
def test_a_projection_is_judged_by_the_busiest_day_that_it_has_seen(
    busiest: float, faults: list[str]
) -> None:
    orders = np.linspace(0, busiest, ENOUGH_TO_RISE)
    features = np.column_stack([orders, np.zeros(ENOUGH_TO_RISE)])
    tree = DecisionTreeRegressor().fit(features, orders)
    model = MonotoneTreeRegressor.from_fitted(tree, features)
    model.curves_[0] = PiecewiseLinear([0.0, 1.0, busiest], [9.0, 9.0, 9.0])
    assert find_model_faults(model, features, HOURS) == faults
