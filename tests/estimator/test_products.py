"""The products of a model, as its metadata tell them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pandas import DataFrame
from sklearn.dummy import DummyRegressor

from pipeline import aws
from pipeline.estimator import Product, read_curves, read_products

CURVE = {"orders_placed": [0.0, 9.0], "hours": [1.0, 2.0]}
KEY, EARLIER_KEY = "datasets/w_2021-07-02.csv", "datasets/w_2021-06-25.csv"
LEARNT = {"orders": 20, "learnt_from": KEY, "learnt_at": "2021-07-02T23:00:00+00:00"}


def model_of(**metadata: Any) -> aws.Model:
    friday = datetime(2021, 7, 2, 23, tzinfo=UTC)
    dataset = aws.Dataset(DataFrame(), friday, "b", KEY, "c0ffee")
    return aws.Model("m", DummyRegressor(), dataset, metadata)


def test_the_products_are_those_that_have_a_curve() -> None:
    model = model_of(
        curves={"SKU006": CURVE, "B 7": CURVE},
        products={
            "SKU006": LEARNT,
            "B 7": LEARNT | {"learnt_from": EARLIER_KEY},
            "gone": LEARNT,
        },
    )
    assert read_products(model) == {
        "SKU006": Product(20, KEY, "2021-07-02T23:00:00+00:00", is_kept=False),
        "B 7": Product(20, EARLIER_KEY, "2021-07-02T23:00:00+00:00", is_kept=True),
    }
    curves = read_curves(model)
    assert curves.keys() == {"SKU006", "B 7"} and curves["B 7"](4.5) == 1.5


@pytest.mark.parametrize("metadata", [{}, {"curves": {"SKU004": CURVE}}], ids=str)
def test_an_older_model_learnt_its_products_from_its_delivery(
    metadata: dict[str, Any],
) -> None:
    products = read_products(model_of(**metadata))
    assert products["SKU004"] == Product(None, KEY, "", is_kept=False)
    assert len(products) == (1 if metadata else 5)


@pytest.mark.parametrize(
    "metadata",
    [
        {"curves": {}},
        {"curves": None},
        {"curves": {"": CURVE}},
        {"curves": {"x" * 65: CURVE}},
        {"curves": {"two\nlines": CURVE}},
        {"curves": {1: CURVE}},
        {"curves": {"A": CURVE}, "products": ["A"]},
        {"curves": {"A": CURVE}, "products": {"A": "week"}},
        {"curves": {"A": CURVE}, "products": {"A": {"orders": 1}}},
        {"curves": {"A": CURVE}, "products": {"A": LEARNT | {"orders": "many"}}},
        {"curves": {"A": CURVE}, "products": {"A": LEARNT | {"learnt_at": "Friday"}}},
    ],
    ids=str,
)
def test_a_model_that_does_not_say_is_of_no_use(metadata: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="cannot estimate every product"):
        read_curves(model_of(**metadata))
