"""What a model answers with: one function of orders placed for each product."""

from collections.abc import Callable

from pipeline import aws
from pipeline.estimator.piecewise_linear import CURVES, PiecewiseLinear
from pipeline.estimator.step_functions import read_step_function
from pipeline.orders import PRODUCT_CODE_MAP, ProductCode


def read_curves(model: aws.Model) -> dict[ProductCode, Callable[[float], float]]:
    """Make, for each product code, the function from orders placed to hours.

    The curves that training puts into the metadata answer exactly as the estimator's
    `predict` does, in microseconds and without scikit-learn, of whichever release. Of a
    model that was published without them, the estimator is read, once.

    Raises:
        RuntimeError: It does not estimate every product.
    """
    curves = (model.metadata or {}).get(CURVES)
    try:
        if curves is not None:
            return {code: PiecewiseLinear(**curves[code]) for code in PRODUCT_CODE_MAP}
        return {
            code: model.model.curves_[product]
            if hasattr(model.model, "curves_")
            else read_step_function(model.model, product)
            for code, product in PRODUCT_CODE_MAP.items()
        }
    except Exception as error:
        raise RuntimeError(
            f"Model {aws.quote(model)} cannot estimate every product "
            f"({aws.quote(error)}); train a new one."
        ) from error
