"""The search over candidates and folds: fit what could win, and nothing else."""

import numpy as np

from pipeline.search.arrays import Flags, Integers
from pipeline.search.candidates import (
    Group,
    Parameters,
    group_candidates,
    make_tree,
)
from pipeline.search.folds import Fold
from pipeline.search.shared_scores import Certainty, SharedScores
from pipeline.search.shared_trees import SharedTree
from pipeline.search.tied_nodes import find_tied_nodes
from pipeline.search.workers import Workers

__all__ = ["BranchAndBound"]

# Rows and columns of a table of scores.
Places = set[tuple[int, int]]

# How many possible winners are fitted before looking who is left.
CONTENDERS_IN_ONE_GO = 8


class BranchAndBound:
    """The state of a search.

    Its steps are `fit_separately`, `grow_shared_trees` and `fit_contenders`, in this
    order. Each takes its name, for the line of progress, and returns how many trees it
    grew.

    Attributes, all of shape (candidates, folds):
        scores: r2.
        upper: What scikit-learn's score cannot exceed.
        certainty: Of each score, a `Certainty`.
    """

    def __init__(
        self, candidates: list[Parameters], folds: list[Fold], workers: Workers
    ) -> None:
        self.candidates, self.folds, self.workers = candidates, folds, workers
        self.groups, self.separate = group_candidates(candidates)
        # With the number of the fold of each.
        self.shared: list[tuple[int, SharedScores]] = []
        shape = len(candidates), len(folds)
        self.scores = np.zeros(shape)
        self.upper = np.full(shape, np.inf)
        self.certainty: Integers = np.full(shape, Certainty.BOUNDED)

    def fit_separately(self, name: str) -> int:
        """Fit and score the candidates that share no work."""
        pairs = [
            (self.candidates[index], fold)
            for index in self.separate
            for fold in self.folds
        ]
        scores = self.workers.apply(name, _fit_and_score, pairs)
        self.scores[self.separate] = np.reshape(scores, (-1, len(self.folds)))
        self.certainty[self.separate] = Certainty.FITTED
        return len(pairs)

    def grow_shared_trees(self, name: str) -> int:
        """Grow one tree for each group on each fold, and read all scores off it."""
        alike: dict[str, list[Group]] = {}
        for group in self.groups:
            alike.setdefault(group.criterion, []).append(group)
        # What takes longest first, so that no worker is left alone with it.
        together = [
            (number, alike[criterion])
            for criterion in sorted(alike)
            for number in range(len(self.folds))
        ]
        scores = self.workers.apply(
            name,
            _grow_and_score,
            [(groups, self.folds[number]) for number, groups in together],
        )
        self.shared = [
            (number, shared)
            for (number, _), several in zip(together, scores, strict=True)
            for shared in several
        ]
        self._gather()
        return len(self.groups) * len(self.folds)

    def fit_contenders(self, name: str) -> int:
        """Let scikit-learn fit and score whatever could still win."""
        fits = 0
        while contenders := self._choose_contenders():
            to_beat = bool(self.reach(Certainty.FITTED).any())
            changed = self.workers.apply(
                name,
                _fit_or_bound,
                [
                    (self.shared[which][1], self.folds[number], places, to_beat)
                    for which, number, places in contenders
                ],
            )
            for (which, number, _), (shared, made) in zip(contenders, changed):
                self.shared[which] = number, shared
                fits += made
            self._gather()
        return fits

    def reach(self, certainty: Certainty) -> Flags:
        """Which candidates have at least this certainty on each fold."""
        reached: Flags = np.all(self.certainty >= certainty, axis=1)
        return reached

    def _choose_contenders(self) -> list[tuple[int, int, Places]]:
        """Choose what to fit next, by branch and bound.

        The best candidate that is fitted is the one to beat. Whoever cannot reach its
        score with the upper bounds of its own is never fitted. The others are, the
        likeliest first, because a better score to beat and lower bounds rule out more.

        Returns:
            Which of the shared scores, the number of their fold, and the rows and
            columns in them to fit; none when nobody is left.
        """
        fitted = self.reach(Certainty.FITTED)
        to_beat = self.scores.mean(axis=1)[fitted].max(initial=-np.inf)
        wanted = self.certainty != Certainty.FITTED
        upper = np.where(wanted, self.upper, self.scores)
        bound = upper.mean(axis=1)
        contenders = np.flatnonzero(~fitted & (bound >= to_beat))
        if not len(contenders):
            return []
        if not fitted.any():
            mean = self.scores.mean(axis=1)
            contenders = contenders[[mean[contenders].argmax()]]
        elif np.isfinite(bound[contenders]).all():
            likeliest = np.argsort(-bound[contenders], kind="stable")
            contenders = contenders[likeliest[:CONTENDERS_IN_ONE_GO]]
            # The least certain fold is often enough to rule a candidate out.
            fold = (upper - self.scores)[contenders].argmax(axis=1)
            least_certain = np.zeros_like(wanted)
            least_certain[contenders, fold] = True
            wanted &= least_certain
        return self._find_places(contenders, wanted)

    def _find_places(
        self, contenders: Integers, wanted: Flags
    ) -> list[tuple[int, int, Places]]:
        """Find the places in the shared scores where contenders are to be fitted."""
        found = []
        for which, (number, shared) in enumerate(self.shared):
            group = shared.group
            now = np.isin(group.members, contenders) & wanted[group.members, number]
            places = {*zip(group.rows[now].tolist(), group.columns[now].tolist())}
            if places:
                found.append((which, number, places))
        return found

    def _gather(self) -> None:
        """Copy the shared scores into the arrays over all candidates."""
        for number, shared in self.shared:
            members = shared.group.members
            place = shared.group.rows, shared.group.columns
            self.scores[members, number] = shared.score[place]
            self.upper[members, number] = shared.upper[place]
            self.certainty[members, number] = shared.certainty[place]


def _fit_and_score(candidate: Parameters, fold: Fold) -> float:
    return fold.score(fold.fit(make_tree(candidate)))


def _grow_and_score(groups: list[Group], fold: Fold) -> list[SharedScores]:
    """Grow the trees of groups of one criterion, which have many nodes in common."""
    trees = [SharedTree(group, fold) for group in groups]
    return [*map(SharedScores, trees, find_tied_nodes(trees))]


def _fit_or_bound(
    shared: SharedScores, fold: Fold, places: Places, to_beat: bool
) -> tuple[SharedScores, int]:
    """Fit candidates, unless a tight bound, which costs less, may rule them out.

    Args:
        to_beat: Whether there is a score to beat.

    Returns:
        The scores, changed, and how many trees were grown.
    """
    tied = any(shared.certainty[place] == Certainty.BOUNDED for place in places)
    if tied and not shared.tightly_bound and to_beat:
        shared.bound_tightly(fold)
        return shared, 0
    return shared, sum(shared.fit(fold, *place) for place in sorted(places))
