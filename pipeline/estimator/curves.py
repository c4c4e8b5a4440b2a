"""What a model answers with: one function of orders placed for each product."""

from collections.abc import Callable
from math import inf

from pipeline import aws
from pipeline.estimator.piecewise_linear import CURVES, PiecewiseLinear
from pipeline.estimator.products import FORMER_PRODUCTS, read_products
from pipeline.estimator.step_functions import read_step_function
from pipeline.orders import FEATURES

Curve = Callable[[float], float]

MOST_WHOLE_ORDERS = 1000


def read_curves(model: aws.Model) -> dict[str, Curve]:
    """Make, for each product of a model, the function from orders placed to hours.

    The curves that training puts into the metadata answer exactly as the estimator's
    `predict` does, in microseconds and without scikit-learn, of whichever release. Of a
    model that was published without them, the estimator is read, once.

    Raises:
        RuntimeError: It does not estimate each of its products.
    """
    curves = (model.metadata or {}).get(CURVES)
    try:
        products = read_products(model)
        if curves is not None:
            return {code: PiecewiseLinear(**curves[code]) for code in products}
        estimator = model.model
        if estimator.n_features_in_ != len(FEATURES):
            raise ValueError("its features are others")
        return {
            code: estimator.curves_[number]
            if hasattr(estimator, "curves_")
            else read_step_function(estimator, number)
            for code, number in FORMER_PRODUCTS.items()
        }
    except Exception as error:
        raise RuntimeError(
            f"Model {aws.quote(model)} cannot estimate every product "
            f"({aws.quote(error)}); train a new one."
        ) from error


def most_orders_placed(curve: Curve) -> float:
    """The most orders placed that a curve was learnt from; infinite if not known."""
    return curve.orders_placed[-1] if isinstance(curve, PiecewiseLinear) else inf


def as_piecewise_linear(curve: Curve) -> PiecewiseLinear:
    """The knots of a curve, to be carried on; of any other function than ours, which
    models had before there were curves, its values at whole numbers of orders."""
    if isinstance(curve, PiecewiseLinear):
        return curve
    orders_placed = [float(placed) for placed in range(MOST_WHOLE_ORDERS)]
    return PiecewiseLinear(orders_placed, [curve(placed) for placed in orders_placed])
