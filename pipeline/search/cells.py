"""Rows of equal features, merged into cells, and the nodes of a tree that hold them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.search.arrays import Flags, Floats, Integers, find_runs

__all__ = ["Cells", "NodeCells"]


class Cells:
    """Rows of equal features, which every tree treats alike, merged into one cell.

    Attributes:
        features: Of shape (cells, features), float32.
        count: Rows in each cell.
        mean, spread: Mean of their labels, and sum of squared deviations from it.
        absolute: Sum of the labels' absolute values.
        lowest, highest: Range of their labels.
        ranks: Of shape (features, cells): the place of each cell in the order of each
            feature.
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
        self.ranks = np.argsort(np.argsort(self.features.T, axis=1), axis=1)
        self.rank_of_mean = np.argsort(np.argsort(self.mean))

    def __len__(self) -> int:
        return len(self.count)


class NodeCells(NamedTuple):
    """Which cells are in which nodes, as pairs of a node and a cell.

    Attributes:
        cells: All cells.
        node: The node of each pair, from 0, ascending.
        cell: The cell of each pair.
        nodes: Number of nodes.
    """

    cells: Cells
    node: Integers
    cell: Integers
    nodes: int

    @classmethod
    def root(cls, cells: Cells) -> "NodeCells":
        """One node with all cells."""
        everything = np.arange(len(cells))
        return cls(cells, np.zeros_like(everything), everything, 1)

    def only(self, nodes: Flags) -> "NodeCells":
        """Leave out the pairs of all nodes but some, which keep their numbers."""
        kept = nodes[self.node]
        return self._replace(node=self.node[kept], cell=self.cell[kept])

    def total(self, weights: Floats | Integers) -> Floats:
        """Sum up, per node, a weight of each pair."""
        return np.bincount(self.node, weights, self.nodes).astype(np.float64)

    def count_rows(self) -> Floats:
        return self.total(self.cells.count[self.cell])

    def mean_labels(self) -> Floats:
        sums = self.total(self.cells.count[self.cell] * self.cells.mean[self.cell])
        return sums / np.maximum(self.count_rows(), 1)

    def label_ranges(self) -> tuple[Floats, Floats]:
        """The lowest and the highest label in each node."""
        lowest, highest = np.full(self.nodes, np.inf), np.full(self.nodes, -np.inf)
        np.minimum.at(lowest, self.node, self.cells.lowest[self.cell])
        np.maximum.at(highest, self.node, self.cells.highest[self.cell])
        return lowest, highest

    def label_positions(self) -> Integers:
        """The place that each pair, of a single row, has in the order of its labels."""
        order = np.lexsort((self.cells.rank_of_mean[self.cell], self.node))
        start, _ = find_runs(self.node)
        positions = np.empty_like(order)
        positions[order] = np.arange(len(order)) - start
        return positions

    def squared_errors(self, predictions: Floats) -> Floats:
        """Sum up, per node, the squared errors of pairs that get a prediction each."""
        cells, cell = self.cells, self.cell
        away = (cells.mean[cell] - predictions) ** 2
        return self.total(cells.spread[cell] + cells.count[cell] * away)
