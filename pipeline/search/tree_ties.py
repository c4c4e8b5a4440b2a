"""Where scikit-learn may split a regression tree in more than one way.

Between splits that are equally good, scikit-learn lets its random state choose, or how
its sums happen to be rounded. Here such splits are found, and bounds for the error of a
tree whichever way they are chosen.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Cells",
    "EPSILON",
    "Splits",
    "expand",
    "find_least_error",
    "find_splits",
    "sum_squared_errors",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

EPSILON = float(np.finfo(np.float64).eps)
# Values closer than this are one value to scikit-learn (tree/_partitioner.pxd).
FEATURE_THRESHOLD = np.float32(1e-7)
# Past this many times the rows of the data on one level, ties are not followed.
MOST_COPIES = 4


class Cells:
    """Rows of equal features, which every tree treats alike, merged into one cell.

    Attributes:
        features: Of shape (cells, features), float32.
        count: Rows in each cell.
        mean, spread: Mean of their labels, and sum of squared deviations from it.
        absolute: Sum of the labels' absolute values.
        lowest, highest: Range of their labels.
        orders: For each feature, the cells in ascending order.
        ranks: For each feature, the place of each cell in that order.
        rank_of_mean: The place of each cell in the order of means.
    """

    def __init__(
        self, features: NDArray[np.float32], labels: Floats, merge: bool = True
    ) -> None:
        order = np.lexsort(features.T)
        features, labels = features[order], labels[order]
        new = np.any(features[1:] != features[:-1], axis=1) | (not merge)
        start = np.concatenate(([0], np.flatnonzero(new) + 1))
        self.features = features[start]
        self.count = np.diff(np.append(start, len(labels)))
        self.mean = np.add.reduceat(labels, start) / self.count
        deviation = labels - np.repeat(self.mean, self.count)
        self.spread = np.add.reduceat(deviation**2, start)
        self.absolute = np.add.reduceat(np.abs(labels), start)
        self.lowest = np.minimum.reduceat(labels, start)
        self.highest = np.maximum.reduceat(labels, start)
        self.orders = [np.argsort(column) for column in self.features.T]
        self.ranks = [np.argsort(order) for order in self.orders]
        self.rank_of_mean = np.argsort(np.argsort(self.mean))

    def __len__(self) -> int:
        return len(self.count)


class Splits(NamedTuple):
    """All splits of some nodes.

    Attributes, all but the last three with a value for each split:
        node: Which node it splits.
        feature, threshold: Rows with features up to the threshold go left.
        first, middle, last: What goes left is sequence[first:middle], right
            sequence[middle:last].
        gain: By how much it lowers the node's error.
        smaller: Training rows in the smaller child.
        sequence: Rows, as `first`, `middle` and `last` refer to them.
        negligible: For each node, whether its error is so small that rounding decides
            if it is split.
        unsure: For each node, what rounding can do to the difference of two gains.
    """

    node: Integers
    feature: Integers
    threshold: Floats
    first: Integers
    middle: Integers
    last: Integers
    gain: Floats
    smaller: Integers
    sequence: Integers
    negligible: Flags
    unsure: Floats

    def find_equal(self, min_samples_leaf: int) -> tuple[Integers, Flags]:
        """Find the splits that scikit-learn may choose.

        Returns:
            Their indices, and whether each node may not be split at all.
        """
        allowed = np.flatnonzero(self.smaller >= min_samples_leaf)
        node, gain = self.node[allowed], self.gain[allowed]
        best = np.full(len(self.unsure), -np.inf)
        np.maximum.at(best, node, gain)
        equal = allowed[gain >= (best - self.unsure)[node]]
        return equal, self.negligible | (best <= self.unsure)


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


def sum_squared_errors(
    cells: Cells, row: Integers, prediction: Floats, node: Integers, nodes: int
) -> Floats:
    """Sum up, per node, the squared errors of cells that get a prediction."""
    error = cells.spread[row] + cells.count[row] * (cells.mean[row] - prediction) ** 2
    return _sum_up(node, error, nodes)


def find_splits(
    cells: Cells,
    node: Integers,
    row: Integers,
    nodes: int,
    *,
    absolute: bool,
    min_samples_leaf: int,
    largest_label: float,
) -> Splits:
    """Find all splits of nodes, and what scikit-learn's rounding can do to their order.

    Args:
        cells: The training rows; for absolute errors not merged.
        node, row: Which rows (of `cells`) are in which node, as pairs.
        nodes: How many nodes there are.
        absolute: Whether the criterion is absolute_error, not squared_error.
        largest_label: The largest absolute value of a label.
    """
    counts = _sum_up(node, cells.count[row], nodes)
    center = _sum_up(node, cells.count[row] * cells.mean[row], nodes)
    center /= np.maximum(counts, 1)
    deviation = cells.count[row] * (cells.mean[row] - center[node])
    size = _sum_up(node, cells.absolute[row], nodes)
    rounded = scale = 1.0
    if absolute:
        # Whole numbers, so that sums are exact in any order.
        largest = max(float(np.abs(deviation).sum()), 1e-200)
        scale = 2.0 ** np.floor(61 - np.log2(largest))
        whole = np.rint(deviation * scale).astype(np.int64)
        position = _positions(node, cells.rank_of_mean[row])
        error = np.zeros(nodes)
    else:
        error = sum_squared_errors(cells, row, center[node], node, nodes)

    parts = []
    for feature in range(len(cells.orders)):
        sequence = np.argsort(node * len(cells) + cells.ranks[feature][row])
        at, cell = node[sequence], row[sequence]
        start, end = _ranges(at)
        running = np.cumsum(cells.count[cell])
        count = running - (running - cells.count[cell])[start]
        rest = counts[at] - count
        value = cells.features[cell, feature]
        valid = (count >= min_samples_leaf) & (rest >= min_samples_leaf) & (rest > 0)
        valid[:-1] &= value[1:] > value[:-1] + FEATURE_THRESHOLD
        chosen = np.flatnonzero(valid)
        first, middle, last = start[valid], chosen + 1, end[valid]
        if absolute:
            heads = np.flatnonzero(start == np.arange(len(start)))
            sums = _absolute_deviations(
                whole[sequence],
                position[sequence],
                np.concatenate([first, middle, heads]),
                np.concatenate([middle, last, end[heads]]),
            )
            left, right, total = np.split(sums, [len(chosen), 2 * len(chosen)])
            error[at[heads]] = total / scale
            gain = error[at[valid]] - (left + right) / scale
        else:
            moved = deviation[sequence]
            running = np.cumsum(moved)
            left = (running - (running - moved)[start])[valid]
            gain = left**2 * (1 / count[valid] + 1 / rest[valid])
            rounded = max(rounded, float(np.abs(running).max()))
        threshold = value[valid] / 2.0 + value[np.minimum(middle, len(value) - 1)] / 2.0
        offset = feature * len(row)
        parts.append(
            (
                at[valid],
                np.full(len(chosen), feature),
                threshold.astype(np.float64),
                first + offset,
                middle + offset,
                last + offset,
                gain,
                np.minimum(count, rest)[chosen],
                cell,
            )
        )
    owner, features, thresholds, firsts, middles, lasts, gains, smaller, sequences = (
        np.concatenate(column) for column in zip(*parts)
    )
    # A sum of n numbers is off by at most n * epsilon / 2 times their sizes (Higham,
    # Accuracy and Stability of Numerical Algorithms, 4.2); two results of such sums
    # are compared. The second term is for the sums made here.
    if absolute:
        unsure = 8 * EPSILON * counts * size + 2 * counts / scale
    else:
        unsure = 4 * EPSILON * counts * largest_label * size
        unsure += 8 * EPSILON * len(node) * largest_label * rounded
    negligible = error <= EPSILON * counts + unsure
    return Splits(
        owner,
        features,
        thresholds,
        firsts,
        middles,
        lasts,
        gains,
        smaller,
        sequences,
        negligible,
        unsure,
    )


def find_least_error(
    cells: Cells,
    test: Cells,
    *,
    absolute: bool,
    min_samples_leaf: int,
    largest_label: float,
    depths: Integers,
    splits: Integers,
) -> Floats:
    """Find the least squared error on held-out rows, whichever way ties are broken.

    Follows every equally good split, level by level; nodes with the same rows are
    followed once.

    Args:
        cells, test: Training and held-out rows.
        depths, splits: The values of max_depth and min_samples_split, ascending.

    Returns:
        A lower bound of the sum of squared errors, of shape (depths, splits).
    """
    node, row = np.zeros(len(cells), dtype=np.int64), np.arange(len(cells))
    test_node, test_row = np.zeros(len(test), dtype=np.int64), np.arange(len(test))
    random = np.random.default_rng(0)
    marks = random.integers(2**63, size=len(cells), dtype=np.uint64)
    test_marks = random.integers(2**63, size=len(test), dtype=np.uint64)
    levels: list[_Level] = []
    nodes = 1
    while True:
        depth = len(levels)
        counts = _sum_up(node, cells.count[row], nodes)
        lowest, highest = np.full(nodes, np.inf), np.full(nodes, -np.inf)
        np.minimum.at(lowest, node, cells.lowest[row])
        np.maximum.at(highest, node, cells.highest[row])
        value = _predict(cells, node, row, counts, absolute)
        error, anywhere = (
            sum_squared_errors(test, test_row, prediction, test_node, nodes)
            for prediction in (
                value[test_node],
                np.clip(test.mean[test_row], lowest[test_node], highest[test_node]),
            )
        )
        smallest = max(2 * min_samples_leaf, int(splits[0]))
        divisible = (counts >= smallest) & (lowest < highest) & (depth < depths[-1])
        if len(node) > MOST_COPIES * (len(cells) + 100) or not divisible.any():
            least = np.where(divisible, anywhere, error)
            none = np.empty(0, dtype=np.int64)
            never = np.zeros(nodes, dtype=bool)
            levels.append(
                _Level(counts, error, least, none, never, none.reshape(-1, 2))
            )
            break
        keep = divisible[node]
        found = find_splits(
            cells,
            node[keep],
            row[keep],
            nodes,
            absolute=absolute,
            min_samples_leaf=min_samples_leaf,
            largest_label=largest_label,
        )
        equal, may_stop = found.find_equal(min_samples_leaf)
        splitting = found.node[equal]
        # The held-out rows of the two children of each split.
        start = np.searchsorted(test_node, splitting)
        end = np.searchsorted(test_node, splitting, side="right")
        split, place = expand(start, end)
        candidate = test_row[place]
        value_of = test.features[candidate, found.feature[equal][split]]
        goes_left = value_of <= found.threshold[equal][split]
        test_child = 2 * split + ~goes_left
        # Children with the same rows are one child.
        running = np.cumsum(np.append(np.uint64(0), marks[found.sequence]))
        bounds = np.stack([found.first, found.middle, found.last], axis=1)[equal]
        mark = np.diff(running[bounds], axis=1).ravel()
        np.add.at(mark, test_child, test_marks[candidate])
        _, kept, child = np.unique(mark, return_index=True, return_inverse=True)
        levels.append(
            _Level(counts, error, error, splitting, may_stop, child.reshape(-1, 2))
        )

        nodes = len(kept)
        first, last = bounds[:, :2].ravel()[kept], bounds[:, 1:].ravel()[kept]
        node, place = expand(first, last)
        row = found.sequence[place]
        number = np.full(len(mark), -1)
        number[kept] = np.arange(nodes)
        test_node = number[test_child]
        order = np.argsort(test_node, kind="stable")
        order = order[np.searchsorted(test_node[order], 0) :]
        test_node, test_row = test_node[order], candidate[order]

    shape = len(depths), len(splits)
    bound = np.zeros((0, *shape))
    for depth, level in reversed([*enumerate(levels)]):
        error = np.broadcast_to(level.error[:, None, None], (len(level.error), *shape))
        divided = np.broadcast_to(level.least[:, None, None], error.shape).copy()
        if len(level.splitting):
            either = bound[level.children[:, 0]] + bound[level.children[:, 1]]
            divided[:] = np.inf
            np.minimum.at(divided, level.splitting, either)
            leaf = level.may_stop
            divided[leaf] = np.minimum(divided[leaf], error[leaf])
        looks = (depth < depths)[:, None] & (level.size[:, None, None] >= splits)
        bound = np.where(looks & np.isfinite(divided), divided, error)
    least_error: Floats = bound[0]
    return least_error


def _predict(
    cells: Cells, node: Integers, row: Integers, counts: Floats, absolute: bool
) -> Floats:
    """What each node predicts: the median of its labels, or their mean."""
    if not absolute:
        return _sum_up(node, cells.count[row] * cells.mean[row], len(counts)) / counts
    position = _positions(node, cells.rank_of_mean[row])
    total = np.zeros(len(counts))
    for middle in ((counts - 1) // 2, counts // 2):
        here = position == middle[node]
        total += _sum_up(node[here], cells.mean[row[here]], len(counts))
    return total / 2


def _sum_up(node: Integers, weights: Floats | Integers, nodes: int) -> Floats:
    return np.bincount(node, weights, minlength=nodes).astype(np.float64)


def expand(first: Integers, last: Integers) -> tuple[Integers, Integers]:
    """List all elements of ranges: which range each is of, and its place."""
    size = last - first
    which = np.repeat(np.arange(len(size)), size)
    before = np.cumsum(size) - size
    return which, np.arange(len(which)) + (first - before)[which]


def _ranges(owners: Integers) -> tuple[Integers, Integers]:
    """For each element of a sorted array: where its run of equals starts and ends."""
    start = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1])))
    bounds = np.append(start, len(owners))
    size = np.diff(bounds)
    return np.repeat(start, size), np.repeat(bounds[1:], size)


def _positions(node: Integers, rank: Integers) -> Integers:
    """The position that each pair would have if its node were sorted by rank."""
    order = np.lexsort((rank, node))
    start, _ = _ranges(node[order])
    positions = np.empty_like(order)
    positions[order] = np.arange(len(order)) - start
    return positions


def _absolute_deviations(
    values: Integers, positions: Integers, first: Integers, last: Integers
) -> Integers:
    """Sum up the absolute deviations from the median of many ranges of an array.

    The medians are found for all ranges at once, bit by bit, with a wavelet matrix
    (Claude, Navarro and Ordonez, https://doi.org/10.1016/j.is.2014.06.002).

    Args:
        values: The array.
        positions: Positions of the values in sorted order, distinct within a range.
        first, last: Each range is values[first:last], and not empty.
    """
    running = np.concatenate(([0], np.cumsum(values)))
    size = last - first
    total = running[last] - running[first]
    wanted, below = size // 2, np.zeros_like(total)
    for bit in reversed(range(int(positions.max()).bit_length())):
        zero = (positions >> bit) & 1 == 0
        zeros = np.concatenate(([0], np.cumsum(zero)))
        order = np.concatenate((np.flatnonzero(zero), np.flatnonzero(~zero)))
        positions, values = positions[order], values[order]
        running = np.concatenate(([0], np.cumsum(values)))
        low, high = zeros[first], zeros[last]
        upper = wanted >= high - low
        below += np.where(upper, running[high] - running[low], 0)
        wanted -= np.where(upper, high - low, 0)
        first = np.where(upper, zeros[-1] + first - low, low)
        last = np.where(upper, zeros[-1] + last - high, high)
    median = values[first]
    deviations: Integers = total - 2 * below - np.where(size % 2 == 1, median, 0)
    return deviations
