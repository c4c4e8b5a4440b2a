"""One tree that tells the scores of all candidates that cut it short.

Candidates that differ in max_depth and min_samples_split only are a `Group`. For each
fold a tree is grown once, to the loosest of their limits, and the scores of all are
summed up from its nodes. `heed_ties` and `follow_ties` then bound what scikit-learn
would score, for whom a cut tree may be another one where splits are equally good.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from sklearn.tree import DecisionTreeRegressor

from pipeline.search.tree_ties import (
    EPSILON,
    Cells,
    expand,
    find_least_error,
    find_splits,
    sum_squared_errors,
)

__all__ = ["Fold", "Group", "SharedTree", "find_ties"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Parameters = dict[str, Any]

# How far rounding may move a score before no shared score is taken as certain.
ROUNDING = 1e-5
# How many (row, node) pairs are looked at in one go: bounds the memory.
PAIRS_IN_ONE_GO = 1_000_000


class Fold:
    """One training and held-out part of the rows."""

    def __init__(
        self,
        train_features: NDArray[np.float32],
        train_labels: Floats,
        test_features: NDArray[np.float32],
        test_labels: Floats,
    ) -> None:
        self.train_features, self.train_labels = train_features, train_labels
        self.test_features, self.test_labels = test_features, test_labels
        self.train = Cells(train_features, train_labels)
        self.train_rows = Cells(train_features, train_labels, merge=False)
        self.test = Cells(test_features, test_labels)
        self.variation = float(np.sum((test_labels - test_labels.mean()) ** 2))
        self.largest_label = float(max(abs(train_labels).max(), abs(test_labels).max()))
        # How far rounding can move a score: leaf values are sums over rows.
        self.rounding = np.inf
        if self.variation > 0:
            rows = len(train_labels) * len(test_labels)
            self.rounding = 64 * EPSILON * rows * self.largest_label**2 / self.variation

    def cells(self, group: "Group") -> Cells:
        # Medians, unlike means, cannot be told from those of cells.
        return self.train_rows if group.criterion["absolute"] else self.train

    def score(self, tree: DecisionTreeRegressor) -> float:
        predictions = tree.predict(self.test_features, check_input=False)
        return float(r2_score(self.test_labels, predictions))


class Group(NamedTuple):
    """Candidates that differ in max_depth and min_samples_split only.

    Attributes:
        parameters: What they have in common.
        depths, splits: The distinct values of both, ascending.
        members: Which candidates they are.
        rows, columns: For each of them, its place in `depths` and in `splits`.
    """

    parameters: Parameters
    depths: Integers
    splits: Integers
    members: Integers
    rows: Integers
    columns: Integers

    @property
    def criterion(self) -> dict[str, Any]:
        """What decides how good a split is."""
        return {
            "absolute": self.parameters["criterion"] == "absolute_error",
            "min_samples_leaf": self.parameters["min_samples_leaf"],
        }

    def grow(self, fold: Fold, depth: int, split: int) -> DecisionTreeRegressor:
        tree = DecisionTreeRegressor(
            **self.parameters, max_depth=depth, min_samples_split=split
        )
        return tree.fit(fold.train_features, fold.train_labels, check_input=False)

    def sum_over_cuts(self, nodes: "_Nodes", weights: Floats) -> Floats:
        """Sum up a weight of the nodes at which a candidate looks for a split.

        Returns:
            The sums, of shape (depths, splits).
        """
        chosen = np.flatnonzero(nodes.divisible)
        row = np.searchsorted(self.depths, nodes.depth[chosen], side="right")
        column = np.searchsorted(self.splits, nodes.count[chosen], side="right") - 1
        inside = (row < len(self.depths)) & (column >= 0)
        shape = len(self.depths), len(self.splits)
        sums = np.bincount(
            (row * shape[1] + column)[inside],
            weights[chosen][inside],
            minlength=shape[0] * shape[1],
        ).reshape(shape)
        totals: Floats = sums.cumsum(axis=0)[:, ::-1].cumsum(axis=1)[:, ::-1]
        return totals


class _Nodes:
    """The arrays of a grown tree that the search reads.

    Attributes:
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

    def levels(self, leaves: Integers) -> Iterator[tuple[Integers, Integers]]:
        """Go up from the leaves of rows: pairs (node, row), a level at a time."""
        node = leaves.copy()
        for depth in range(self.depth.max(), -1, -1):
            rows = np.flatnonzero(self.depth[node] == depth)
            yield node[rows], rows
            if depth:
                node[rows] = self.parent[node[rows]]


class SharedTree:
    """What one tree, grown once for a group on a fold, says of all its candidates.

    Attributes, all of shape (depths, splits):
        score: r2 of the cut trees.
        upper: What scikit-learn's score cannot exceed.
        certain: Whether ties and rounding leave no other tree.
        known: Whether `score` is scikit-learn's own.
    """

    def __init__(self, group: Group, fold: Fold) -> None:
        tree = group.grow(fold, int(group.depths[-1]), int(group.splits[0]))
        nodes = _Nodes(tree)
        reached = tree.tree_.apply(fold.test.features)
        error = np.zeros(len(nodes))
        for node, row in nodes.levels(reached):
            error += sum_squared_errors(
                fold.test, row, nodes.value[node], node, len(nodes)
            )

        change = np.zeros(len(nodes))
        inner = nodes.internal
        change[inner] = error[nodes.left[inner]] + error[nodes.right[inner]]
        change[inner] -= error[inner]
        self.score = self._r2(fold, error[0] + group.sum_over_cuts(nodes, change))
        # r2 of a single row is not defined.
        self.known = np.isnan(self.score)

        self.upper = np.full_like(self.score, np.inf)
        self.certain = np.zeros_like(self.known)
        self.followed = False
        # Needed until the ties are known.
        self.tree, self.nodes, self.error, self.change = tree, nodes, error, change

    def heed_ties(
        self, group: Group, fold: Fold, tied: Flags, lowest: Floats, highest: Floats
    ) -> None:
        """Set `upper` and `certain` from the tied nodes and the labels in them."""
        nodes, error, change = self.nodes, self.error, self.change
        below = np.zeros(len(nodes), dtype=bool)
        for depth in range(1, nodes.depth.max() + 1):
            level = np.flatnonzero(nodes.depth == depth)
            parent = nodes.parent[level]
            below[level] = below[parent] | tied[parent]
        # Whichever way the ties go, predictions stay within the labels of the node.
        if tied.any():
            least = np.zeros(len(nodes))
            reached = self.tree.tree_.apply(fold.test.features)
            for node, row in nodes.levels(reached):
                some = tied[node]
                node, row = node[some], row[some]
                best = np.clip(fold.test.mean[row], lowest[node], highest[node])
                least += sum_squared_errors(fold.test, row, best, node, len(nodes))
            change = np.where(tied, least - error, change)
            change[below] = 0.0
        nodes.divisible |= tied
        self.certain = group.sum_over_cuts(nodes, tied.astype(np.float64)) == 0
        self.certain &= fold.rounding < ROUNDING
        self.upper = self._r2(fold, error[0] + group.sum_over_cuts(nodes, change))
        self.upper += fold.rounding
        del self.tree, self.nodes, self.error, self.change

    @staticmethod
    def _r2(fold: Fold, error: Floats) -> Floats:
        if len(fold.test_labels) < 2:
            return np.full_like(error, np.nan)
        if fold.variation == 0:
            return np.zeros_like(error)
        return 1.0 - error / fold.variation

    def follow_ties(self, group: Group, fold: Fold) -> None:
        """Lower `upper` by following every way in which ties can be broken."""
        error = find_least_error(
            fold.cells(group),
            fold.test,
            **group.criterion,
            largest_label=fold.largest_label,
            depths=group.depths,
            splits=group.splits,
        )
        self.upper = np.minimum(self.upper, self._r2(fold, error) + fold.rounding)
        self.followed = True

    def fit(self, group: Group, fold: Fold, row: int, column: int) -> int:
        """Let scikit-learn fit and score a candidate, unless its score is known.

        The score holds for every candidate that cuts the same tree at the same places:
        scikit-learn then takes the same steps and draws the same random numbers.

        Returns:
            Number of fits made.
        """
        if self.known[row, column]:
            return 0
        depth, split = int(group.depths[row]), int(group.splits[column])
        tree = group.grow(fold, depth, split)
        nodes = _Nodes(tree)
        looked = group.sum_over_cuts(nodes, np.ones(len(nodes)))
        rows = np.minimum(np.arange(len(group.depths)), row)
        columns = np.maximum(np.arange(len(group.splits)), column)
        common = looked[np.ix_(rows, columns)]
        same = (looked == looked[row, column]) & (common == looked[row, column])
        self.score[same] = fold.score(tree)
        self.known |= same
        return 1


def find_ties(groups: list[Group], trees: list[SharedTree], fold: Fold) -> None:
    """Find the nodes that may be split in more than one way, or may not be split.

    Nodes whose labels are all equal do not count: any split of them predicts the same.

    Args:
        groups, trees: Of one criterion; their trees have many nodes in common.
    """
    cells = fold.cells(groups[0])
    leaves = [group.criterion["min_samples_leaf"] for group in groups]
    marks = np.random.default_rng(0).integers(2**63, size=len(cells), dtype=np.uint64)
    parts = []
    for number, tree in enumerate(trees):
        leaf = tree.tree.tree_.apply(cells.features)
        # Nodes are numbered depth first, so the rows of each follow one another.
        order = np.argsort(leaf, kind="stable")
        first = np.searchsorted(leaf[order], np.arange(len(tree.nodes)))
        seen = np.append(0, np.cumsum(cells.count[order]))
        last = np.searchsorted(seen, seen[first] + tree.nodes.count)
        running = np.cumsum(np.append(np.uint64(0), marks[order]))
        offset = number * len(cells)
        mark = running[last] - running[first]
        parts.append((order, first + offset, last + offset, mark, tree.nodes.count))
    order, first, last, mark, count = (np.concatenate(part) for part in zip(*parts))
    # Nodes of the same rows are looked at once.
    _, kept, which = np.unique(mark, return_index=True, return_inverse=True)
    first, last, count = first[kept], last[kept], count[kept]

    tied = np.zeros((len(trees), len(kept)), dtype=bool)
    lowest, highest = np.full(len(kept), np.inf), np.full(len(kept), -np.inf)
    large = np.flatnonzero(count >= 2 * min(leaves))
    parts_in_one_go = np.cumsum((last - first)[large]) // PAIRS_IN_ONE_GO
    for part in np.unique(parts_in_one_go):
        chosen = large[parts_in_one_go == part]
        node, place = expand(first[chosen], last[chosen])
        row = order[place]
        np.minimum.at(lowest, chosen[node], cells.lowest[row])
        np.maximum.at(highest, chosen[node], cells.highest[row])
        splits = find_splits(
            cells,
            node,
            row,
            len(chosen),
            absolute=groups[0].criterion["absolute"],
            min_samples_leaf=min(leaves),
            largest_label=fold.largest_label,
        )
        for number, min_samples_leaf in enumerate(leaves):
            equal, may_stop = splits.find_equal(min_samples_leaf)
            ways = np.bincount(splits.node[equal], minlength=len(chosen))
            tied[number, chosen] = (ways > 1) | ((ways == 1) & may_stop)
    tied &= lowest < highest

    start = 0
    for number, (group, tree) in enumerate(zip(groups, trees)):
        its = which[start : start + len(tree.nodes)]
        start += len(tree.nodes)
        ties = tied[number, its] & tree.nodes.large_enough
        tree.heed_ties(group, fold, ties, lowest[its], highest[its])
