"""Sums of absolute deviations from the median, of many ranges of an array at once."""

import numpy as np

from pipeline.search.arrays import Integers

__all__ = ["sum_absolute_deviations"]


def sum_absolute_deviations(
    values: Integers, positions: Integers, first: Integers, last: Integers
) -> Integers:
    """Sum up the absolute deviations from the median of each range.

    The medians are found for all ranges at once, bit by bit, with a wavelet matrix
    (Claude, Navarro and Ordonez, https://doi.org/10.1016/j.is.2014.06.002).

    Args:
        values: The array.
        positions: Positions of the values in sorted order, distinct within a range.
        first, last: Each range is values[first:last], and not empty.

    >>> values, positions = np.array([5, 1, 2]), np.array([2, 0, 1])
    >>> sum_absolute_deviations(values, positions, np.array([0, 0]), np.array([2, 3]))
    array([4, 4])
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
