"""The candidates of a grid, and which of them can share their work."""

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.tree import DecisionTreeRegressor

from pipeline.search.arrays import Integers

__all__ = ["Group", "Parameters", "group_candidates", "list_candidates", "make_tree"]

Parameters = dict[str, Any]

SHARED_PARAMETERS = {
    "criterion",
    "max_depth",
    "min_samples_leaf",
    "min_samples_split",
    "random_state",
}
UNLIMITED_DEPTH = int(np.iinfo(np.int32).max)


class Group(NamedTuple):
    """Candidates that differ in max_depth and min_samples_split only.

    Attributes:
        criterion, min_samples_leaf, random_state: What they have in common.
        max_depths, min_samples_splits: The distinct values of both, ascending.
        members: Which candidates they are.
        rows, columns: For each of them, its place in `max_depths` and in
            `min_samples_splits`.
    """

    criterion: str
    min_samples_leaf: int
    random_state: int
    max_depths: Integers
    min_samples_splits: Integers
    members: Integers
    rows: Integers
    columns: Integers

    @property
    def shape(self) -> tuple[int, int]:
        """That of a table of all pairs of the two values."""
        return len(self.max_depths), len(self.min_samples_splits)

    def make_tree(self, row: int, column: int) -> DecisionTreeRegressor:
        """The tree, not fitted, of a place in such a table."""
        return DecisionTreeRegressor(
            criterion=self.criterion,
            min_samples_leaf=self.min_samples_leaf,
            random_state=self.random_state,
            max_depth=int(self.max_depths[row]),
            min_samples_split=int(self.min_samples_splits[column]),
        )


def list_candidates(param_grid: Any) -> list[Parameters]:
    """List the candidates in GridSearchCV's order, each one a valid tree.

    Raises:
        ValueError: A parameter is unknown or its value is out of range.
    """
    grid = ParameterGrid(param_grid)
    known = DecisionTreeRegressor().get_params()
    for part in grid.param_grid:
        for name, values in part.items():
            if name not in known:
                raise ValueError(
                    f"{name!r} in param_grid is no parameter of DecisionTreeRegressor; "
                    f"those are {', '.join(known)}."
                )
            for value in values:
                DecisionTreeRegressor(**{name: value})._validate_params()
    return list(grid)


def make_tree(parameters: Parameters) -> DecisionTreeRegressor:
    # Cloned because a RandomState would otherwise be used up from fit to fit.
    return DecisionTreeRegressor(**clone(parameters, safe=False))


def group_candidates(
    candidates: list[Parameters],
) -> tuple[list[Group], list[int]]:
    """Sort out which candidates share their work.

    Returns:
        Groups of at least one candidate, and the candidates that belong to none.
    """
    defaults = DecisionTreeRegressor().get_params()
    members: dict[tuple[str, int, int], list[tuple[int, int, int]]] = {}
    separate = []
    for index, candidate in enumerate(candidates):
        chosen = defaults | candidate
        depth = chosen["max_depth"]
        depth = UNLIMITED_DEPTH if depth is None else depth
        leaf, split = chosen["min_samples_leaf"], chosen["min_samples_split"]
        criterion, random_state = chosen["criterion"], chosen["random_state"]
        if (
            SHARED_PARAMETERS.issuperset(candidate)
            and criterion in ("squared_error", "absolute_error")
            and all(isinstance(n, Integral) for n in (depth, leaf, split, random_state))
        ):
            key = str(criterion), int(leaf), int(random_state)
            # scikit-learn never splits a node into less than two leaves.
            members.setdefault(key, []).append((index, depth, max(split, 2 * leaf)))
        else:
            separate.append(index)
    groups = []
    for common, places in members.items():
        which, depth, split = np.array(places, dtype=np.int64).T
        max_depths, rows = np.unique(depth, return_inverse=True)
        min_samples_splits, columns = np.unique(split, return_inverse=True)
        groups.append(
            Group(*common, max_depths, min_samples_splits, which, rows, columns)
        )
    return groups, separate
