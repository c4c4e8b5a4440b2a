"""Which nodes of grown trees scikit-learn may split otherwise, another time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.search.arrays import Flags, Floats, Integers, expand_ranges
from pipeline.search.cells import Cells, NodeCells
from pipeline.search.fingerprints import draw_fingerprints, fingerprint_ranges
from pipeline.search.gains import find_equal_splits, find_gains
from pipeline.search.shared_trees import SharedTree
from pipeline.search.splits import list_splits

__all__ = ["TiedNodes", "find_tied_nodes"]

# How many pairs of a node and a cell are looked at in one go: bounds the memory.
PAIRS_IN_ONE_GO = 250_000


class TiedNodes(NamedTuple):
    """What ties can do to the nodes of a tree.

    Attributes:
        tied: Whether it may be split in more than one way, or may not be split.
        lowest, highest: Range of its labels, where it is tied.
    """

    tied: Flags
    lowest: Floats
    highest: Floats


def find_tied_nodes(trees: list[SharedTree]) -> list[TiedNodes]:
    """Find the tied nodes of each of some trees.

    Nodes whose labels are all equal do not count: any split of them predicts the same.

    Args:
        trees: Of one criterion and fold, so that they have many nodes in common.
    """
    fold, criterion = trees[0].fold, trees[0].group.criterion
    cells = fold.cells(criterion)
    order, first, last = _list_nodes(trees, cells)
    # Nodes of the same rows are looked at once.
    fingerprints = fingerprint_ranges(draw_fingerprints(len(cells))[order], first, last)
    _, kept, which = np.unique(fingerprints, return_index=True, return_inverse=True)
    first, last = first[kept], last[kept]
    count = np.concatenate([tree.nodes.count for tree in trees])[kept]

    leaves = [tree.group.min_samples_leaf for tree in trees]
    tied = np.zeros((len(trees), len(kept)), dtype=bool)
    lowest, highest = np.full(len(kept), np.inf), np.full(len(kept), -np.inf)
    for chosen in _divide(np.flatnonzero(count >= 2 * min(leaves)), last - first):
        node, place = expand_ranges(first[chosen], last[chosen])
        members = NodeCells(cells, node, order[place], len(chosen))
        lowest[chosen], highest[chosen] = members.label_ranges()
        splits = list_splits(members, min(leaves))
        gains = find_gains(criterion, splits, fold.largest_label)
        for number, min_samples_leaf in enumerate(leaves):
            equal, may_stop = find_equal_splits(splits, gains, min_samples_leaf)
            ways = np.bincount(splits.node[equal], minlength=len(chosen))
            tied[number, chosen] = (ways > 1) | ((ways == 1) & may_stop)
    tied &= lowest < highest

    ends = np.cumsum([len(tree.nodes) for tree in trees])
    found = []
    for tree, ties, its in zip(trees, tied, np.split(which, ends[:-1])):
        really = ties[its] & tree.nodes.large_enough
        found.append(TiedNodes(really, lowest[its], highest[its]))
    return found


def _list_nodes(
    trees: list[SharedTree], cells: Cells
) -> tuple[Integers, Integers, Integers]:
    """Arrange the cells for each tree, so that those of any node follow one another.

    Returns:
        The cells, in one order for all trees after another, and the ranges of it that
        the nodes of all trees hold: where they start and end.
    """
    orders, firsts, lasts = [], [], []
    for number, tree in enumerate(trees):
        leaf = tree.find_leaves(cells)
        # Scikit-learn numbers nodes depth first, so that leaves in order are enough.
        order = np.argsort(leaf, kind="stable")
        first = np.searchsorted(leaf[order], np.arange(len(tree.nodes)))
        seen = np.append(0, np.cumsum(cells.count[order]))
        last = np.searchsorted(seen, seen[first] + tree.nodes.count)
        orders.append(order)
        firsts.append(first + number * len(cells))
        lasts.append(last + number * len(cells))
    return np.concatenate(orders), np.concatenate(firsts), np.concatenate(lasts)


def _divide(nodes: Integers, size: Integers) -> Iterator[Integers]:
    """Divide nodes into parts that are looked at in one go."""
    part = np.cumsum(size[nodes]) // PAIRS_IN_ONE_GO
    for number in np.unique(part):
        yield nodes[part == number]
