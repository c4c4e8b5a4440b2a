"""Which rows and products of a delivery are learnt from, and what is told of it."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame, concat
from sklearn.dummy import DummyRegressor

from pipeline import aws
from pipeline.estimator import Champion, read_champion
from pipeline.gates import DeliveryRefused, examine_delivery
from pipeline.gates.delivery import NAMED
from pipeline.gates.examination import ServiceError, describe_shifts
from pipeline.gates.shift import Shift
from sandbox.orders import HOURS_PER_ORDER, make_products, make_week

pytestmark = pytest.mark.once

SOURCE = "s3://b/datasets/w.csv"


def champion(orders: dict[str, int] | None = None) -> Champion:
    """A model that answers the truth, learnt from so many orders of each product."""
    slopes = make_products(5)
    metadata: dict[str, Any] = {
        "mean_absolute_error": 0.8,
        "curves": {
            code: {"orders_placed": [0.0, 1000.0], "hours": [0.0, 1000 * slope]}
            for code, slope in slopes.items()
        },
    }
    if orders is not None:
        at = {"learnt_from": "k", "learnt_at": "2021-07-02T23:00:00+00:00"}
        metadata["products"] = {code: {"orders": orders[code], **at} for code in slopes}
    friday = datetime(2021, 7, 2, tzinfo=UTC)
    dataset = aws.Dataset(DataFrame(), friday, "b", "k", "h")
    return read_champion(aws.Model("m", DummyRegressor(), dataset, metadata))


def test_of_a_good_week_each_row_is_learnt_from_and_nothing_told() -> None:
    week = make_week(rows=1000, seed=1)
    for before in (None, champion()):
        examined = examine_delivery(week, SOURCE, before)
        assert len(examined.orders) == 1000
        assert examined.orders.index.tolist() == list(range(2, 1002))
        assert examined.warnings == examined.notes == examined.kept == []


def test_the_first_week_needs_no_list_of_products() -> None:
    week = make_week(rows=1000, seed=1, hours_per_order=make_products(9))
    rare = week[:9].assign(product_code="R")
    examined = examine_delivery(concat([week, rare], ignore_index=True), SOURCE, None)
    assert set(examined.orders["product_code"]) == set(make_products(9))
    assert examined.warnings == [
        "Set aside 9 rows of R: unknown products with fewer than 10 orders each."
    ]


@pytest.mark.parametrize("count, is_learnt", [(9, False), (10, True)])
def test_ten_orders_are_enough_to_be_learnt(count: int, is_learnt: bool) -> None:
    week = make_week(rows=1000, seed=1)
    new = week[:count].assign(product_code="SKU006")
    examined = examine_delivery(
        concat([week, new], ignore_index=True), SOURCE, champion()
    )
    assert ("SKU006" in set(examined.orders["product_code"])) is is_learnt
    told = "learnt for the first time: SKU006." if is_learnt else "unknown products"
    assert any(told in warning for warning in examined.warnings)


def test_a_week_of_which_no_product_can_be_learnt_is_refused() -> None:
    week = make_week(rows=1000, seed=1)
    few = week.groupby("product_code").head(9).reset_index(drop=True)
    with pytest.raises(DeliveryRefused) as refusal:
        examine_delivery(few, SOURCE, None)
    assert str(refusal.value) == (
        f"Delivery {SOURCE} refused: column product_code: no product has 10 orders, "
        "the fewest to learn from; deliver the whole week again under a newer "
        "timestamp."
    )


def test_a_known_product_that_is_rare_is_kept() -> None:
    week = make_week(rows=1000, seed=1)
    others = week[week["product_code"] != "SKU004"]
    few = week[week["product_code"] == "SKU004"][:9]
    for delivered in (others, concat([others, few])):
        examined = examine_delivery(
            delivered.reset_index(drop=True), SOURCE, champion()
        )
        assert examined.kept == ["SKU004"]
        assert "SKU004" not in set(examined.orders["product_code"])


def test_half_a_week_is_told_by_the_orders_that_are_missing() -> None:
    week = make_week(rows=1000, seed=1)
    left = week[week["product_code"].isin(["SKU001", "SKU002"])].reset_index(drop=True)
    orders = dict.fromkeys(HOURS_PER_ORDER, 100)
    with pytest.raises(DeliveryRefused, match="60% of the orders.*half a week"):
        examine_delivery(left, SOURCE, champion(orders=orders))
    with pytest.raises(DeliveryRefused, match="half a week"):
        examine_delivery(left, SOURCE, champion())
    many = orders | {"SKU001": 1000}
    assert len(examine_delivery(left, SOURCE, champion(orders=many)).kept) == 3
    exactly_half = orders | {"SKU001": 200}
    assert len(examine_delivery(left, SOURCE, champion(orders=exactly_half)).kept) == 3


def test_an_accepted_shift_is_told_and_mistyped_rows_are_still_found() -> None:
    week = make_week(rows=1000, seed=1)
    week["hours_to_dispatch"] *= 24
    with pytest.raises(DeliveryRefused, match="--accept-shift and the delivery's key"):
        examine_delivery(week, SOURCE, champion())
    row = int(week["orders_placed"].argmax())
    hours = week["hours_to_dispatch"].to_numpy().copy()
    hours[row] /= 50
    examined = examine_delivery(
        week.assign(hours_to_dispatch=hours), SOURCE, champion(), accept_shift=True
    )
    factors = [shift.factor for shift in examined.shifts]
    assert factors == pytest.approx(5 * [24], rel=0.2)
    assert row + 2 in [mistyped.line for mistyped in examined.set_aside]
    assert examined.warnings[0].startswith("Accepted a shift: column hours_to_dispatch")


def test_the_model_in_service_is_scored_on_the_whole_delivery() -> None:
    week = make_week(rows=1000, seed=1)
    error = examine_delivery(week, SOURCE, champion()).service_error
    assert error is not None
    assert (error.rows, error.at_birth) == (1000, 0.8)
    assert error.mean_absolute_error == pytest.approx(0.78, abs=0.05)
    assert not error.has_grown
    slow = make_week(rows=1000, seed=1, slowdown=1.3)
    examined = examine_delivery(slow, SOURCE, champion())
    assert examined.service_error is not None and examined.service_error.has_grown
    assert "worse than its model promised" in examined.warnings[0]


@pytest.mark.parametrize(
    "mean, lower, at_birth, has_grown",
    [
        (1.0, 0.9, 0.8, True),
        (0.99, 0.9, 0.8, False),
        (1.0, 0.79, 0.8, False),
        (1.0, 0.9, None, False),
        (np.nan, np.nan, 0.8, False),
    ],
)
def test_grown_is_what_is_a_quarter_more_and_no_chance(
    mean: float, lower: float, at_birth: float | None, has_grown: bool
) -> None:
    assert ServiceError(mean, lower, at_birth, 1000).has_grown is has_grown


def test_the_error_in_service_reads_as_a_sentence() -> None:
    said = "mean absolute error 1.000 hours on the 9 orders of this delivery, "
    assert str(ServiceError(1.0, 0.9, 0.8, 9)) == f"{said}0.800 at its birth"
    assert str(ServiceError(1.0, 0.9, None, 9)) == f"{said}unknown at its birth"


def test_the_first_shifts_are_named_and_the_others_counted() -> None:
    shifts = [Shift(f"SKU{each}", 3.0, 100 - each) for each in range(NAMED + 2)]
    named = "; ".join(f"SKU{each} 3 times" for each in range(NAMED))
    told = describe_shifts(shifts[:NAMED], "line")
    assert told.endswith(f" from line {101 - NAMED} on: {named}")
    told = describe_shifts(shifts, "line")
    assert told.endswith(f" on: {named}; and 2 more products")
