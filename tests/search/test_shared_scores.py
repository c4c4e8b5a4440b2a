"""What shared scores promise, against trees that scikit-learn grows at random."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.search.candidates import Group, group_candidates, list_candidates
from pipeline.search.folds import Fold
from pipeline.search.shared_scores import Certainty, SharedScores
from pipeline.search.shared_trees import SharedTree
from pipeline.search.tied_nodes import find_tied_nodes

Floats = NDArray[np.float64]

STATES = 15


def make_group(criterion: str, max_depths: list[int | None]) -> Group:
    common = {"random_state": [0], "min_samples_leaf": [1], "criterion": [criterion]}
    (group,), _ = group_candidates(
        list_candidates(
            common | {"max_depth": max_depths, "min_samples_split": [2, 5]}
        )
    )
    return group


def score_at_random(group: Group, fold: Fold) -> Floats:
    """Scikit-learn's scores, of shape (STATES, max_depths, min_samples_splits)."""
    scores = np.empty((STATES, *group.shape))
    for state, row, column in product(range(STATES), *map(range, group.shape)):
        tree = group._replace(random_state=state).make_tree(row, column)
        scores[state, row, column] = fold.score(fold.fit(tree))
    return scores


def make_fold(seed: int) -> Fold:
    """Rows of few kinds, so that many splits are equally good, and others are not."""
    random = np.random.default_rng(seed)
    X = random.integers(0, 3, (50, 3)).astype(np.float32)
    y = random.integers(0, 4, 50).astype(np.float64) * 0.1
    return Fold(X[:25], y[:25], X[25:], y[25:])


@pytest.mark.parametrize("criterion", ["squared_error", "absolute_error"])
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in (3, 10))]
)
def test_no_tree_scores_above_the_bounds(criterion: str, seed: int) -> None:
    group, fold = make_group(criterion, [1, 2, 3, None]), make_fold(seed)
    tree = SharedTree(group, fold)
    (ties,) = find_tied_nodes([tree])
    shared = SharedScores(tree, ties)
    actual = score_at_random(group, fold)

    assert (actual <= shared.upper).all()
    untied = shared.certainty == Certainty.UNTIED
    same = np.broadcast_to(shared.score, actual.shape)[:, untied]
    assert actual[:, untied] == pytest.approx(same)

    loosely = shared.upper
    shared.bound_tightly(fold)
    assert (actual <= shared.upper).all()
    assert (shared.upper < loosely).any()
