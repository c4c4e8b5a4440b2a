"""Numbers for product codes, in an order that a tree can split.

A tree asks whether a number is above a threshold. Products in the order of their codes
are in no order that means anything; in the order of how long they take, neighbours are
alike, and thousands of products share what is learnt of them. To order categories by
the mean of the label is the classical remedy (Breiman et al., Classification and
Regression Trees, 1984, 4.2.2); here it is the mean at like numbers of orders, for a
product with many busy days has a larger mean than another as slow.
"""

import numpy as np
from pandas import DataFrame, Series
from sklearn.isotonic import IsotonicRegression

from pipeline.orders import ORDERS_PLACED, PRODUCT_CODE

# So that products of which nothing but hours of 0 is known have a place as well.
LEAST_HOURS = 1e-6


def number_products(orders: DataFrame, hours: "Series[float]") -> dict[str, int]:
    """Number products from the fastest to the slowest.

    Args:
        orders: Columns orders_placed and product_code of the training rows.
        hours: Their hours to dispatch.

    Returns:
        A number from 0 on for each product code; codes decide between equals.
    """
    usual = IsotonicRegression().fit(orders[ORDERS_PLACED], hours)
    table = DataFrame(
        {
            PRODUCT_CODE: orders[PRODUCT_CODE].to_numpy(),
            "hours": np.asarray(hours, float),
            "usual": usual.predict(orders[ORDERS_PLACED]),
        }
    )
    sums = table.groupby(PRODUCT_CODE).sum() + LEAST_HOURS
    level = sums["hours"] / sums["usual"]
    ordered = sorted(level.index, key=lambda code: (level[code], code))
    return {str(code): number for number, code in enumerate(ordered)}
