"""Hours in another unit: far from what the model in service says of like orders."""

from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from pipeline.orders import LABEL, PRODUCT_CODE

# The world may become twice as slow in a week; three times is another unit.
LARGE_FACTOR = 3.0
# What chance and the error of the model itself make of a factor of three.
TOLERANCE = 0.95
# Six minutes: shorter times are all alike.
SHORTEST_HOURS = 0.1
# What hours look like that were written in another unit, by factor.
UNITS = {
    3600.0: "seconds",
    60.0: "minutes",
    1 / 24: "days",
    1 / 8: "working days of eight hours",
    1 / 168: "weeks",
    10.0: "hours with the decimal point one place too far right",
    100.0: "hours with the decimal point two places too far right",
    1000.0: "hours with the decimal point three places too far right",
    0.1: "hours with the decimal point one place too far left",
    0.01: "hours with the decimal point two places too far left",
}
UNIT_TOLERANCE = 1.25


class Shift(NamedTuple):
    """How many times as long as the model in service says a product's dispatch took.

    Attributes:
        factor: The median over its busier orders.
        line: Line of the first of its rows.
    """

    product_code: str
    factor: float
    line: int

    @property
    def is_large(self) -> bool:
        large = LARGE_FACTOR * TOLERANCE
        return not 1 / large < self.factor < large

    @property
    def unit(self) -> str:
        """What the hours look like; "" if like no unit that is known."""
        distance, unit = min(
            (max(self.factor / factor, factor / self.factor), unit)
            for factor, unit in UNITS.items()
        )
        return unit if distance < UNIT_TOLERANCE else ""

    def __str__(self) -> str:
        looks = f", which looks like {self.unit}" if self.unit else ""
        return f"{self.product_code} {self.factor:.3g} times{looks}"


def measure_shifts(orders: DataFrame, estimates: NDArray[np.float64]) -> list[Shift]:
    """Compare hours with the estimates of the model in service, product by product.

    Args:
        orders: A checked delivery; the index holds the lines.
        estimates: What the model says of each row, hours; NaN where it does not know
            the product.
    """
    known = orders.assign(estimate=estimates)[np.isfinite(estimates)]
    shifts = []
    for code, rows in known.groupby(PRODUCT_CODE):
        # On a quiet day noise is as large as the hours themselves.
        busy = rows[rows["estimate"] >= rows["estimate"].median()]
        hours, usual = (
            busy[column].clip(lower=SHORTEST_HOURS) for column in (LABEL, "estimate")
        )
        factor = float((hours / usual).median())
        assert isfinite(factor) and factor > 0
        shifts.append(Shift(str(code), factor, int(rows.index[0])))
    return shifts
