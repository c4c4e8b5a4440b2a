"""Rows that were delivered more than once, told from those that are alike by chance."""

from math import sqrt
from typing import NamedTuple

from pandas import DataFrame

from pipeline.gates.delivery import name_of_lines
from pipeline.orders import LABEL, ORDERS_PLACED, PRODUCT_CODE

# So few are said and learnt from; more than chance makes, and than these, are refused.
TOLERATED_COPIES = 5
TOLERATED_SHARE = 0.01
# How many times the pairs that chance makes are taken for chance.
CHANCE_FACTOR = 1.2
CHANCE_DEVIATIONS = 6.0


class Copies(NamedTuple):
    """How many rows of a delivery are like an earlier one in product, orders and hours.

    Those of hours 0 do not count: times that are too short to be told apart end there.

    Attributes:
        rows: Rows that repeat another.
        pairs: Pairs of rows that are alike.
        expected_pairs: As many pairs as chance makes.
        first: Line of the first row that repeats another; 0 if there is none.
        counted: What the first is called, a line or a row.
    """

    rows: int
    pairs: int
    expected_pairs: float
    first: int
    counted: str = "line"

    @property
    def are_by_chance(self) -> bool:
        """Whether chance makes as many."""
        chance = CHANCE_FACTOR * self.expected_pairs
        return self.pairs <= chance + CHANCE_DEVIATIONS * sqrt(self.expected_pairs)

    def are_too_many(self, rows: int) -> bool:
        """Whether they are more than chance and some mistakes make of so many rows."""
        excess = self.pairs - self.expected_pairs
        tolerated = max(TOLERATED_COPIES, TOLERATED_SHARE * rows)
        return not (self.are_by_chance or excess <= tolerated)

    def __str__(self) -> str:
        return (
            f"{self.rows} rows repeat another one, the first in {self.counted} "
            f"{self.first}; chance makes {self.expected_pairs:.0f} such pairs"
        )


def find_copies(orders: DataFrame) -> Copies:
    """Count the copies in a checked delivery.

    Hours are often rounded, so that rows are alike by chance, the more the larger the
    week. How likely that is, is read from rows that cannot be copies of each other:
    those of the same product at neighbouring numbers of orders.

    Args:
        orders: Columns orders_placed, product_code, hours_to_dispatch; the index holds
            the lines.
    """
    counted = orders[orders[LABEL] > 0]
    columns = [PRODUCT_CODE, ORDERS_PLACED, LABEL]
    repeated = counted.duplicated(columns).to_numpy()
    distinct = counted.groupby(columns).size().reset_index(name="rows")
    pairs = int((distinct["rows"] * (distinct["rows"] - 1) // 2).sum())
    first = int(counted.index.to_numpy()[repeated][0]) if repeated.any() else 0
    return Copies(
        int(repeated.sum()),
        pairs,
        _expect_pairs(distinct),
        first,
        name_of_lines(orders),
    )


def _expect_pairs(distinct: DataFrame) -> float:
    """How many pairs of rows chance makes alike.

    Args:
        distinct: The distinct rows, and how often each occurs (`rows`).
    """
    by_product = distinct.groupby(PRODUCT_CODE)
    place = by_product[ORDERS_PLACED].rank("dense").astype(int)
    cells = distinct.assign(place=place)
    neighbours = cells.assign(place=place + 1)
    alike = cells.merge(neighbours, on=[PRODUCT_CODE, "place", LABEL])
    alike["pairs"] = alike["rows_x"] * alike["rows_y"]
    sizes = cells.groupby([PRODUCT_CODE, "place"])["rows"].sum().reset_index()
    looked_at = sizes.merge(
        sizes.assign(place=sizes["place"] + 1), on=[PRODUCT_CODE, "place"]
    )
    looked_at["pairs"] = looked_at["rows_x"] * looked_at["rows_y"]
    sizes["pairs"] = sizes["rows"] * (sizes["rows"] - 1) / 2
    found, of_those, of_these = (
        table.groupby(PRODUCT_CODE)["pairs"].sum()
        for table in (alike, looked_at, sizes)
    )
    return float((of_these * (found / of_those)).fillna(0).sum())
