"""A bad delivery is refused in one sentence; a good one is taken whatever its looks."""

from collections.abc import Callable

import numpy as np
import pytest
from pandas import DataFrame, Series

from pipeline.gates.delivery import check_delivery
from sandbox.orders import make_week

SOURCE = "s3://b/datasets/week_2021-07-03.csv"


@pytest.fixture
def week() -> DataFrame:
    return make_week(rows=200, seed=1)


def test_columns_are_chosen_by_name_and_become_floats(week: DataFrame) -> None:
    delivered = week[["product_code", "hours_to_dispatch", "orders_placed"]]
    delivered = delivered.assign(comment="fragile", orders_placed=week["orders_placed"])
    checked = check_delivery(delivered.astype({"orders_placed": str}), SOURCE)
    assert list(checked) == ["orders_placed", "product_code", "hours_to_dispatch"]
    assert checked["orders_placed"].dtype == checked["hours_to_dispatch"].dtype == float
    assert checked["orders_placed"].tolist() == week["orders_placed"].tolist()


def spoil(column: str, *values: object) -> Callable[[DataFrame], DataFrame]:
    """Put values into the first rows of a column."""

    def spoiled(week: DataFrame) -> DataFrame:
        rows = [*values, *week[column].iloc[len(values) :]]
        return week.assign(**{column: Series(rows, dtype=object)})

    return spoiled


@pytest.mark.parametrize(
    "spoil, fault",
    [
        (
            lambda week: week.drop(columns=["orders_placed", "product_code"]),
            "column orders_placed is missing; column product_code is missing; the "
            "columns found are hours_to_dispatch",
        ),
        (lambda week: week[:0], "it has no rows"),
        (
            lambda week: week.rename(columns={"orders_placed": "product_code"}),
            "it has two columns product_code",
        ),
        (
            spoil("product_code", "SKU001", "sku001", " SKU001", "SKU0O2"),
            "column product_code:  SKU001 in line 4 is likely meant to be SKU001, "
            "SKU0O2 in line 5 is likely meant to be SKU002, sku001 in line 3 is likely "
            "meant to be SKU001",
        ),
        (
            spoil("product_code", "SKU001\u200b", "ЅKU001", "x" * 65),
            "column product_code: 2 rows are no code of 1 to 64 printable characters",
        ),
        (
            spoil("product_code", None),
            "column product_code: 1 row is missing, the first in line 2",
        ),
        (
            spoil("orders_placed", 1, None, np.nan),
            "column orders_placed: 2 rows are missing, the first in line 3",
        ),
        (
            spoil("orders_placed", "many", "1,000", True),
            "column orders_placed: 2 rows are not numeric (1,000, many), the first in "
            "line 2",
        ),
        (
            spoil("hours_to_dispatch", "7,5"),
            "column hours_to_dispatch: 1 row is not numeric (7,5), the first in "
            "line 2: 7,5 has a comma where 7.5 is meant",
        ),
        (
            spoil("orders_placed", -1),
            "column orders_placed: 1 row is negative (-1), the first in line 2",
        ),
        (
            spoil("orders_placed", 1e7),
            "column orders_placed: 1 row is above 1000000 (10000000.0), the first in "
            "line 2",
        ),
        (
            spoil("hours_to_dispatch", np.inf, -np.inf),
            "column hours_to_dispatch: 2 rows are not finite (-inf, inf), the first in "
            "line 2",
        ),
        (
            spoil("hours_to_dispatch", 1, 2, -0.5),
            "column hours_to_dispatch: 1 row is negative (-0.5), the first in line 4",
        ),
        (
            lambda week: week.assign(hours_to_dispatch=week["orders_placed"] > 10),
            "column hours_to_dispatch: 200 rows are not numeric",
        ),
    ],
)
def test_bad_deliveries_are_refused_with_object_column_and_rows(
    week: DataFrame, spoil: Callable[[DataFrame], DataFrame], fault: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        check_delivery(spoil(week), SOURCE)
    sentence = str(refusal.value)
    assert sentence.startswith(f"Delivery {SOURCE} refused: {fault}")
    assert sentence.endswith("again under a newer timestamp.")
    assert "\n" not in sentence


def test_delivered_values_write_no_log_lines(week: DataFrame) -> None:
    forged = "SKU1\n2021-07-03T23:05:32Z - INFO - main - All is well" + 9 * "\x1b[2J"
    with pytest.raises(ValueError) as refusal:
        check_delivery(spoil("product_code", forged)(week), SOURCE)
    assert "(SKU1?2021-07-03T23:05:32Z - INFO - main ...)" in str(refusal.value)


def test_all_faults_are_named_at_once(week: DataFrame) -> None:
    spoiled = spoil("orders_placed", -1)(spoil("product_code", "")(week))
    with pytest.raises(ValueError, match="negative.*no code"):
        check_delivery(spoiled, SOURCE)


def test_lines_are_those_of_the_file(week: DataFrame) -> None:
    lines = week.set_axis(range(2, 2 * len(week) + 2, 2))
    with pytest.raises(ValueError, match="negative .-1., the first in line 6$|line 6;"):
        check_delivery(
            lines.assign(orders_placed=[1, 1, -1, *week["orders_placed"][3:]]), SOURCE
        )
    assert check_delivery(lines, SOURCE).index.tolist() == lines.index.tolist()


def test_a_known_code_is_what_it_is(week: DataFrame) -> None:
    both = {*week["product_code"], "sku001"}
    delivered = spoil("product_code", "sku001")(week)
    assert len(check_delivery(delivered, SOURCE, known=both)) == len(week)
    with pytest.raises(ValueError, match="sku001 in line 2 is likely meant to be"):
        check_delivery(delivered, SOURCE)


def test_a_new_product_is_no_disguise(week: DataFrame) -> None:
    delivered = spoil("product_code", "SKU006", "SKU0050", "SKU05", "A", "4")(week)
    assert len(check_delivery(delivered, SOURCE, known={"SKU005"})) == len(week)
