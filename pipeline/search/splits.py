"""All splits of the nodes of a tree, whatever the criterion."""

from typing import NamedTuple

import numpy as np

from pipeline.search.arrays import Floats, Integers, find_runs
from pipeline.search.cells import NodeCells

__all__ = ["Splits", "list_splits"]

# Values closer than this are one value to scikit-learn (tree/_partitioner.pxd).
FEATURE_THRESHOLD = np.float32(1e-7)


class Splits(NamedTuple):
    """All splits of some nodes.

    Attributes, all but the first two with a value for each split:
        members: What is split.
        order: Of shape (features, pairs): the pairs of `members`, each node's in
            ascending order of the feature.
        node: Which node it splits.
        feature, threshold: Rows with features up to the threshold go left.
        first, middle, last: What goes left is order.ravel()[first:middle], right
            order.ravel()[middle:last].
        left_rows, right_rows: Training rows in both children.
    """

    members: NodeCells
    order: Integers
    node: Integers
    feature: Integers
    threshold: Floats
    first: Integers
    middle: Integers
    last: Integers
    left_rows: Integers
    right_rows: Integers


def list_splits(members: NodeCells, min_samples_leaf: int) -> Splits:
    """List the splits into children of at least so many rows."""
    cells, node = members.cells, members.node
    order = np.argsort(node * len(cells) + cells.ranks[:, members.cell], axis=1)
    cell = members.cell[order]
    # The nodes follow one another, so that they lie alike in each feature's order.
    start, end = find_runs(node)
    rows = cells.count[cell]
    running = np.cumsum(rows, axis=1)
    left = running - (running - rows)[:, start]
    right = members.count_rows().astype(np.int64)[node] - left
    value = cells.features[cell, np.arange(len(cell))[:, np.newaxis]]
    valid = (left >= min_samples_leaf) & (right >= max(min_samples_leaf, 1))
    valid[:, :-1] &= value[:, 1:] > value[:, :-1] + FEATURE_THRESHOLD
    feature, place = np.nonzero(valid)
    below = value[feature, place].astype(np.float64)
    above = value[feature, place + 1].astype(np.float64)
    offset = feature * len(node)
    return Splits(
        members=members,
        order=order,
        node=node[place],
        feature=feature,
        threshold=below / 2.0 + above / 2.0,
        first=start[place] + offset,
        middle=place + 1 + offset,
        last=end[place] + offset,
        left_rows=left[valid],
        right_rows=right[valid],
    )
