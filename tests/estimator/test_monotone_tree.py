"""A busier day never means a shorter estimate, and the model behaves as one should."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import mean_absolute_error
from sklearn.tree import DecisionTreeRegressor

from pipeline.gates.model_logic import count_falls
from pipeline.estimator.monotone_tree import MonotoneTreeRegressor, interpolate
from pipeline.estimator.products import FORMER_PRODUCTS
from pipeline.estimator.piecewise_linear import PiecewiseLinear
from pipeline.train_model import prepare_data, preprocess, train_model
from sandbox.orders import HOURS_PER_ORDER, make_week

GRID = {"random_state": [42], "max_depth": [6, 8], "min_samples_leaf": [2, 5]}
PRODUCTS = list(FORMER_PRODUCTS.values())


def fit_week(rows: int, seed: int) -> tuple[MonotoneTreeRegressor, NDArray[np.float64]]:
    data = prepare_data(make_week(rows, seed))
    features = preprocess(data.X_train)
    tree = DecisionTreeRegressor(max_depth=8, min_samples_leaf=2, random_state=42)
    return MonotoneTreeRegressor(tree).fit(features, data.y_train), features


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(60, 400),
    orders=st.lists(st.floats(0, 1e6), min_size=2, max_size=50),
)
def test_estimates_never_fall_and_single_calls_equal_predict(
    seed: int, rows: int, orders: list[float]
) -> None:
    model, _ = fit_week(rows, seed)
    for product in PRODUCTS:
        knots = model.curves_[product].orders_placed
        near = [math.nextafter(knot, side) for knot in knots for side in (0, math.inf)]
        places = np.sort([*orders, *knots, *near])
        hours = model.predict(np.column_stack([places, np.full(len(places), product)]))
        assert np.all(np.diff(hours) >= 0)
        assert hours.tolist() == [model.curves_[product](x) for x in places.tolist()]


@given(
    knots=st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(0, 1e3)), min_size=1, max_size=8
    )
)
@example(knots=[(113.0, 0.12), (118.0, 0.95)])  # the last piece ends below its knot
@example(knots=[(1.0, 1.16), (14.0, 3.18), (20.0, 3.18)])  # a piece ends above it
def test_no_rounding_makes_an_estimate_fall_or_differ(
    knots: list[tuple[float, float]],
) -> None:
    orders = sorted({place for place, _ in knots})
    assume(np.all(np.diff(orders) > 1e-9))
    curve = PiecewiseLinear(orders, sorted(hours for _, hours in knots)[: len(orders)])
    near = [math.nextafter(place, side) for place in orders for side in (0, math.inf)]
    places = np.sort([*orders, *near, *(0.7 * place for place in orders)])
    hours = interpolate(curve, places)
    assert hours.tolist() == [curve(place) for place in places.tolist()]
    assert np.all(np.diff(hours) >= 0)


def test_the_projection_is_isotonic_regression_of_the_tree() -> None:
    model, features = fit_week(rows=500, seed=1)
    for product in PRODUCTS:
        rows = features[features[:, 1] == product]
        expected = IsotonicRegression(out_of_bounds="clip").fit(
            rows[:, 0], model.estimator_.predict(rows)
        )
        places = np.linspace(0, 400, 1000)
        hours = model.predict(np.column_stack([places, np.full(1000, product)]))
        assert np.allclose(hours, expected.predict(places), rtol=1e-12, atol=0)


def test_it_removes_the_falls_of_its_tree_and_estimates_no_worse() -> None:
    data = prepare_data(make_week(rows=1000, seed=1))
    model, metrics = train_model(data, GRID)
    features = preprocess(data.X_test)
    assert count_falls(model.estimator_, features) > 10
    assert count_falls(model, features) == 0
    of_tree = mean_absolute_error(data.y_test, model.estimator_.predict(features))
    assert metrics.mean_absolute_error < of_tree


def test_it_is_a_scikit_learn_estimator() -> None:
    model, features = fit_week(rows=300, seed=1)
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.predict(features), model.predict(features))
    with pytest.raises(NotFittedError):
        clone(model).predict(features)
    hours = model.estimator_.predict(features)
    fitted_before = MonotoneTreeRegressor.from_fitted(model.estimator_, features)
    assert np.array_equal(fitted_before.predict(features), model.predict(features))
    assert clone(model).fit(features, hours).score(features, hours) > 0.9
    with pytest.raises(ValueError, match="Product 7 was not among the training rows"):
        model.predict([[10, 7]])


def test_a_product_whose_orders_never_differ_has_one_estimate() -> None:
    features = np.array([[10.0, product] for product in PRODUCTS for _ in range(3)])
    model = MonotoneTreeRegressor(DecisionTreeRegressor()).fit(features, features[:, 1])
    estimates = model.predict([[0, 3], [10, 3], [999, 3]])
    assert estimates.tolist() == [3.0, 3.0, 3.0]


def test_the_known_slopes_are_recovered() -> None:
    model, _ = train_model(prepare_data(make_week(rows=5000, seed=2)), GRID)
    for product, slope in zip(PRODUCTS, HOURS_PER_ORDER.values(), strict=True):
        quiet, busy = model.predict([[20, product], [180, product]])
        assert (busy - quiet) / 160 == pytest.approx(slope, rel=0.1)


def test_neither_row_order_nor_index_matters() -> None:
    data = prepare_data(make_week(rows=500, seed=3))
    model, _ = train_model(data, {"random_state": [42], "max_depth": [6]})
    shuffled = np.random.default_rng(0).permutation(len(data.X_train))
    again, _ = train_model(
        data._replace(
            X_train=data.X_train.iloc[shuffled], y_train=data.y_train.iloc[shuffled]
        ),
        {"random_state": [42], "max_depth": [6]},
    )
    features = preprocess(data.X_test)
    assert np.allclose(model.predict(features), again.predict(features), rtol=1e-9)


def test_rows_delivered_twice_do_not_move_the_estimates() -> None:
    data = prepare_data(make_week(rows=500, seed=3))
    features, hours = preprocess(data.X_train), data.y_train.to_numpy()
    tree = DecisionTreeRegressor(max_depth=6, random_state=42)
    once = MonotoneTreeRegressor(tree).fit(features, hours)
    twice = MonotoneTreeRegressor(tree).fit(
        np.vstack([features, features]), np.concatenate([hours, hours])
    )
    assert np.allclose(once.predict(features), twice.predict(features), rtol=1e-9)


def test_pure_noise_is_admitted() -> None:
    week = make_week(rows=1000, seed=4)
    noise = np.random.default_rng(4).uniform(0, 20, len(week))
    _, metrics = train_model(prepare_data(week.assign(hours_to_dispatch=noise)), GRID)
    assert metrics.r_squared < 0.1
