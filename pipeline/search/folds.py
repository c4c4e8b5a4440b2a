"""One training and held-out part of the rows, and scores on it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.tree import DecisionTreeRegressor

from pipeline.search.arrays import EPSILON, Floats
from pipeline.search.cells import Cells

__all__ = ["Fold"]


class Fold:
    """One training and held-out part of the rows.

    Attributes:
        parts: What it is made of.
        train, test: Both parts, rows of equal features merged.
        train_rows: The training part, a row to a cell.
        largest_label: The largest absolute value of a label.
        rounding: How far rounding can move a score.
    """

    def __init__(
        self,
        train_features: NDArray[np.float32],
        train_labels: Floats,
        test_features: NDArray[np.float32],
        test_labels: Floats,
    ) -> None:
        self.parts = train_features, train_labels, test_features, test_labels
        self.train_features, self.train_labels = train_features, train_labels
        self.test_features, self.test_labels = test_features, test_labels
        self.train = Cells(train_features, train_labels)
        self.train_rows = Cells(train_features, train_labels, merge=False)
        self.test = Cells(test_features, test_labels)
        self.largest_label = float(max(abs(train_labels).max(), abs(test_labels).max()))
        self.variation = float(np.sum((test_labels - test_labels.mean()) ** 2))
        self.rounding = np.inf
        if self.variation > 0:
            # Leaf values are sums over training rows, errors over held-out ones.
            rows = len(train_labels) * len(test_labels)
            self.rounding = 64 * EPSILON * rows * self.largest_label**2 / self.variation

    def __reduce__(self) -> tuple[Any, ...]:
        # A fifth of the bytes, or less: another process makes the rest anew.
        return Fold, self.parts

    def cells(self, criterion: str) -> Cells:
        """The training part, in cells that have all that the criterion needs."""
        # Medians, unlike means, cannot be told from those of cells.
        return self.train_rows if criterion == "absolute_error" else self.train

    def fit(self, tree: DecisionTreeRegressor) -> DecisionTreeRegressor:
        return tree.fit(self.train_features, self.train_labels, check_input=False)

    def score(self, tree: DecisionTreeRegressor) -> float:
        """Let scikit-learn score a fitted tree on the held-out part."""
        predictions = tree.predict(self.test_features, check_input=False)
        return float(r2_score(self.test_labels, predictions))

    def r2(self, squared_errors: Floats) -> Floats:
        """The scores of trees with these sums of squared errors, as r2_score has it."""
        if len(self.test_labels) < 2:
            return np.full_like(squared_errors, np.nan)
        if self.variation == 0:
            return np.zeros_like(squared_errors)
        return 1.0 - squared_errors / self.variation
