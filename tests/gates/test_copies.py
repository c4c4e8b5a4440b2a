"""Copies are told from rows that are alike by chance, however hours are rounded."""

import numpy as np
import pytest
from pandas import DataFrame, concat

from pipeline.gates.copies import Copies, find_copies
from sandbox.orders import make_week
from tests.seeds import of_seeds

pytestmark = pytest.mark.once


def rounded_week(rows: int, seed: int, step: float) -> DataFrame:
    week = make_week(rows=rows, seed=seed)
    return week.assign(
        hours_to_dispatch=(week["hours_to_dispatch"] / step).round() * step
    )


def are_too_many(week: DataFrame) -> bool:
    return find_copies(week).are_too_many(len(week))


@of_seeds(1, 3)
@pytest.mark.parametrize("step", [1e-6, 0.01, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "rows", [120, 1000, pytest.param(20_000, marks=pytest.mark.thorough)]
)
def test_honest_weeks_are_not_touched(rows: int, step: float, seeds: range) -> None:
    for seed in seeds if rows <= 1000 else seeds[:1]:
        assert not are_too_many(rounded_week(rows, seed, step)), seed


@pytest.mark.parametrize("step", [1e-6, 0.1, 1.0])
@pytest.mark.parametrize("times", [2, 10])
@of_seeds(1, 2)
def test_a_week_delivered_many_times_is_refused(
    step: float, times: int, seeds: range
) -> None:
    for seed in seeds:
        assert are_too_many(concat([rounded_week(120, seed, step)] * times))
        assert are_too_many(concat([rounded_week(1000, seed, step)] * times))


def test_some_copies_are_said_and_more_are_refused() -> None:
    week = make_week(rows=1000, seed=1)
    fast = (week["hours_to_dispatch"] == 0).sum()
    assert fast > 1
    found = find_copies(week)
    assert (found.rows, found.pairs, found.first) == (0, 0, 0)
    slow = week[week["hours_to_dispatch"] > 0]
    ten = concat([week, slow[:10]], ignore_index=True)
    found = find_copies(ten)
    assert (found.rows, found.pairs, found.first) == (10, 10, 1000)
    assert not found.are_by_chance and not found.are_too_many(len(ten))
    assert are_too_many(concat([week, slow[:12]]))


def test_one_row_over_and_over_is_refused() -> None:
    row = make_week(rows=50, seed=1)[-1:]
    assert row["hours_to_dispatch"].item() > 0
    assert are_too_many(concat([row] * 100))


def test_what_is_no_number_does_not_pass() -> None:
    assert Copies(1, 1, float("nan"), 2).are_too_many(1000)


def test_copies_in_another_order_are_copies() -> None:
    week = make_week(rows=300, seed=2)
    mixed = concat([week, week]).sample(frac=1, random_state=np.random.RandomState(3))
    assert are_too_many(mixed)


def test_chance_is_read_from_neighbouring_numbers_of_orders() -> None:
    week = DataFrame(
        {
            "product_code": ["SKU001"] * 6,
            "orders_placed": [1, 1, 1, 2, 2, 5],
            "hours_to_dispatch": [1.0, 1.0, 2.0, 1.0, 2.0, 9.0],
        }
    )
    # Of 3 * 2 and 2 * 1 pairs of neighbours 3 are alike; 3 + 1 pairs are at one number.
    assert find_copies(week).expected_pairs == 4 * 3 / 8
