"""The model in service, as training meets it: what it answers, and what it knows."""

from typing import TYPE_CHECKING, NamedTuple

from pipeline import aws
from pipeline.estimator.curves import Curve, read_curves
from pipeline.estimator.products import Product, read_products
from pipeline.orders import ORDERS_PLACED, PRODUCT_CODE

# The service reads models too, and does without pandas and numpy.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame


class Champion(NamedTuple):
    """A model that a service would take."""

    model: aws.Model
    curves: dict[str, Curve]
    products: dict[str, Product]

    def estimate(self, orders: "DataFrame") -> "NDArray[np.float64]":
        """Answer for each row, to the bit as the service does.

        Args:
            orders: Columns orders_placed and product_code.

        Returns:
            Hours, shape (orders,); NaN for products that it does not know.
        """
        import numpy as np

        rows = zip(orders[PRODUCT_CODE], orders[ORDERS_PLACED], strict=True)
        return np.array(
            [
                self.curves[code](placed) if code in self.curves else np.nan
                for code, placed in rows
            ],
            dtype=float,
        )


def read_champion(model: aws.Model) -> Champion:
    """Read all that a service, and a successor, need of a model.

    Raises:
        RuntimeError: It does not estimate every product.
    """
    return Champion(model, read_curves(model), read_products(model))
