"""The bound from below against trees that scikit-learn grows from random states."""

import tracemalloc
from itertools import product

import numpy as np
import pytest

from pipeline.search.candidates import Group, group_candidates, list_candidates
from pipeline.search.folds import Fold
from pipeline.search.least_error import find_least_error


def make_group(criterion: str) -> Group:
    grid = {"criterion": [criterion], "max_depth": [1, 2], "min_samples_split": [2, 5]}
    (group,), _ = group_candidates(list_candidates(grid | {"random_state": [0]}))
    return group


@pytest.mark.parametrize("criterion", ["squared_error", "absolute_error"])
@pytest.mark.parametrize("seed", [2, 10, 22])
def test_is_that_of_the_luckiest_tree(criterion: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    X = random.integers(0, 2, (40, 3)).astype(np.float32)
    y = random.integers(0, 2, 40).astype(np.float64)
    # Few training rows of few kinds, so that many splits are equally good.
    fold = Fold(X[:12], y[:12], X[12:], y[12:])
    group = make_group(criterion)

    bound = find_least_error(group, fold)

    errors = np.full((20, *group.shape), np.inf)
    for state, row, column in product(range(20), *map(range, group.shape)):
        tree = fold.fit(group._replace(random_state=state).make_tree(row, column))
        errors[state, row, column] = np.sum((tree.predict(X[12:]) - y[12:]) ** 2)
    assert errors.min(axis=0) == pytest.approx(bound)
    assert np.ptp(errors, axis=0).max() > 0.1


def test_ties_without_end_are_not_followed() -> None:
    # No split of ten switches tells their parity, so that all are equally good: on the
    # fifth level 252 sets of switches would be told apart, 80 MB.
    X = np.array([*product([0, 1], repeat=10)], dtype=np.float32)
    y = X.sum(axis=1).astype(np.float64) % 2
    fold, group = Fold(X, y, X, y), make_group("squared_error")
    group = group._replace(max_depths=np.array([5, 10]))

    tracemalloc.start()
    bound = find_least_error(group, fold)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert bound.max() == 0
    assert peak < 10e6
