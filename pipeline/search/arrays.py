"""The kinds of arrays that the search reads, and many ranges of one at a time."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["EPSILON", "Flags", "Floats", "Integers", "expand_ranges", "find_runs"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

EPSILON = float(np.finfo(np.float64).eps)


def expand_ranges(first: Integers, last: Integers) -> tuple[Integers, Integers]:
    """List all elements of ranges: which range each is of, and its place."""
    size = last - first
    which = np.repeat(np.arange(len(size)), size)
    before = np.cumsum(size) - size
    return which, np.arange(len(which)) + (first - before)[which]


def find_runs(owners: Integers) -> tuple[Integers, Integers]:
    """For each element of a sorted array: where its run of equals starts and ends."""
    start = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1])))
    bounds = np.append(start, len(owners))
    size = np.diff(bounds)
    return np.repeat(start, size), np.repeat(bounds[1:], size)
