"""Hours in another unit are told from a world that has become slower."""

import numpy as np
import pytest
from pandas import DataFrame

from pipeline.gates.shift import Shift, measure_shifts
from sandbox.orders import make_week
from tests.seeds import of_seeds

pytestmark = pytest.mark.once


def measure(week: DataFrame, truth: DataFrame) -> dict[str, Shift]:
    """Shifts against a model that is as good as a week's, by product."""
    noise = np.random.default_rng(0).normal(0, 0.3, len(truth))
    slopes = {f"SKU00{i + 1}": 0.075 + 0.025 * i for i in range(5)}
    estimates = truth["product_code"].map(slopes) * truth["orders_placed"] + noise
    shifts = measure_shifts(week, np.maximum(estimates.to_numpy(), 0))
    return {shift.product_code: shift for shift in shifts}


@pytest.mark.parametrize(
    "factor, unit",
    [
        (60, "minutes"),
        (3600, "seconds"),
        (1 / 24, "days"),
        (10, "hours with the decimal point one place too far right"),
        (100, "hours with the decimal point two places too far right"),
        (0.1, "hours with the decimal point one place too far left"),
        (3, ""),
        (1 / 3, ""),
        (1e160, ""),
    ],
)
@pytest.mark.parametrize("rows", [60, 1000])
def test_another_unit_is_found_and_named(factor: float, unit: str, rows: int) -> None:
    week = make_week(rows=rows, seed=4)
    slow = week["product_code"] == "SKU003"
    hours = week["hours_to_dispatch"].where(~slow, week["hours_to_dispatch"] * factor)
    shifts = measure(week.assign(hours_to_dispatch=hours), week)
    assert [code for code, shift in shifts.items() if shift.is_large] == ["SKU003"]
    assert shifts["SKU003"].unit == unit
    assert shifts["SKU003"].factor == pytest.approx(factor, rel=0.15)


@of_seeds(4, 20)
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.25, 2.0])
def test_a_slower_or_faster_world_is_none(factor: float, seeds: range) -> None:
    for seed in seeds:
        week = make_week(rows=200, seed=seed)
        hours = week["hours_to_dispatch"] * factor
        shifts = measure(week.assign(hours_to_dispatch=hours), week)
        assert not any(shift.is_large for shift in shifts.values())


def test_two_mistyped_rows_are_no_shift() -> None:
    week = make_week(rows=100, seed=1)
    busiest = week["orders_placed"].nlargest(2).index
    week.loc[busiest, "hours_to_dispatch"] *= 100
    assert not any(shift.is_large for shift in measure(week, week).values())


def test_a_product_that_the_model_does_not_know_has_no_shift() -> None:
    week = make_week(rows=100, seed=1)
    estimates = np.where(week["product_code"] == "SKU001", np.nan, 10.0)
    codes = {shift.product_code for shift in measure_shifts(week, estimates)}
    assert codes == {"SKU002", "SKU003", "SKU004", "SKU005"}


def test_a_product_without_any_time_has_no_shift() -> None:
    week = make_week(rows=100, seed=1).assign(hours_to_dispatch=0.0)
    assert {s.factor for s in measure_shifts(week, np.zeros(100))} == {1.0}


def test_what_is_no_number_is_large() -> None:
    assert Shift("SKU001", float("nan"), 2).is_large


def test_it_says_what_the_hours_look_like_if_like_anything() -> None:
    minutes = "SKU001 60.1 times, which looks like minutes"
    assert str(Shift("SKU001", 60.1, 2)) == minutes
    assert str(Shift("SKU001", 3.0, 2)) == "SKU001 3 times"
