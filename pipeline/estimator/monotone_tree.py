"""A regression tree whose estimates never fall when more orders are placed."""

from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.isotonic import IsotonicRegression
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.validation import check_is_fitted, validate_data

from pipeline.estimator.features import ORDERS_FEATURE, PRODUCT_FEATURE
from pipeline.estimator.piecewise_linear import PiecewiseLinear


class MonotoneTreeRegressor(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """A decision tree, projected product by product onto non-decreasing functions.

    The projection is isotonic regression of the tree's estimates for the training rows
    on their orders placed, so that each step weighs as much as it has training rows
    (Barlow et al., Statistical Inference under Order Restrictions, 1972).

    Attributes:
        estimator_: The fitted tree.
        curves_: By product number, the projection (hours by orders placed).
        product_numbers_: By product code, its number in the features; set by training.
    """

    product_numbers_: dict[str, int]

    def __init__(self, estimator: DecisionTreeRegressor):
        self.estimator = estimator

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit the tree, then its projection.

        Args:
            X: Shape (orders, 2): orders placed and product number.
            y: Hours to dispatch, shape (orders,).
        """
        rows, hours = validate_data(self, X, y, dtype=np.float64)
        self.estimator_ = clone(self.estimator).fit(rows, hours)
        return self._project(rows)

    @classmethod
    def from_fitted(cls, tree: DecisionTreeRegressor, X: ArrayLike) -> Self:
        """Project a tree that is fitted on X already."""
        projected = cls(clone(tree))
        projected.estimator_ = tree
        return projected._project(validate_data(projected, X, dtype=np.float64))

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Estimate the hours to dispatch, shape (orders,).

        Raises:
            ValueError: A product was not among the training rows.
        """
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        hours = np.empty(len(rows))
        for product, chosen in rows_by_product(rows):
            if product not in self.curves_:
                raise ValueError(
                    f"Product {product:g} was not among the training rows; "
                    f"known are {sorted(self.curves_)[:10]} and perhaps more."
                )
            orders_placed = rows[chosen, ORDERS_FEATURE]
            hours[chosen] = interpolate(self.curves_[int(product)], orders_placed)
        return hours

    def _project(self, X: NDArray[np.float64]) -> Self:
        self.curves_ = {}
        estimates = self.estimator_.predict(X)
        for product, chosen in rows_by_product(X):
            projection = IsotonicRegression(out_of_bounds="clip").fit(
                X[chosen, ORDERS_FEATURE], estimates[chosen]
            )
            self.curves_[int(product)] = PiecewiseLinear(
                projection.X_thresholds_.tolist(), projection.y_thresholds_.tolist()
            )
        return self


def rows_by_product(
    X: NDArray[np.float64],
) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """The rows of each product, in their order: pairs (product number, indices)."""
    numbers = X[:, PRODUCT_FEATURE]
    order = np.argsort(numbers, kind="stable")
    products, start = np.unique(numbers[order], return_index=True)
    yield from zip(products.tolist(), np.split(order, start[1:]), strict=True)


def interpolate(
    curve: PiecewiseLinear, orders_placed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Call a curve for many orders at once, equal to the last bit to single calls."""
    knots: NDArray[np.float64] = np.array(curve.orders_placed)
    hours: NDArray[np.float64] = np.array(curve.hours)
    if len(knots) == 1:
        return np.full(len(orders_placed), hours[0])
    within = np.clip(orders_placed, knots[0], knots[-1])
    left = np.clip(np.searchsorted(knots, within, side="right") - 1, 0, len(knots) - 2)
    slope = (hours[left + 1] - hours[left]) / (knots[left + 1] - knots[left])
    between = np.minimum(hours[left] + slope * (within - knots[left]), hours[left + 1])
    beyond: NDArray[np.bool_] = within == knots[-1]
    return np.where(beyond, hours[-1], between)
