"""A fitted tree read as what it is: for each product, a step function of orders."""

from bisect import bisect_left
from dataclasses import dataclass
from math import inf, nextafter
from typing import Any

from pipeline.estimator.features import ORDERS_FEATURE

LEAF = -1


@dataclass(frozen=True)
class StepFunction:
    """Estimates by orders placed.

    Attributes:
        upper_bounds: Orders, ascending; each step reaches up to and including its
            bound, the last is infinite.
        estimates: Hours, one for each step.
    """

    upper_bounds: list[float]
    estimates: list[float]

    def __call__(self, orders_placed: float) -> float:
        return self.estimates[bisect_left(self.upper_bounds, orders_placed)]


def read_step_function(tree: Any, product: int) -> StepFunction:
    """Read a fitted `DecisionTreeRegressor` as the step function of one product.

    Equal, to the last bit, to what its `predict` says of any float.

    Args:
        tree: Fitted on features of shape (orders, 2): orders placed, product index.
        product: Index of the product.
    """
    nodes = tree.tree_
    left, right = nodes.children_left.tolist(), nodes.children_right.tolist()
    feature, threshold = nodes.feature.tolist(), nodes.threshold.tolist()
    value = nodes.value[:, 0, 0].tolist()

    steps = StepFunction([], [])
    to_visit = [(0, -inf, inf)]
    while to_visit:
        node, lower, upper = to_visit.pop()
        if left[node] == LEAF:
            steps.upper_bounds.append(upper)
            steps.estimates.append(value[node])
        elif feature[node] != ORDERS_FEATURE:
            child = left[node] if product <= threshold[node] else right[node]
            to_visit.append((child, lower, upper))
        else:
            bound = largest_float_not_above(threshold[node])
            if bound < upper:
                to_visit.append((right[node], max(lower, bound), upper))
            if bound > lower:
                to_visit.append((left[node], lower, min(upper, bound)))
    return steps


def largest_float_not_above(threshold: float) -> float:
    """Find the largest float that scikit-learn sends to the left of a threshold.

    It rounds features to float32 first (`sklearn.tree._tree.DTYPE`), so some floats
    above the threshold still go left.
    """
    import numpy as np

    below = np.float32(threshold)
    # As a Python float, since numpy would round the threshold to compare it.
    if float(below) > threshold:
        below = np.nextafter(below, np.float32(-inf))
    above = np.nextafter(below, np.float32(inf))
    middle = (float(below) + float(above)) / 2
    return middle if np.float32(middle) == below else nextafter(middle, -inf)
