"""What our models are made of, as it is declared to storage.

The names are persisted and stay, wherever the classes move. The former ones are those
of models that were published when a class was named by its module.
"""

from importlib.metadata import version
from typing import Any

from pipeline.aws import DeclaredClass, DeclaredExtension
from pipeline.estimator.piecewise_linear import PiecewiseLinear

TREE = DeclaredExtension(
    "scikit-learn-tree",
    "sklearn.tree._tree:Tree",
    flatten="pipeline.estimator.tree_arrays:flatten_tree",
    rebuild="pipeline.estimator.tree_arrays:rebuild_tree",
    former=("pipeline.tree_arrays", "rebuild_tree"),
)
CONTENTS: list[DeclaredClass | DeclaredExtension] = [
    TREE,
    DeclaredClass(
        "decision-tree-regressor",
        "sklearn.tree:DecisionTreeRegressor",
        {"tree_": "Tree"},
        check=f"{__name__}:check_tree",
        former=("sklearn.tree._classes", "DecisionTreeRegressor"),
    ),
    DeclaredClass(
        "piecewise-linear",
        "pipeline.estimator.piecewise_linear:PiecewiseLinear",
        {"orders_placed": "list", "hours": "list"},
        check=f"{__name__}:check_knots",
        former=("pipeline.piecewise_linear", "PiecewiseLinear"),
    ),
    DeclaredClass(
        "monotone-tree-regressor",
        "pipeline.estimator.monotone_tree:MonotoneTreeRegressor",
        {
            "estimator": "DecisionTreeRegressor",
            "estimator_": "DecisionTreeRegressor",
            "curves_": "dict",
            "product_numbers_": "dict",
        },
        check=f"{__name__}:check_curves",
        former=("pipeline.monotone_tree", "MonotoneTreeRegressor"),
    ),
]


def check_tree(state: dict[str, Any]) -> None:
    """Check what a decision tree of scikit-learn, of any kind, is to be given.

    Raises:
        ValueError: It is not what fitting with the installed release gives.
    """
    # Scikit-learn would warn in the words of the pickle.
    if state.get("_sklearn_version") != version("scikit-learn"):
        raise ValueError("its tree is of another scikit-learn")
    # It would read beyond rows that have fewer features.
    tree = state.get("tree_")
    if tree and tree.n_features != state.get("n_features_in_"):
        raise ValueError("its tree has another number of features than it says")


def check_knots(state: dict[str, Any]) -> None:
    """Check what a curve is to be given.

    Raises:
        TypeError, ValueError: These are no knots of a curve.
    """
    PiecewiseLinear(**state)


def check_curves(state: dict[str, Any]) -> None:
    """Check what a projected tree is to be given.

    Raises:
        ValueError: A curve is of another form, or products are not numbered by code.
    """
    curves = state.get("curves_", {}).values()
    if not all(isinstance(curve, PiecewiseLinear) for curve in curves):
        raise ValueError("it holds a curve that is none")
    numbers = state.get("product_numbers_", {})
    if {*map(type, numbers)} > {str} or {*map(type, numbers.values())} > {int}:
        raise ValueError("it numbers its products with something else")
