"""A curve is linear between its knots, never falls, and refuses senseless knots."""

import math

import pytest

from pipeline.estimator.piecewise_linear import PiecewiseLinear

CURVE = PiecewiseLinear([10.0, 20.0, 40.0], [1.0, 2.0, 2.5])


@pytest.mark.parametrize(
    "orders, hours",
    [(0, 1), (10, 1), (15, 1.5), (20, 2), (30, 2.25), (40, 2.5), (1e6, 2.5)],
)
def test_it_is_linear_between_its_knots_and_constant_beyond(
    orders: float, hours: float
) -> None:
    assert CURVE(orders) == hours


def test_one_knot_is_a_constant() -> None:
    assert PiecewiseLinear([5.0], [3.0])(0) == PiecewiseLinear([5.0], [3.0])(9) == 3.0


@pytest.mark.parametrize(
    "orders, hours",
    [
        ([], []),
        ([1.0], [1.0, 2.0]),
        ([1.0, 1.0], [1.0, 2.0]),
        ([2.0, 1.0], [1.0, 2.0]),
        ([1.0, math.inf], [1.0, 2.0]),
        ([1.0, 2.0], [1.0, math.nan]),
        ([1.0, 2.0], [-1e308, 1e308]),
        ([0.0, 5e-324], [1.0, 2.0]),
        ([False, True], [1.0, 2.0]),
        ([1.0, 2.0], [False, True]),
        ([1.0, 2.0], [1, 10**400]),
    ],
)
def test_senseless_knots_are_refused(orders: list[float], hours: list[float]) -> None:
    with pytest.raises(ValueError, match="knots are not finite, ascending"):
        PiecewiseLinear(orders, hours)
