"""Copies of a row never stand on both sides; numbers of products follow their speed."""

import numpy as np
from pandas import DataFrame, concat
from sklearn.model_selection import KFold, train_test_split

from pipeline.estimator import (
    number_products,
    prepare_data,
    split_into_folds,
    training_rows,
)
from sandbox.orders import make_products, make_week

COLUMNS = ["orders_placed", "product_code", "hours_to_dispatch"]


def with_copies(seed: int) -> DataFrame:
    week = make_week(rows=200, seed=seed)
    copies = [week[week.index % 3 == 0], week[week.index % 7 == 0]]
    return concat([week, *copies]).sample(frac=1, random_state=seed)


def rows_of(data: DataFrame) -> set[tuple[object, ...]]:
    slow = data[data["hours_to_dispatch"] > 0]
    return set(slow[COLUMNS].itertuples(index=False, name=None))


def test_copies_stand_on_one_side_of_the_split() -> None:
    for seed in range(5):
        data = prepare_data(with_copies(seed))
        held_out = data.X_test.assign(hours_to_dispatch=data.y_test)
        assert not rows_of(training_rows(data)) & rows_of(held_out)
        assert len(data.X_train) + len(data.X_test) == len(with_copies(seed))


def test_copies_stand_in_one_fold() -> None:
    data = prepare_data(with_copies(1))
    rows = training_rows(data)
    folds = list(split_into_folds(data))
    for train, test in folds:
        assert not rows_of(rows.iloc[train]) & rows_of(rows.iloc[test])
        assert sorted([*train, *test]) == list(range(len(rows)))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(rows)))


def test_without_copies_split_and_folds_are_those_of_scikit_learn() -> None:
    week = make_week(rows=500, seed=1)
    data = prepare_data(week)
    train, test = train_test_split(
        week, test_size=0.2, stratify=week["product_code"], random_state=42
    )
    assert data.X_train.index.tolist() == train.index.tolist()
    assert data.y_test.index.tolist() == test.index.tolist()
    ours, theirs = split_into_folds(data), KFold(5).split(data.X_train)
    for (ours_train, ours_test), (their_train, their_test) in zip(
        ours, theirs, strict=True
    ):
        assert np.array_equal(ours_train, their_train)
        assert np.array_equal(ours_test, their_test)


def test_products_are_numbered_from_the_fastest_to_the_slowest() -> None:
    slopes = make_products(50)
    week = make_week(rows=5000, seed=1, hours_per_order=slopes)
    numbers = number_products(week, week["hours_to_dispatch"])
    assert sorted(numbers.values()) == list(range(50))
    by_slope = sorted(slopes, key=lambda code: slopes[code])
    places = np.array([numbers[code] for code in by_slope])
    assert np.corrcoef(places, np.arange(50))[0, 1] > 0.98


def test_a_busy_product_is_no_slower_for_it() -> None:
    """By the mean of its hours it would be."""
    orders = DataFrame(
        {
            "product_code": ["fast"] * 50 + ["slow"] * 50,
            "orders_placed": [*range(100, 150), *range(50)],
        }
    )
    hours = orders["orders_placed"] * orders["product_code"].map({"fast": 1, "slow": 2})
    assert number_products(orders, hours) == {"fast": 0, "slow": 1}


def test_products_without_any_hours_have_a_number() -> None:
    orders = DataFrame({"product_code": ["b", "a"], "orders_placed": [0.0, 0.0]})
    assert number_products(orders, orders["orders_placed"]) == {"a": 0, "b": 1}
