"""What is learnt and what answers: a tree, projected onto one curve for each product.

What fits a model needs scikit-learn, and is imported when it is first asked for: the
service reads curves alone, and does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.estimator.contents import CONTENTS, TREE, check_tree
from pipeline.estimator.curves import read_curves
from pipeline.estimator.piecewise_linear import CURVES, PiecewiseLinear
from pipeline.estimator.products import PRODUCTS, Product, read_products
from pipeline.estimator.step_functions import ORDERS_FEATURE, read_step_function

if TYPE_CHECKING:
    from pipeline.estimator.monotone_tree import MonotoneTreeRegressor

__all__ = [
    "CONTENTS",
    "CURVES",
    "MonotoneTreeRegressor",
    "ORDERS_FEATURE",
    "PRODUCTS",
    "PiecewiseLinear",
    "Product",
    "TREE",
    "check_tree",
    "read_curves",
    "read_products",
    "read_step_function",
]


def __getattr__(name: str) -> Any:
    if name == "MonotoneTreeRegressor":
        return import_module(f"{__name__}.monotone_tree").MonotoneTreeRegressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
