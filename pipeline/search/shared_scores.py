"""What a shared tree says of scikit-learn's scores, and how sure that is.

Where splits are equally good, scikit-learn may grow another tree than the one that was
shared, so its score is bounded from above: loosely at first, from the labels in the
tied nodes, then tightly, if that is worth the work, by following all ties.
"""

from enum import IntEnum

import numpy as np

from pipeline.search.arrays import Flags, Floats
from pipeline.search.folds import Fold
from pipeline.search.least_error import find_least_error
from pipeline.search.shared_trees import SharedTree, TreeNodes, sum_over_cuts
from pipeline.search.tied_nodes import TiedNodes

__all__ = ["Certainty", "SharedScores", "bound_loosely"]

# How far rounding may move a score before no shared score is taken as certain.
MOST_ROUNDING = 1e-5


class Certainty(IntEnum):
    """What a score is, beside scikit-learn's own."""

    BOUNDED = 0  # That of the shared tree: scikit-learn's may be up to the bound.
    UNTIED = 1  # That of the only tree there is: scikit-learn's up to rounding.
    FITTED = 2  # Scikit-learn's own.


class SharedScores:
    """The scores of a group on a fold, each a table of the group's shape.

    It holds neither the tree nor the fold, so that little goes to another process.

    Attributes:
        score: r2 of the shared tree when cut, or scikit-learn's own once it is fitted.
        upper: What scikit-learn's score cannot exceed.
        certainty: Of each score, a `Certainty`.
        tightly_bound: Whether all ties were followed.
    """

    def __init__(self, tree: SharedTree, ties: TiedNodes) -> None:
        self.group = tree.group
        self.score = tree.score_all()
        self.upper, untied = bound_loosely(tree, ties)
        self.certainty = np.where(untied, Certainty.UNTIED, Certainty.BOUNDED)
        # r2 of a single row is not defined, whatever the tree.
        self.certainty[np.isnan(self.score)] = Certainty.FITTED
        self.tightly_bound = False

    def bound_tightly(self, fold: Fold) -> None:
        """Lower `upper` by following every way in which ties can be broken."""
        tight = fold.r2(find_least_error(self.group, fold))
        self.upper = np.minimum(self.upper, tight + fold.rounding)
        self.tightly_bound = True

    def fit(self, fold: Fold, row: int, column: int) -> int:
        """Let scikit-learn fit and score a candidate, unless that is done.

        The score holds for every candidate that cuts the same tree at the same places:
        scikit-learn then takes the same steps and draws the same random numbers.

        Returns:
            Number of fits made.
        """
        if self.certainty[row, column] == Certainty.FITTED:
            return 0
        group = self.group
        tree = fold.fit(group.make_tree(row, column))
        nodes = TreeNodes(tree)
        looked = sum_over_cuts(group, nodes, nodes.divisible, np.ones(len(nodes)))
        # Two candidates cut alike if both look at the nodes that the stricter of each
        # limit lets through, and at no others.
        rows = np.minimum(np.arange(group.shape[0]), row)
        columns = np.maximum(np.arange(group.shape[1]), column)
        common = looked[np.ix_(rows, columns)]
        same = (looked == looked[row, column]) & (common == looked[row, column])
        self.score[same] = fold.score(tree)
        self.certainty[same] = Certainty.FITTED
        return 1


def bound_loosely(tree: SharedTree, ties: TiedNodes) -> tuple[Floats, Flags]:
    """Bound scikit-learn's scores: below a tied node, anything may have been grown.

    Whichever way ties go, predictions stay within the labels of the node.

    Returns:
        What the scores cannot exceed, and whether they are free of ties.
    """
    group, fold, nodes, tied = tree.group, tree.fold, tree.nodes, ties.tied
    gain = tree.gain
    if tied.any():
        least = np.zeros(len(nodes))
        for held_out in tree.climb(fold.test):
            held_out = held_out.only(tied)
            node, labels = held_out.node, fold.test.mean[held_out.cell]
            best = np.clip(labels, ties.lowest[node], ties.highest[node])
            least += held_out.squared_errors(best)
        gain = np.where(tied, tree.error - least, gain)
        gain[_find_descendants(nodes, tied)] = 0.0
    divisible = nodes.divisible | tied
    untied = sum_over_cuts(group, nodes, divisible, tied.astype(np.float64)) == 0
    untied &= fold.rounding < MOST_ROUNDING
    upper = fold.r2(tree.error[0] - sum_over_cuts(group, nodes, divisible, gain))
    return upper + fold.rounding, untied


def _find_descendants(nodes: TreeNodes, ancestors: Flags) -> Flags:
    below = np.zeros(len(nodes), dtype=bool)
    for depth in range(1, nodes.depth.max() + 1):
        level = np.flatnonzero(nodes.depth == depth)
        parent = nodes.parent[level]
        below[level] = below[parent] | ancestors[parent]
    return below
