"""A tree read as step functions answers, to the last bit, what its predict says."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeRegressor

from pipeline.estimator.products import FORMER_PRODUCTS
from pipeline.orders import MAX_ORDERS_PLACED
from pipeline.estimator.step_functions import (
    largest_float_not_above,
    read_step_function,
)

PRODUCTS = list(FORMER_PRODUCTS.values())
BEYOND = np.float32(math.inf)
ORDERS = st.floats(0, MAX_ORDERS_PLACED) | st.integers(0, 300).map(float)


@given(
    rows=st.lists(
        st.tuples(ORDERS, st.sampled_from(PRODUCTS), st.floats(0, 100)),
        min_size=2,
        max_size=60,
    ),
    max_depth=st.none() | st.integers(1, 6),
    criterion=st.sampled_from(["squared_error", "absolute_error"]),
    orders=st.lists(ORDERS, max_size=20),
)
def test_they_equal_predict_everywhere(
    rows: list[tuple[float, int, float]],
    max_depth: int | None,
    criterion: str,
    orders: list[float],
) -> None:
    data = np.array(rows)
    tree = DecisionTreeRegressor(
        criterion=criterion, max_depth=max_depth, random_state=0
    ).fit(data[:, :2], data[:, 2])
    places = {0.0, -0.0, MAX_ORDERS_PLACED, *orders}
    for threshold in tree.tree_.threshold.tolist():
        near = np.float32(threshold)
        singles = [near, np.nextafter(near, -BEYOND), np.nextafter(near, BEYOND)]
        middles = [(float(near) + float(single)) / 2 for single in singles]
        for place in (threshold, *map(float, singles), *middles):
            places |= {place, math.nextafter(place, 0), math.nextafter(place, math.inf)}
    asked = [place for place in places if abs(place) <= MAX_ORDERS_PLACED]
    for product in PRODUCTS:
        step_function = read_step_function(tree, product)
        expected = tree.predict([[place, product] for place in asked])
        assert [step_function(place) for place in asked] == expected.tolist()


@given(st.floats(0, MAX_ORDERS_PLACED))
def test_the_bound_is_the_last_float_that_rounds_to_the_left(
    threshold: float,
) -> None:
    bound = largest_float_not_above(threshold)
    assert float(np.float32(bound)) <= threshold
    assert float(np.float32(math.nextafter(bound, math.inf))) > threshold


def test_a_single_leaf_is_a_constant() -> None:
    tree = DecisionTreeRegressor().fit([[1, 0], [2, 0]], [3, 3])
    steps = read_step_function(tree, 0)
    assert (steps.upper_bounds, steps.estimates) == ([math.inf], [3.0])
