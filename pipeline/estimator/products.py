"""What a model knows of each product: from how many orders, and of which delivery."""

from typing import NamedTuple

from pipeline import aws
from pipeline.estimator.piecewise_linear import CURVES

# Where a model's metadata holds its products, by code.
PRODUCTS = "products"
# Those of models that were published before products were data, in the order of the
# numbers that they have in the features of their estimators.
FIRST_PRODUCTS = ["SKU001", "SKU002", "SKU003", "SKU004", "SKU005"]


class Product(NamedTuple):
    """What stands behind the estimates for one product.

    Attributes:
        orders: Orders of the delivery that it was learnt from; None if that is unknown.
        learnt_from: Key of that delivery.
        learnt_at: Its time, in UTC and ISO 8601; "" if that is unknown.
        is_kept: Whether an earlier model learnt it, and it was too rare to be learnt
            anew.
    """

    orders: int | None
    learnt_from: str
    learnt_at: str
    is_kept: bool


def read_products(model: aws.Model) -> dict[str, Product]:
    """Read what stands behind the estimates of a model, by product code.

    Raises:
        RuntimeError: Its metadata do not say so in the way that training writes it.
    """
    metadata = model.metadata or {}
    key = model.train_dataset_key
    if PRODUCTS not in metadata:
        codes = metadata.get(CURVES, FIRST_PRODUCTS)
        return {code: Product(None, key, "", False) for code in codes}
    try:
        products = {
            code: Product(
                entry["orders"],
                entry["learnt_from"],
                entry["learnt_at"],
                entry["learnt_from"] != key,
            )
            for code, entry in metadata[PRODUCTS].items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise RuntimeError(
            f"Model {aws.quote(model)} does not say what its products were learnt from "
            f"({aws.quote(error)}); train a new one."
        ) from error
    for product in products.values():
        orders_and_texts = (type(product.orders), type(product.learnt_from))
        if orders_and_texts != (int, str) or type(product.learnt_at) is not str:
            raise RuntimeError(
                f"Model {aws.quote(model)} does not say what its products were learnt "
                "from; train a new one."
            )
    return products
