"""The least error that a tree can have, whichever way its ties are broken.

All equally good splits are followed at once, level by level from the root, as if each
had been taken; nodes with the same rows are followed once. Then the least errors are
added up from below: of each node, that of its best split.
"""

from typing import NamedTuple

import numpy as np

from pipeline.search.arrays import Flags, Floats, Integers, expand_ranges
from pipeline.search.candidates import Group
from pipeline.search.cells import NodeCells
from pipeline.search.fingerprints import (
    Fingerprints,
    draw_fingerprints,
    fingerprint_ranges,
)
from pipeline.search.folds import Fold
from pipeline.search.gains import find_equal_splits, find_gains
from pipeline.search.splits import Splits, list_splits

__all__ = ["find_least_error"]

# Past this many times the cells of the data (and some, for small data) on one level,
# ties are not followed.
MOST_COPIES = 4


class _Nodes(NamedTuple):
    """The training and the held-out cells in the nodes of one level."""

    train: NodeCells
    test: NodeCells


class _Level(NamedTuple):
    """The nodes of one depth, for all ways of breaking ties.

    Attributes:
        size: Training rows in each.
        error: Squared error of its held-out rows if it is a leaf.
        least: Least squared error if it is split and the splits are not followed.
        splitting: Which node each split that is followed splits.
        may_stop: Whether a node may be a leaf although it may be split.
        children: Of shape (splits, 2): nodes of the next level.
    """

    size: Floats
    error: Floats
    least: Floats
    splitting: Integers
    may_stop: Flags
    children: Integers


def find_least_error(group: Group, fold: Fold) -> Floats:
    """Find the least squared error on the held-out rows, whichever way ties are broken.

    Returns:
        A lower bound of the sum of squared errors, as a table of the group's shape.
    """
    cells = fold.cells(group.criterion)
    fingerprints = draw_fingerprints(len(cells) + len(fold.test))
    most_pairs = MOST_COPIES * (len(cells) + 100)
    nodes = _Nodes(NodeCells.root(cells), NodeCells.root(fold.test))
    levels: list[_Level] = []
    while True:
        level, divisible = _describe(nodes, group, depth=len(levels))
        if len(nodes.train.node) > most_pairs or not divisible.any():
            least = np.where(divisible, level.least, level.error)
            levels.append(level._replace(least=least))
            return _add_up(levels, group)
        splits = list_splits(nodes.train.only(divisible), group.min_samples_leaf)
        gains = find_gains(group.criterion, splits, fold.largest_label)
        equal, may_stop = find_equal_splits(splits, gains, group.min_samples_leaf)
        nodes, children = _split(nodes, splits, equal, fingerprints)
        levels.append(
            level._replace(
                least=level.error,
                splitting=splits.node[equal],
                may_stop=may_stop,
                children=children,
            )
        )


def _describe(nodes: _Nodes, group: Group, depth: int) -> tuple[_Level, Flags]:
    """Describe the nodes of a level before they are split, and say which can be."""
    train, test = nodes
    lowest, highest = train.label_ranges()
    labels = test.cells.mean[test.cell]
    # Whichever way a node is split, predictions stay within its labels.
    nearest = np.clip(labels, lowest[test.node], highest[test.node])
    size = train.count_rows()
    level = _Level(
        size=size,
        error=test.squared_errors(_predict(train, group.criterion)[test.node]),
        least=test.squared_errors(nearest),
        splitting=np.empty(0, dtype=np.int64),
        may_stop=np.zeros(train.nodes, dtype=bool),
        children=np.empty((0, 2), dtype=np.int64),
    )
    smallest = max(2 * group.min_samples_leaf, int(group.min_samples_splits[0]))
    splittable = (size >= smallest) & (lowest < highest)
    return level, splittable & (depth < group.max_depths[-1])


def _predict(train: NodeCells, criterion: str) -> Floats:
    """What each node predicts: the median of its labels, or their mean."""
    if criterion != "absolute_error":
        return train.mean_labels()
    size, position = train.count_rows(), train.label_positions()
    total = np.zeros(train.nodes)
    for middle in ((size - 1) // 2, size // 2):
        here = position == middle[train.node]
        total[train.node[here]] += train.cells.mean[train.cell[here]]
    return total / 2


def _split(
    nodes: _Nodes, splits: Splits, equal: Integers, fingerprints: Fingerprints
) -> tuple[_Nodes, Integers]:
    """Follow splits to the nodes of the next level, each set of rows once.

    Args:
        equal: Which splits to follow.
        fingerprints: Of the training cells, then of the held-out ones.

    Returns:
        The next level's nodes, and each split's two children, of shape (splits, 2).
    """
    train, test = nodes
    splitting = splits.node[equal]
    # The held-out cells of each split's node, and the child that each goes to.
    start = np.searchsorted(test.node, splitting)
    end = np.searchsorted(test.node, splitting, side="right")
    split, place = expand_ranges(start, end)
    test_cell = test.cell[place]
    value = test.cells.features[test_cell, splits.feature[equal][split]]
    goes_left = value <= splits.threshold[equal][split]
    test_child = 2 * split + ~goes_left

    sequence = splits.members.cell[splits.order].ravel()
    bounds = np.stack([splits.first, splits.middle, splits.last], axis=1)[equal]
    first, last = bounds[:, :2].ravel(), bounds[:, 1:].ravel()
    marks = fingerprint_ranges(fingerprints[sequence], first, last)
    np.add.at(marks, test_child, fingerprints[len(train.cells) + test_cell])
    _, kept, child = np.unique(marks, return_index=True, return_inverse=True)

    node, place = expand_ranges(first[kept], last[kept])
    number = np.full(len(marks), -1)
    number[kept] = np.arange(len(kept))
    test_node = number[test_child]
    order = np.argsort(test_node, kind="stable")
    # Those of children that are another's twins come first and are left out.
    order = order[np.searchsorted(test_node[order], 0) :]
    following = _Nodes(
        NodeCells(train.cells, node, sequence[place], len(kept)),
        NodeCells(test.cells, test_node[order], test_cell[order], len(kept)),
    )
    return following, child.reshape(-1, 2)


def _add_up(levels: list[_Level], group: Group) -> Floats:
    """Add up the least errors, from the last level to the root.

    Returns:
        That of the root, as a table of the group's shape.
    """
    # One by one: tables of all nodes and all candidates take gigabytes of large data.
    columns = [
        _add_up_one(levels, group.max_depths, fewest)
        for fewest in group.min_samples_splits.tolist()
    ]
    return np.stack(columns, axis=1)


def _add_up_one(
    levels: list[_Level], max_depths: Integers, min_samples_split: int
) -> Floats:
    """Add them up for one min_samples_split.

    Returns:
        The least error of the root, for each of max_depths.
    """
    least_below = np.zeros((0, len(max_depths)))
    for depth, level in reversed([*enumerate(levels)]):
        shape = len(level.error), len(max_depths)
        as_leaf = np.broadcast_to(level.error[:, None], shape)
        divided = np.broadcast_to(level.least[:, None], shape).copy()
        if len(level.splitting):
            left, right = level.children.T
            together = least_below[left] + least_below[right]
            divided[:] = np.inf
            np.minimum.at(divided, level.splitting, together)
            stop = level.may_stop
            divided[stop] = np.minimum(divided[stop], as_leaf[stop])
        looks = (depth < max_depths) & (level.size[:, None] >= min_samples_split)
        least_below = np.where(looks & np.isfinite(divided), divided, as_leaf)
    least_error: Floats = least_below[0]
    return least_error
