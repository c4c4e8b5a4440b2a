"""What a new model takes with it: its curves, and the delivery that each is from."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline import aws
from pipeline.estimator.champion import Champion
from pipeline.estimator.curves import as_piecewise_linear
from pipeline.estimator.piecewise_linear import CURVES
from pipeline.estimator.products import PRODUCTS
from pipeline.orders import PRODUCT_CODE

if TYPE_CHECKING:
    from pandas import DataFrame

    from pipeline.estimator.monotone_tree import MonotoneTreeRegressor


def describe_products(
    model: "MonotoneTreeRegressor",
    orders: "DataFrame",
    dataset: aws.Dataset,
    champion: Champion | None,
) -> dict[str, Any]:
    """Put together the curves of all products, learnt and kept, and what they are from.

    Args:
        orders: What the model was trained on, and judged by.
        champion: Its curves are kept for those products that it alone knows.

    Returns:
        For the metadata.
    """
    counts = orders[PRODUCT_CODE].value_counts()
    curves = describe_curves(model)
    products = {
        code: {
            "orders": int(counts[code]),
            "learnt_from": dataset.key,
            "learnt_at": dataset.datetime.isoformat(),
            "number": number,
        }
        for code, number in model.product_numbers_.items()
    }
    if champion is not None:
        for code, known in champion.products.items():
            if code in products:
                continue
            curves[code] = asdict(as_piecewise_linear(champion.curves[code]))
            products[code] = {
                "orders": known.orders or 0,
                "learnt_from": known.learnt_from,
                "learnt_at": known.learnt_at or champion.model.creation_time,
            }
    return {CURVES: curves, PRODUCTS: products}


def describe_curves(model: "MonotoneTreeRegressor") -> dict[str, Any]:
    """The curves of a projected tree by product code, in plain types."""
    return {
        code: asdict(model.curves_[number])
        for code, number in model.product_numbers_.items()
    }
