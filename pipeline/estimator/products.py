"""The products that a model answers for, and the delivery that each was learnt from."""

from datetime import datetime
from typing import NamedTuple

from pipeline import aws
from pipeline.estimator.piecewise_linear import CURVES
from pipeline.orders import is_product_code

# Where a model's metadata says of each product where it was learnt.
PRODUCTS = "products"
# The products, and their numbers in the feature matrix, of the models that were
# published when these were written into the code.
FORMER_PRODUCTS = {"SKU001": 0, "SKU002": 1, "SKU003": 2, "SKU004": 3, "SKU005": 4}


class Product(NamedTuple):
    """Where the estimates of a product come from.

    Attributes:
        orders: How many orders of it were in that delivery; None if that is not known.
        learnt_from: Key of the delivery.
        learnt_at: Time of the delivery, ISO 8601 in UTC; "" if that is not known.
        is_kept: Whether this is an earlier delivery than the model was trained on.
    """

    orders: int | None
    learnt_from: str
    learnt_at: str
    is_kept: bool


def read_products(model: aws.Model) -> dict[str, Product]:
    """Read which products a model answers for, by product code.

    Raises:
        TypeError, ValueError: Its metadata do not say.
    """
    metadata = model.metadata or {}
    codes = metadata.get(CURVES, FORMER_PRODUCTS)
    records = metadata.get(PRODUCTS, {})
    if not (isinstance(codes, dict) and isinstance(records, dict)):
        raise TypeError("its products are not listed by their codes")
    if not codes or not all(map(is_product_code, codes)):
        raise ValueError("it has no products, or codes that are none")
    return {code: read_product(records.get(code), model) for code in codes}


def read_product(record: object, model: aws.Model) -> Product:
    """Read the record of one product; where there is none, the delivery was its own."""
    if record is None:
        return Product(None, model.train_dataset_key, "", is_kept=False)
    match record:
        case {"orders": int(orders), "learnt_from": str(key), "learnt_at": str(time)}:
            learnt_at = datetime.fromisoformat(time).isoformat()
            is_kept = key != model.train_dataset_key
            return Product(orders, key, learnt_at, is_kept)
    raise ValueError("it does not say where it has learnt a product")
