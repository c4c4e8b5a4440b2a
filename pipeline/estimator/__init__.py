"""What is learnt and what answers: a tree, projected onto one curve for each product.

What fits a model needs scikit-learn, and is imported when it is first asked for: the
service reads curves alone, and does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipeline.estimator.champion import Champion, read_champion
from pipeline.estimator.contents import CONTENTS, TREE, check_tree
from pipeline.estimator.curves import Curve, most_orders_placed, read_curves
from pipeline.estimator.features import ORDERS_FEATURE, PRODUCT_FEATURE
from pipeline.estimator.knowledge import (
    KNOWLEDGE,
    Knowledge,
    KnowledgeRefused,
    Known,
    forget_last_week,
    read_knowledge,
    recall_knowledge,
    summarize_knowledge,
)
from pipeline.estimator.lineage import describe_curves, describe_products
from pipeline.estimator.piecewise_linear import CURVES, PiecewiseLinear
from pipeline.estimator.products import PRODUCTS, Product, read_products
from pipeline.estimator.ranges import (
    DEFAULT_LEVEL,
    LEVELS,
    RANGES,
    Ranges,
    read_ranges,
)
from pipeline.estimator.step_functions import StepFunction

if TYPE_CHECKING:
    from pipeline.estimator.calibration import calibrate
    from pipeline.estimator.learning import learn_on
    from pipeline.estimator.monotone_tree import MonotoneTreeRegressor
    from pipeline.estimator.numbering import number_products
    from pipeline.estimator.training_data import (
        FOLDS,
        FeatureAndLabels,
        prepare_data,
        preprocess,
        split_into_folds,
        training_rows,
    )

__all__ = [
    "CONTENTS",
    "CURVES",
    "Champion",
    "Curve",
    "DEFAULT_LEVEL",
    "FOLDS",
    "FeatureAndLabels",
    "KNOWLEDGE",
    "Knowledge",
    "KnowledgeRefused",
    "Known",
    "LEVELS",
    "MonotoneTreeRegressor",
    "ORDERS_FEATURE",
    "PRODUCTS",
    "PRODUCT_FEATURE",
    "PiecewiseLinear",
    "Product",
    "RANGES",
    "Ranges",
    "StepFunction",
    "TREE",
    "calibrate",
    "check_tree",
    "describe_curves",
    "describe_products",
    "forget_last_week",
    "learn_on",
    "most_orders_placed",
    "number_products",
    "prepare_data",
    "preprocess",
    "read_champion",
    "read_curves",
    "read_knowledge",
    "read_products",
    "read_ranges",
    "recall_knowledge",
    "split_into_folds",
    "summarize_knowledge",
    "training_rows",
]

# Where the names live that need scikit-learn.
FITTING = {
    "MonotoneTreeRegressor": "monotone_tree",
    "calibrate": "calibration",
    "learn_on": "learning",
    "number_products": "numbering",
    **dict.fromkeys(
        ["FOLDS", "FeatureAndLabels", "prepare_data", "preprocess"]
        + ["split_into_folds", "training_rows"],
        "training_data",
    ),
}


def __getattr__(name: str) -> Any:
    if name in FITTING:
        return getattr(import_module(f"{__name__}.{FITTING[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
