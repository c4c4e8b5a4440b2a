"""One tree that tells the scores of all candidates that cut it short.

max_depth and min_samples_split only cut the same tree short. So for each group on each
fold it is grown once, to the loosest of their limits, and the scores of all are summed
up from its nodes.
"""

from collections.abc import Iterator

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from pipeline.search.arrays import EPSILON, Flags, Floats, Integers
from pipeline.search.candidates import Group
from pipeline.search.cells import Cells, NodeCells
from pipeline.search.folds import Fold

__all__ = ["SharedTree", "TreeNodes", "sum_over_cuts"]


class TreeNodes:
    """The arrays of a fitted tree that the search reads.

    Attributes:
        left, right, parent: Nodes, or -1.
        internal: Nodes that are split.
        value, count, impurity, depth: As in scikit-learn.
        large_enough: Nodes whose children can have min_samples_leaf rows each.
        divisible: Nodes at which scikit-learn looks for a split, unless max_depth or
            min_samples_split forbid it.
    """

    def __init__(self, tree: DecisionTreeRegressor) -> None:
        arrays = tree.tree_
        self.left, self.right = arrays.children_left, arrays.children_right
        self.internal = self.left >= 0
        self.value = arrays.value[:, 0, 0]
        self.count = arrays.n_node_samples
        self.impurity = arrays.impurity
        self.depth = arrays.compute_node_depths() - 1
        self.parent = np.full(len(self.left), -1)
        inner = np.flatnonzero(self.internal)
        self.parent[self.left[inner]] = inner
        self.parent[self.right[inner]] = inner
        self.large_enough = self.count >= 2 * tree.min_samples_leaf
        self.divisible = self.large_enough & (self.impurity > EPSILON)

    def __len__(self) -> int:
        return len(self.left)


class SharedTree:
    """The tree that is grown for a group on a fold.

    Attributes:
        error: For each node, the squared error of its held-out rows if it is a leaf.
        gain: For each node, by how much its split lowers that error, or 0.
    """

    def __init__(self, group: Group, fold: Fold) -> None:
        self.group, self.fold = group, fold
        self.tree = fold.fit(group.make_tree(-1, 0))
        self.nodes = nodes = TreeNodes(self.tree)
        self.error = np.zeros(len(nodes))
        for held_out in self.climb(fold.test):
            self.error += held_out.squared_errors(nodes.value[held_out.node])
        self.gain = np.zeros(len(nodes))
        inner = nodes.internal
        children = self.error[nodes.left[inner]] + self.error[nodes.right[inner]]
        self.gain[inner] = self.error[inner] - children

    def find_leaves(self, cells: Cells) -> Integers:
        """The leaf that each cell reaches."""
        leaves: Integers = self.tree.tree_.apply(cells.features)
        return leaves

    def climb(self, cells: Cells) -> Iterator[NodeCells]:
        """Go up from the leaves to the root: which cells each level's nodes hold."""
        nodes, node = self.nodes, self.find_leaves(cells)
        for depth in range(nodes.depth.max(), -1, -1):
            here = np.flatnonzero(nodes.depth[node] == depth)
            yield NodeCells(cells, node[here], here, len(nodes))
            if depth:
                node[here] = nodes.parent[node[here]]

    def score_all(self) -> Floats:
        """Score the cut trees of all candidates, as a table of the group's shape."""
        gains = sum_over_cuts(self.group, self.nodes, self.nodes.divisible, self.gain)
        return self.fold.r2(self.error[0] - gains)


def sum_over_cuts(
    group: Group, nodes: TreeNodes, divisible: Flags, weights: Floats
) -> Floats:
    """Sum up a weight of the nodes at which each candidate looks for a split.

    Args:
        divisible: Nodes to look at, unless a candidate's limits forbid it.

    Returns:
        The sums, as a table of the group's shape.
    """
    chosen = np.flatnonzero(divisible)
    row = np.searchsorted(group.max_depths, nodes.depth[chosen], side="right")
    column = np.searchsorted(group.min_samples_splits, nodes.count[chosen], "right") - 1
    inside = (row < group.shape[0]) & (column >= 0)
    sums = np.bincount(
        np.ravel_multi_index((row[inside], column[inside]), group.shape),
        weights[chosen][inside],
        group.shape[0] * group.shape[1],
    ).reshape(group.shape)
    # A node counts for all limits as loose as those that just let it be split.
    totals: Floats = sums.cumsum(axis=0)[:, ::-1].cumsum(axis=1)[:, ::-1]
    return totals
