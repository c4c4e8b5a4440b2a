"""Who misspells a column or a number is told what was likely meant."""

import pytest

from pipeline.gates.csv_faults import find_missing_columns, tell_commas

EXPECTED = ["orders_placed", "product_code", "hours_to_dispatch"]


@pytest.mark.parametrize(
    "columns, told",
    [
        (EXPECTED, ""),
        (["comment", *EXPECTED[::-1]], ""),
        (
            ["Orders Placed", *EXPECTED[1:]],
            "column orders_placed is missing, and 'Orders Placed' is likely meant by "
            "it; the columns found are Orders Placed, product_code, hours_to_dispatch",
        ),
        (
            [" orders_placed", "PRODUCT-CODE", "hours_to_dispach"],
            "column orders_placed is missing, and ' orders_placed' is likely meant by "
            "it; column product_code is missing, and 'PRODUCT-CODE' is likely meant by "
            "it; column hours_to_dispatch is missing, and 'hours_to_dispach' is likely "
            "meant by it; the columns found are  orders_placed, PRODUCT-CODE, "
            "hours_to_dispach",
        ),
        (
            ["orders_placed", "Orders Placed", "hours_to_dispatch"],
            "column product_code is missing; the columns found are orders_placed, "
            "Orders Placed, hours_to_dispatch",
        ),
        (
            ["x\x1b[2J"] * 11,
            "column orders_placed is missing; column product_code is missing; column "
            r"hours_to_dispatch is missing; the columns found are x\x1b[2J"
            + r", x\x1b[2J" * 9
            + ", ...",
        ),
    ],
)
def test_missing_columns_are_told_with_those_that_are_like_them(
    columns: list[str], told: str
) -> None:
    assert find_missing_columns(columns, EXPECTED) == told


@pytest.mark.parametrize(
    "values, told",
    [
        (["many", "7.5h", "1,2,3", ""], ""),
        (["many", "7,5", "8,25"], "7,5 has a comma where 7.5 is meant"),
        ([" -0,25"], "-0,25 has a comma where -0.25 is meant"),
        (["1,000"], "1,000 has a comma where 1.000 or 1000 is meant"),
    ],
)
def test_a_number_with_a_comma_is_told_as_it_was_meant(
    values: list[str], told: str
) -> None:
    assert tell_commas(values) == told
