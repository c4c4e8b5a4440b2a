"""Rows that nothing explains are found; normal tails are never touched."""

import numpy as np
import pytest
from pandas import DataFrame

from pipeline.gates.mistyped import are_too_many, find_mistyped
from sandbox.orders import make_week
from tests.seeds import of_seeds

pytestmark = pytest.mark.once


def find(week: DataFrame, estimates: object = None) -> list[int]:
    if estimates is None:
        estimates = np.full(len(week), np.nan)
    return [row.line for row in find_mistyped(week, np.asarray(estimates), fewest=10)]


@of_seeds(20, 200)
def test_good_weeks_lose_no_row(seeds: range) -> None:
    for seed in seeds:
        assert find(make_week(rows=1000, seed=seed)) == []


@of_seeds(5, 20)
@pytest.mark.parametrize("rows", [60, 200, 5000])
def test_weeks_of_any_size_lose_no_row(rows: int, seeds: range) -> None:
    for seed in seeds:
        assert find(make_week(rows=rows, seed=seed)) == []


def noisy_week(seed: int, kind: str) -> DataFrame:
    random = np.random.default_rng(seed)
    week = make_week(rows=1000, seed=seed)
    placed = week["orders_placed"]
    hours = {
        "growing": 0.1 * placed + random.normal(0, 0.3 + 0.02 * placed),
        "skewed": 0.1 * placed + random.exponential(1.5, 1000),
        "saturating": 20 * (1 - np.exp(-placed / 50)) + random.normal(0, 1, 1000),
        "accelerating": (placed / 40) ** 2 + random.normal(0, 1, 1000),
        "jumping": np.where(placed > 150, 40, 4) + random.normal(0, 1, 1000),
        "constant": np.full(1000, 8.0),
    }[kind]
    return week.assign(hours_to_dispatch=np.maximum(0, hours))


@of_seeds(4, 20)
@pytest.mark.parametrize(
    "kind",
    ["growing", "skewed", "saturating", "accelerating", "jumping", "constant"],
)
def test_other_worlds_lose_no_row(kind: str, seeds: range) -> None:
    assert not any(find(noisy_week(seed, kind)) for seed in seeds)


@of_seeds(2, 10)
@pytest.mark.parametrize("factor", [100, 10, 0.05])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_busiest_rows_mistyped_are_found(
    factor: float, count: int, seeds: range
) -> None:
    for seed in seeds:
        week = make_week(rows=1000, seed=seed)
        slowest = week[week["product_code"] == "SKU005"]
        rows = slowest["orders_placed"].nlargest(count).index
        week.loc[rows, "hours_to_dispatch"] *= factor
        assert find(week) == sorted(rows)


def test_a_row_anywhere_mistyped_is_found() -> None:
    week = make_week(rows=1000, seed=1)
    for row in week.index[week["hours_to_dispatch"] > 5][::50]:
        hours = week["hours_to_dispatch"].copy()
        hours[row] *= 10
        assert find(week.assign(hours_to_dispatch=hours)) == [row]


def test_the_model_in_service_explains_what_it_knows() -> None:
    week = make_week(rows=1000, seed=1)
    row = int(week["orders_placed"].argmax())
    hours = week["hours_to_dispatch"].to_numpy().copy()
    hours[row] *= 8
    mistyped = week.assign(hours_to_dispatch=hours)
    assert find(mistyped) == [row]
    estimates = np.full(1000, np.nan)
    estimates[row] = hours[row]
    assert find(mistyped, estimates) == []


def test_beyond_what_is_plausible_nothing_explains() -> None:
    week = make_week(rows=5, seed=1).assign(hours_to_dispatch=[1, 2, 1000, 1001, 1e200])
    assert find(week, week["hours_to_dispatch"]) == [3, 4]


def test_a_row_is_told_with_line_value_and_what_was_expected() -> None:
    week = make_week(rows=1000, seed=1).set_axis(range(2, 1002))
    line = int(week["orders_placed"].argmax()) + 2
    hours = week["hours_to_dispatch"].copy()
    hours[line] = 400.0
    (row,) = find_mistyped(
        week.assign(hours_to_dispatch=hours), np.full(1000, np.nan), fewest=10
    )
    placed = week["orders_placed"].max()
    assert str(row).startswith(f"{line}: SKU00")
    assert f"at {placed:g} orders took 400 hours, expected about " in str(row)
    assert 0.07 * placed < row.expected < 0.19 * placed


@pytest.mark.parametrize(
    "mistyped, rows, too_many",
    [
        (5, 499, False),
        (6, 499, True),
        (5, 500, False),
        (6, 500, True),
        (10, 1000, False),
        (11, 1000, True),
    ],
)
def test_how_many_are_too_many(mistyped: int, rows: int, too_many: bool) -> None:
    assert are_too_many(mistyped, rows) is too_many
