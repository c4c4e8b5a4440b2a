"""Random 64-bit fingerprints of sets, by which nodes with the same rows are found.

Each element draws a random number; the fingerprint of a set is the sum of its elements'
numbers modulo 2**64. This is Zobrist hashing, with sums in place of exclusive or
(https://en.wikipedia.org/wiki/Zobrist_hashing), so that running sums give the
fingerprint of any range. That two among n different sets share a fingerprint has a
probability below n**2 / 2**64: 1e-7 for a million sets.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.search.arrays import Integers

__all__ = ["Fingerprints", "draw_fingerprints", "fingerprint_ranges"]

Fingerprints = NDArray[np.uint64]


def draw_fingerprints(size: int) -> Fingerprints:
    """Draw the numbers of elements, the same ones in each run."""
    return np.random.default_rng(0).integers(2**64, size=size, dtype=np.uint64)


def fingerprint_ranges(
    elements: Fingerprints, first: Integers, last: Integers
) -> Fingerprints:
    """Take the fingerprints of ranges `first:last` of an array of elements."""
    running = np.cumsum(np.append(np.uint64(0), elements))
    fingerprints: Fingerprints = running[last] - running[first]
    return fingerprints
