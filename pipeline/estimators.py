"""What a model answers with: one function of orders for each product."""

from collections.abc import Callable

from pipeline import aws
from pipeline.orders import PRODUCT_CODE_MAP, ProductCode
from pipeline.piecewise_linear import CURVES, PiecewiseLinear
from pipeline.step_functions import read_step_function


def read_estimators(model: aws.Model) -> dict[ProductCode, Callable[[float], float]]:
    """Make, for each product code, the function from orders placed to hours.

    The curves that training puts into the metadata answer exactly as the estimator's
    `predict` does, in microseconds and without scikit-learn. A tree that came without
    them is read once; any other estimator answers through `predict`.

    Raises:
        RuntimeError: It does not estimate every product.
    """
    curves = (model.metadata or {}).get(CURVES)

    def read(code: ProductCode, product: int) -> Callable[[float], float]:
        if curves is not None:
            return PiecewiseLinear(**curves[code])
        if hasattr(model.model, "tree_"):
            return read_step_function(model.model, product)
        return lambda orders: float(model.model.predict([[orders, product]])[0])

    try:
        estimators = {code: read(code, idx) for code, idx in PRODUCT_CODE_MAP.items()}
        for estimate in estimators.values():
            estimate(0.0)
    except Exception as error:
        raise RuntimeError(
            f"Model {aws.quote(model)} cannot estimate every product "
            f"({aws.quote(error)}); train a new one."
        ) from error
    return estimators
