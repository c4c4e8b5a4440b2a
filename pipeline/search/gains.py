"""How good splits are, and which of them scikit-learn may take for the best.

Between splits that are equally good, scikit-learn lets its random state choose, or how
its sums happen to be rounded. So gains come with a tolerance: what rounding can do to
the difference of two of them. It follows from one inequality: a sum of n numbers x, in
any order, is off by at most n * u * sum(abs(x)), where u = EPSILON / 2 (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd edition, section 4.2).
"""

from typing import NamedTuple

import numpy as np

from pipeline.search.absolute_deviations import sum_absolute_deviations
from pipeline.search.arrays import EPSILON, Flags, Floats, Integers, find_runs
from pipeline.search.cells import NodeCells
from pipeline.search.splits import Splits

__all__ = [
    "Gains",
    "absolute_error_gains",
    "find_equal_splits",
    "find_gains",
    "squared_error_gains",
]


class Gains(NamedTuple):
    """How good splits are.

    Attributes:
        gain: For each split, by how much it lowers the node's error.
        gain_tolerance: For each node, what rounding can do to the difference of two
            gains.
        negligible: For each node, whether its error is so small that rounding decides
            if it is split.
    """

    gain: Floats
    gain_tolerance: Floats
    negligible: Flags


def find_gains(criterion: str, splits: Splits, largest_label: float) -> Gains:
    """Find the gains of splits.

    Args:
        criterion: "absolute_error", for which cells must be single rows, or
            "squared_error".
        largest_label: The largest absolute value of a label.
    """
    if criterion == "absolute_error":
        return absolute_error_gains(splits)
    return squared_error_gains(splits, largest_label)


def squared_error_gains(splits: Splits, largest_label: float) -> Gains:
    """Find by how much splits lower the sum of squared deviations from the mean."""
    members = splits.members
    center = members.mean_labels()
    deviation = _weigh_deviations(members, center)[splits.order]
    running = np.cumsum(deviation, axis=1)
    before = (running - deviation).ravel()[splits.first]
    left = running.ravel()[splits.middle - 1] - before
    gain = left**2 * (1 / splits.left_rows + 1 / splits.right_rows)

    counts, size = members.count_rows(), _sum_sizes(members)
    # Scikit-learn compares sum**2 / rows of children. With labels up to L, whose sizes
    # add up to S, each sum is off by at most n * u * S, so each square by 2 * L times
    # that, and so is the other split's: 2 * EPSILON * n * L * S, here doubled.
    gain_tolerance = 4 * EPSILON * counts * largest_label * size
    # And the sums made here, by the same inequality: N steps through values up to R.
    steps, largest = len(members.node), max(1.0, float(np.abs(running).max()))
    gain_tolerance += 8 * EPSILON * steps * largest_label * largest
    error = members.squared_errors(center[members.node])
    return Gains(gain, gain_tolerance, _is_negligible(error, counts, gain_tolerance))


def absolute_error_gains(splits: Splits) -> Gains:
    """Find by how much splits lower the sum of absolute deviations from the median."""
    members, order = splits.members, splits.order
    deviation = _weigh_deviations(members, members.mean_labels())
    # Whole numbers, so that sums are exact in any order.
    largest = max(float(np.abs(deviation).sum()), 1e-200)
    scale = 2.0 ** np.floor(61 - np.log2(largest))
    whole = np.rint(deviation * scale).astype(np.int64)
    start, end = find_runs(members.node)
    heads = np.flatnonzero(start == np.arange(len(start)))
    sums = sum_absolute_deviations(
        whole[order].ravel(),
        members.label_positions()[order].ravel(),
        np.concatenate([splits.first, splits.middle, heads]),
        np.concatenate([splits.middle, splits.last, end[heads]]),
    )
    count = len(splits.node)
    left, right, total = np.split(sums, [count, 2 * count])
    error = np.zeros(members.nodes)
    error[members.node[heads]] = total / scale
    gain = error[splits.node] - (left + right) / scale

    counts = members.count_rows()
    # The same inequality for the two children of two splits, here doubled; and half a
    # unit for each whole number made here.
    gain_tolerance = 8 * EPSILON * counts * _sum_sizes(members) + 2 * counts / scale
    return Gains(gain, gain_tolerance, _is_negligible(error, counts, gain_tolerance))


def find_equal_splits(
    splits: Splits, gains: Gains, min_samples_leaf: int
) -> tuple[Integers, Flags]:
    """Find the splits that scikit-learn may choose.

    Six rows whose labels are 0, 0, 3, 3, 0, 0 are split as well before the threes as
    after them:

    >>> from pipeline.search.cells import Cells
    >>> from pipeline.search.splits import list_splits
    >>> rows, labels = np.float32([[1], [2], [3], [4], [5], [6]]), [0, 0, 3, 3, 0, 0]
    >>> root = NodeCells.root(Cells(rows, np.array(labels, float)))
    >>> splits = list_splits(root, min_samples_leaf=1)
    >>> splits.threshold
    array([1.5, 2.5, 3.5, 4.5, 5.5])
    >>> gains = squared_error_gains(splits, largest_label=3.0)
    >>> gains.gain
    array([1.2, 3. , 0. , 3. , 1.2])
    >>> equal, may_stop = find_equal_splits(splits, gains, min_samples_leaf=1)
    >>> splits.threshold[equal], may_stop
    (array([2.5, 4.5]), array([False]))

    Returns:
        Their indices, and whether each node may not be split at all.
    """
    smaller = np.minimum(splits.left_rows, splits.right_rows)
    allowed = np.flatnonzero(smaller >= min_samples_leaf)
    node, gain = splits.node[allowed], gains.gain[allowed]
    best = np.full(splits.members.nodes, -np.inf)
    np.maximum.at(best, node, gain)
    equal = allowed[gain >= (best - gains.gain_tolerance)[node]]
    return equal, gains.negligible | (best <= gains.gain_tolerance)


def _weigh_deviations(members: NodeCells, center: Floats) -> Floats:
    """For each pair, the sum of its labels' deviations from the center of its node."""
    cells, cell = members.cells, members.cell
    deviations: Floats = cells.count[cell] * (cells.mean[cell] - center[members.node])
    return deviations


def _sum_sizes(members: NodeCells) -> Floats:
    return members.total(members.cells.absolute[members.cell])


def _is_negligible(error: Floats, counts: Floats, gain_tolerance: Floats) -> Flags:
    # Scikit-learn does not split a node whose mean error is at most EPSILON.
    return error <= EPSILON * counts + gain_tolerance
