"""The exhaustive hyperparameter search of a decision tree, with shared work.

For one criterion, one min_samples_leaf, one random_state and one fold, max_depth and
min_samples_split only cut the same tree short. It is grown once, and the scores of all
(max_depth, min_samples_split) candidates are summed up from its nodes. The idea is
known as "training only once tuning": https://arxiv.org/abs/2405.20622.

scikit-learn breaks ties between equally good splits by its random state, and so does
rounding, so a cut tree is not always the tree that scikit-learn would grow. Whatever
could win is therefore fitted and scored by scikit-learn itself.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np
from joblib import cpu_count
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.metrics import r2_score
from sklearn.model_selection import ParameterGrid, check_cv
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.validation import check_is_fitted, validate_data

from pipeline.tree_ties import (
    EPSILON,
    Cells,
    expand,
    find_least_error,
    find_splits,
    sum_squared_errors,
)

__all__ = ["DecisionTreeSearchCV"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Parameters = dict[str, Any]

SHARED_PARAMETERS = {
    "criterion",
    "max_depth",
    "min_samples_leaf",
    "min_samples_split",
    "random_state",
}
UNLIMITED_DEPTH = int(np.iinfo(np.int32).max)

# How far rounding may move a score before no shared score is taken as certain.
ROUNDING = 1e-5
# How many (row, node) pairs are looked at in one go: bounds the memory.
PAIRS_IN_ONE_GO = 1_000_000
# How many possible winners are fitted before looking who is left.
CONTENDERS_IN_ONE_GO = 8

log = logging.getLogger("pipeline")


class DecisionTreeSearchCV(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Do what GridSearchCV(DecisionTreeRegressor(), param_grid) does, much faster.

    The winner, its score and its refitted tree are those of scikit-learn's
    GridSearchCV: candidates that could win are fitted and scored by scikit-learn on the
    same folds, each distinct tree once, and the first candidate with the best mean
    score wins.

    Work is shared over criterion ("squared_error" or "absolute_error"), max_depth,
    min_samples_split, min_samples_leaf and an integer random_state. Candidates that set
    another parameter of DecisionTreeRegressor, or one of these in another way (as a
    fraction, or random_state as None), are fitted one by one.

    Args:
        param_grid: As GridSearchCV takes it: names of parameters of
            DecisionTreeRegressor and the values to try, or a list of such mappings.
        cv: As GridSearchCV takes it: number of folds, splitter, or iterable of
            (train, test) indices; None means 5 folds.
        scoring: "r2", the only score whose parts add up over the nodes of a tree.
        refit: Whether to fit the best candidate on all rows.

    Attributes:
        best_index_, best_params_, best_score_: The winner.
        best_estimator_: The winner fitted on all rows, if `refit`.
        cv_results_: As GridSearchCV's, without times. One more column,
            `exact_test_score`, is False where a candidate that cannot win holds the
            score of the shared tree, in which ties may have been broken otherwise.
        n_splits_: Number of folds.
        n_fits_: Number of trees grown, the last one not counted.
    """

    def __init__(
        self,
        param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        *,
        cv: Any = None,
        scoring: str = "r2",
        refit: bool = True,
    ) -> None:
        self.param_grid = param_grid
        self.cv = cv
        self.scoring = scoring
        self.refit = refit

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Search the grid.

        Args:
            X: Features, of shape (rows, features), finite.
            y: Labels, of shape (rows,), finite.

        Raises:
            ValueError: The grid, the scoring or the data cannot be used.
        """
        if self.scoring != "r2":
            raise ValueError(
                f"scoring={self.scoring!r} is not supported: use scoring='r2', or "
                "GridSearchCV for another score."
            )
        candidates = _check_candidates(self.param_grid)
        features, labels = validate_data(self, X, y, dtype=np.float32, y_numeric=True)
        labels = labels.astype(np.float64)
        splitter = check_cv(self.cv, labels)
        folds = [
            _Fold(features[train], labels[train], features[test], labels[test])
            for train, test in splitter.split(X, y)
        ]
        self.n_splits_ = len(folds)

        search = _Search(candidates, folds)
        search.run()

        self.n_fits_ = search.n_fits
        self.cv_results_ = _format_results(candidates, search.scores, search.exact)
        self.best_index_ = int(self.cv_results_["rank_test_score"].argmin())
        self.best_score_ = self.cv_results_["mean_test_score"][self.best_index_]
        self.best_params_ = candidates[self.best_index_]
        if self.refit:
            self.best_estimator_ = _make_tree(self.best_params_).fit(X, y)
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Predict with the refitted winner; X and the result as for fit."""
        check_is_fitted(self, "best_estimator_")
        validate_data(self, X, dtype=np.float32, reset=False)
        predictions: Floats = self.best_estimator_.predict(X)
        return predictions


def _check_candidates(param_grid: Any) -> list[Parameters]:
    """List the candidates in GridSearchCV's order, each one a valid tree.

    Raises:
        ValueError: A parameter is unknown or its value is out of range.
    """
    grid = ParameterGrid(param_grid)
    known = DecisionTreeRegressor().get_params()
    for part in grid.param_grid:
        for name, values in part.items():
            if name not in known:
                raise ValueError(
                    f"{name!r} in param_grid is no parameter of DecisionTreeRegressor; "
                    f"those are {', '.join(known)}."
                )
            for value in values:
                DecisionTreeRegressor(**{name: value})._validate_params()
    return list(grid)


def _make_tree(parameters: Parameters) -> DecisionTreeRegressor:
    # Cloned because a RandomState would otherwise be used up from fit to fit.
    return DecisionTreeRegressor(**clone(parameters, safe=False))


def _format_results(
    candidates: list[Parameters], scores: Floats, exact: Flags
) -> dict[str, Any]:
    """Lay out scores, of shape (candidates, folds), as GridSearchCV's cv_results_."""
    results: dict[str, Any] = {}
    for name in dict.fromkeys(name for candidate in candidates for name in candidate):
        missing = [name not in candidate for candidate in candidates]
        values = [candidate[name] for candidate in candidates if name in candidate]
        plain = all(isinstance(value, (bool, Real)) for value in values)
        column = np.empty(len(candidates), np.array(values).dtype if plain else object)
        column[~np.array(missing)] = values
        results[f"param_{name}"] = np.ma.masked_array(column, missing)
    results["params"] = candidates
    for fold, column in enumerate(scores.T):
        results[f"split{fold}_test_score"] = column
    mean = np.average(scores, axis=1)
    results["mean_test_score"] = mean
    results["std_test_score"] = np.sqrt(
        np.average((scores - mean[:, np.newaxis]) ** 2, axis=1)
    )
    # A score that is not a number ranks last, as in GridSearchCV.
    comparable = np.full_like(mean, 0.0)
    if not np.isnan(mean).all():
        comparable = np.nan_to_num(mean, nan=np.nanmin(mean) - 1)
    rank = rankdata(-comparable, method="min")
    results["rank_test_score"] = rank.astype(np.int32)
    results["exact_test_score"] = exact.all(axis=1)
    return results


class _Fold:
    """One training and held-out part of the rows."""

    def __init__(
        self,
        train_features: NDArray[np.float32],
        train_labels: Floats,
        test_features: NDArray[np.float32],
        test_labels: Floats,
    ) -> None:
        self.train_features, self.train_labels = train_features, train_labels
        self.test_features, self.test_labels = test_features, test_labels
        self.train = Cells(train_features, train_labels)
        self.train_rows = Cells(train_features, train_labels, merge=False)
        self.test = Cells(test_features, test_labels)
        self.variation = float(np.sum((test_labels - test_labels.mean()) ** 2))
        self.largest_label = float(max(abs(train_labels).max(), abs(test_labels).max()))
        # How far rounding can move a score: leaf values are sums over rows.
        self.rounding = np.inf
        if self.variation > 0:
            rows = len(train_labels) * len(test_labels)
            self.rounding = 64 * EPSILON * rows * self.largest_label**2 / self.variation

    def cells(self, group: "_Group") -> Cells:
        # Medians, unlike means, cannot be told from those of cells.
        return self.train_rows if group.criterion["absolute"] else self.train

    def score(self, tree: DecisionTreeRegressor) -> float:
        predictions = tree.predict(self.test_features, check_input=False)
        return float(r2_score(self.test_labels, predictions))


class _Group(NamedTuple):
    """Candidates that differ in max_depth and min_samples_split only.

    Attributes:
        parameters: What they have in common.
        depths, splits: The distinct values of both, ascending.
        members: Which candidates they are.
        rows, columns: For each of them, its place in `depths` and in `splits`.
    """

    parameters: Parameters
    depths: Integers
    splits: Integers
    members: Integers
    rows: Integers
    columns: Integers

    @property
    def criterion(self) -> dict[str, Any]:
        """What decides how good a split is."""
        return {
            "absolute": self.parameters["criterion"] == "absolute_error",
            "min_samples_leaf": self.parameters["min_samples_leaf"],
        }

    def grow(self, fold: _Fold, depth: int, split: int) -> DecisionTreeRegressor:
        tree = DecisionTreeRegressor(
            **self.parameters, max_depth=depth, min_samples_split=split
        )
        return tree.fit(fold.train_features, fold.train_labels, check_input=False)

    def sum_over_cuts(self, nodes: "_Nodes", weights: Floats) -> Floats:
        """Sum up a weight of the nodes at which a candidate looks for a split.

        Returns:
            The sums, of shape (depths, splits).
        """
        chosen = np.flatnonzero(nodes.divisible)
        row = np.searchsorted(self.depths, nodes.depth[chosen], side="right")
        column = np.searchsorted(self.splits, nodes.count[chosen], side="right") - 1
        inside = (row < len(self.depths)) & (column >= 0)
        shape = len(self.depths), len(self.splits)
        sums = np.bincount(
            (row * shape[1] + column)[inside],
            weights[chosen][inside],
            minlength=shape[0] * shape[1],
        ).reshape(shape)
        totals: Floats = sums.cumsum(axis=0)[:, ::-1].cumsum(axis=1)[:, ::-1]
        return totals


class _Nodes:
    """The arrays of a grown tree that the search reads.

    Attributes:
        divisible: Nodes at which scikit-learn looks for a split, unless max_depth or
            min_samples_split forbid it.
    """

    def __init__(self, tree: DecisionTreeRegressor) -> None:
        arrays = tree.tree_
        self.left, self.right = arrays.children_left, arrays.children_right
        self.internal = self.left >= 0
        self.value = arrays.value[:, 0, 0]
        self.count = arrays.n_node_samples
        self.impurity = arrays.impurity
        self.depth = arrays.compute_node_depths() - 1
        self.parent = np.full(len(self.left), -1)
        inner = np.flatnonzero(self.internal)
        self.parent[self.left[inner]] = inner
        self.parent[self.right[inner]] = inner
        self.large_enough = self.count >= 2 * tree.min_samples_leaf
        self.divisible = self.large_enough & (self.impurity > EPSILON)

    def __len__(self) -> int:
        return len(self.left)

    def levels(self, leaves: Integers) -> Iterator[tuple[Integers, Integers]]:
        """Go up from the leaves of rows: pairs (node, row), a level at a time."""
        node = leaves.copy()
        for depth in range(self.depth.max(), -1, -1):
            rows = np.flatnonzero(self.depth[node] == depth)
            yield node[rows], rows
            if depth:
                node[rows] = self.parent[node[rows]]


class _SharedTree:
    """What one tree, grown once for a group on a fold, says of all its candidates.

    Attributes, all of shape (depths, splits):
        score: r2 of the cut trees.
        upper: What scikit-learn's score cannot exceed.
        certain: Whether ties and rounding leave no other tree.
        known: Whether `score` is scikit-learn's own.
    """

    def __init__(self, group: _Group, fold: _Fold) -> None:
        tree = group.grow(fold, int(group.depths[-1]), int(group.splits[0]))
        nodes = _Nodes(tree)
        reached = tree.tree_.apply(fold.test.features)
        error = np.zeros(len(nodes))
        for node, row in nodes.levels(reached):
            error += sum_squared_errors(
                fold.test, row, nodes.value[node], node, len(nodes)
            )

        change = np.zeros(len(nodes))
        inner = nodes.internal
        change[inner] = error[nodes.left[inner]] + error[nodes.right[inner]]
        change[inner] -= error[inner]
        self.score = self._r2(fold, error[0] + group.sum_over_cuts(nodes, change))
        # r2 of a single row is not defined.
        self.known = np.isnan(self.score)

        self.upper = np.full_like(self.score, np.inf)
        self.certain = np.zeros_like(self.known)
        self.followed = False
        # Needed until the ties are known.
        self.tree, self.nodes, self.error, self.change = tree, nodes, error, change

    def heed_ties(
        self, group: _Group, fold: _Fold, tied: Flags, lowest: Floats, highest: Floats
    ) -> None:
        """Set `upper` and `certain` from the tied nodes and the labels in them."""
        nodes, error, change = self.nodes, self.error, self.change
        below = np.zeros(len(nodes), dtype=bool)
        for depth in range(1, nodes.depth.max() + 1):
            level = np.flatnonzero(nodes.depth == depth)
            parent = nodes.parent[level]
            below[level] = below[parent] | tied[parent]
        # Whichever way the ties go, predictions stay within the labels of the node.
        if tied.any():
            least = np.zeros(len(nodes))
            reached = self.tree.tree_.apply(fold.test.features)
            for node, row in nodes.levels(reached):
                some = tied[node]
                node, row = node[some], row[some]
                best = np.clip(fold.test.mean[row], lowest[node], highest[node])
                least += sum_squared_errors(fold.test, row, best, node, len(nodes))
            change = np.where(tied, least - error, change)
            change[below] = 0.0
        nodes.divisible |= tied
        self.certain = group.sum_over_cuts(nodes, tied.astype(np.float64)) == 0
        self.certain &= fold.rounding < ROUNDING
        self.upper = self._r2(fold, error[0] + group.sum_over_cuts(nodes, change))
        self.upper += fold.rounding
        del self.tree, self.nodes, self.error, self.change

    @staticmethod
    def _r2(fold: _Fold, error: Floats) -> Floats:
        if len(fold.test_labels) < 2:
            return np.full_like(error, np.nan)
        if fold.variation == 0:
            return np.zeros_like(error)
        return 1.0 - error / fold.variation

    def follow_ties(self, group: _Group, fold: _Fold) -> None:
        """Lower `upper` by following every way in which ties can be broken."""
        error = find_least_error(
            fold.cells(group),
            fold.test,
            **group.criterion,
            largest_label=fold.largest_label,
            depths=group.depths,
            splits=group.splits,
        )
        self.upper = np.minimum(self.upper, self._r2(fold, error) + fold.rounding)
        self.followed = True

    def fit(self, group: _Group, fold: _Fold, row: int, column: int) -> int:
        """Let scikit-learn fit and score a candidate, unless its score is known.

        The score holds for every candidate that cuts the same tree at the same places:
        scikit-learn then takes the same steps and draws the same random numbers.

        Returns:
            Number of fits made.
        """
        if self.known[row, column]:
            return 0
        depth, split = int(group.depths[row]), int(group.splits[column])
        tree = group.grow(fold, depth, split)
        nodes = _Nodes(tree)
        looked = group.sum_over_cuts(nodes, np.ones(len(nodes)))
        rows = np.minimum(np.arange(len(group.depths)), row)
        columns = np.maximum(np.arange(len(group.splits)), column)
        common = looked[np.ix_(rows, columns)]
        same = (looked == looked[row, column]) & (common == looked[row, column])
        self.score[same] = fold.score(tree)
        self.known |= same
        return 1


def _find_ties(groups: list[_Group], trees: list[_SharedTree], fold: _Fold) -> None:
    """Find the nodes that may be split in more than one way, or may not be split.

    Nodes whose labels are all equal do not count: any split of them predicts the same.

    Args:
        groups, trees: Of one criterion; their trees have many nodes in common.
    """
    cells = fold.cells(groups[0])
    leaves = [group.criterion["min_samples_leaf"] for group in groups]
    marks = np.random.default_rng(0).integers(2**63, size=len(cells), dtype=np.uint64)
    parts = []
    for number, tree in enumerate(trees):
        leaf = tree.tree.tree_.apply(cells.features)
        # Nodes are numbered depth first, so the rows of each follow one another.
        order = np.argsort(leaf, kind="stable")
        first = np.searchsorted(leaf[order], np.arange(len(tree.nodes)))
        seen = np.append(0, np.cumsum(cells.count[order]))
        last = np.searchsorted(seen, seen[first] + tree.nodes.count)
        running = np.cumsum(np.append(np.uint64(0), marks[order]))
        offset = number * len(cells)
        mark = running[last] - running[first]
        parts.append((order, first + offset, last + offset, mark, tree.nodes.count))
    order, first, last, mark, count = (np.concatenate(part) for part in zip(*parts))
    # Nodes of the same rows are looked at once.
    _, kept, which = np.unique(mark, return_index=True, return_inverse=True)
    first, last, count = first[kept], last[kept], count[kept]

    tied = np.zeros((len(trees), len(kept)), dtype=bool)
    lowest, highest = np.full(len(kept), np.inf), np.full(len(kept), -np.inf)
    large = np.flatnonzero(count >= 2 * min(leaves))
    parts_in_one_go = np.cumsum((last - first)[large]) // PAIRS_IN_ONE_GO
    for part in np.unique(parts_in_one_go):
        chosen = large[parts_in_one_go == part]
        node, place = expand(first[chosen], last[chosen])
        row = order[place]
        np.minimum.at(lowest, chosen[node], cells.lowest[row])
        np.maximum.at(highest, chosen[node], cells.highest[row])
        splits = find_splits(
            cells,
            node,
            row,
            len(chosen),
            absolute=groups[0].criterion["absolute"],
            min_samples_leaf=min(leaves),
            largest_label=fold.largest_label,
        )
        for number, min_samples_leaf in enumerate(leaves):
            equal, may_stop = splits.find_equal(min_samples_leaf)
            ways = np.bincount(splits.node[equal], minlength=len(chosen))
            tied[number, chosen] = (ways > 1) | ((ways == 1) & may_stop)
    tied &= lowest < highest

    start = 0
    for number, (group, tree) in enumerate(zip(groups, trees)):
        its = which[start : start + len(tree.nodes)]
        start += len(tree.nodes)
        ties = tied[number, its] & tree.nodes.large_enough
        tree.heed_ties(group, fold, ties, lowest[its], highest[its])


def _group_candidates(
    candidates: list[Parameters],
) -> tuple[list[_Group], list[int]]:
    """Sort out which candidates share their work.

    Returns:
        Groups of at least one candidate, and the candidates that belong to none.
    """
    defaults = DecisionTreeRegressor().get_params()
    members: dict[tuple[str, int, int], list[tuple[int, int, int]]] = {}
    separate = []
    for index, candidate in enumerate(candidates):
        chosen = defaults | candidate
        depth = chosen["max_depth"]
        depth = UNLIMITED_DEPTH if depth is None else depth
        leaf, split = chosen["min_samples_leaf"], chosen["min_samples_split"]
        criterion, random_state = chosen["criterion"], chosen["random_state"]
        if (
            SHARED_PARAMETERS.issuperset(candidate)
            and criterion in ("squared_error", "absolute_error")
            and all(isinstance(n, Integral) for n in (depth, leaf, split, random_state))
        ):
            key = str(criterion), int(leaf), int(random_state)
            # scikit-learn never splits a node into less than two leaves.
            members.setdefault(key, []).append((index, depth, max(split, 2 * leaf)))
        else:
            separate.append(index)
    groups = []
    for (criterion, leaf, random_state), places in members.items():
        which, depth, split = np.array(places, dtype=np.int64).T
        depths, rows = np.unique(depth, return_inverse=True)
        splits, columns = np.unique(split, return_inverse=True)
        parameters = {
            "criterion": criterion,
            "min_samples_leaf": leaf,
            "random_state": random_state,
        }
        groups.append(_Group(parameters, depths, splits, which, rows, columns))
    return groups, separate


class _Search:
    """The search over candidates and folds.

    Attributes:
        scores: r2, of shape (candidates, folds).
        exact: Whether each is scikit-learn's own, up to rounding.
        n_fits: Number of trees grown.
    """

    def __init__(self, candidates: list[Parameters], folds: list[_Fold]) -> None:
        self.candidates, self.folds = candidates, folds
        self.groups, self.separate = _group_candidates(candidates)
        shape = len(candidates), len(folds)
        self.scores = np.zeros(shape)
        self.upper = np.full(shape, np.inf)
        self.certain = np.zeros(shape, dtype=bool)
        self.known = np.zeros(shape, dtype=bool)
        self.n_fits = 0

    @property
    def exact(self) -> Flags:
        return self.known | self.certain

    def run(self) -> None:
        with ThreadPoolExecutor(cpu_count()) as self.pool:
            if self.separate:
                self._fit_separately()
            if self.groups:
                self._grow_shared_trees()
                self._fit_contenders()

    def _fit_separately(self) -> None:
        """Fit and score the candidates that share no work."""
        with _Part("Fitted one by one", self.pool) as part:
            pairs = [(index, fold) for index in self.separate for fold in self.folds]
            scores = part.map(self._fit_and_score, pairs)
            part.fits = len(pairs)
        self.scores[self.separate] = np.reshape(scores, (-1, len(self.folds)))
        self.known[self.separate] = True
        self.n_fits += part.fits

    def _fit_and_score(self, index: int, fold: _Fold) -> float:
        tree = _make_tree(self.candidates[index])
        return fold.score(tree.fit(fold.train_features, fold.train_labels))

    def _grow_shared_trees(self) -> None:
        """Grow one tree for each group on each fold, and read all scores off it."""
        with _Part("Grown for all candidates", self.pool) as part:
            pairs = [(group, fold) for group in self.groups for fold in self.folds]
            trees = part.map(_SharedTree, pairs)
            part.fits = len(pairs)
            step = len(self.folds)
            self.trees = [trees[i : i + step] for i in range(0, len(trees), step)]
            kinds: dict[bool, list[int]] = {}
            for g, group in enumerate(self.groups):
                kinds.setdefault(group.criterion["absolute"], []).append(g)
            part.map(
                lambda kind, f: _find_ties(
                    [self.groups[g] for g in kind],
                    [self.trees[g][f] for g in kind],
                    self.folds[f],
                ),
                [(kind, f) for kind in kinds.values() for f in range(step)],
            )
        self.n_fits += part.fits
        self._gather()

    def _fit_contenders(self) -> None:
        """Let scikit-learn fit and score whatever could still win."""
        with _Part("Fitted because they could win", self.pool) as part:
            while contenders := self._choose_contenders():
                part.fits += sum(part.map(self._fit_on_fold, contenders))
                self._gather()
        self.n_fits += part.fits

    def _fit_on_fold(self, g: int, f: int, places: set[tuple[int, int]]) -> int:
        tree, group, fold = self.trees[g][f], self.groups[g], self.folds[f]
        if self.known.all(axis=1).any() and not tree.followed:
            if any(not tree.certain[place] for place in places):
                tree.follow_ties(group, fold)
                return 0
        return sum(tree.fit(group, fold, *place) for place in sorted(places))

    def _choose_contenders(self) -> list[tuple[int, int, set[tuple[int, int]]]]:
        """Choose what to fit next: indices of group and fold, rows and columns."""
        done = self.known.all(axis=1)
        best = self.scores.mean(axis=1)[done].max(initial=-np.inf)
        upper = self.upper.copy()
        upper[self.known] = self.scores[self.known]
        chance = upper.mean(axis=1)
        contenders = np.flatnonzero(~done & (chance >= best))
        wanted = ~self.known
        if not len(contenders):
            return []
        if not done.any():
            # The likeliest winner first: its score rules out most of the others.
            mean = self.scores.mean(axis=1)
            contenders = contenders[[mean[contenders].argmax()]]
        elif np.isfinite(chance[contenders]).all():
            likeliest = np.argsort(-chance[contenders], kind="stable")
            contenders = contenders[likeliest[:CONTENDERS_IN_ONE_GO]]
            # The least certain fold is often enough to rule a candidate out.
            fold = (upper - self.scores)[contenders].argmax(axis=1)
            wanted[contenders] = False
            wanted[contenders, fold] = True
            wanted &= ~self.known
        fits = []
        for g, group in enumerate(self.groups):
            chosen = np.isin(group.members, contenders)
            for f in range(len(self.folds)):
                now = chosen & wanted[group.members, f]
                places = {*zip(group.rows[now].tolist(), group.columns[now].tolist())}
                if places:
                    fits.append((g, f, places))
        return fits

    def _gather(self) -> None:
        """Copy what the shared trees know into the arrays over all candidates."""
        for group, trees in zip(self.groups, self.trees):
            place = group.rows, group.columns
            for f, tree in enumerate(trees):
                self.scores[group.members, f] = tree.score[place]
                self.upper[group.members, f] = tree.upper[place]
                self.known[group.members, f] = tree.known[place]
                self.certain[group.members, f] = tree.certain[place]


class _Part:
    """A part of the search: a progress line on a terminal, one line in a log.

    Attributes:
        fits: Number of trees grown in it.
    """

    def __init__(self, what: str, pool: ThreadPoolExecutor) -> None:
        self.what, self.pool = what, pool
        self.fits = 0

    def __enter__(self) -> Self:
        self.start = time.perf_counter()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            seconds = time.perf_counter() - self.start
            log.info(f"{self.what}: {self.fits} trees in {seconds:.1f} s.")

    def map(self, function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
        """Apply a function to each tuple of arguments, on all cores."""
        results = []
        for result in self.pool.map(lambda each: function(*each), arguments):
            results.append(result)
            if sys.stderr.isatty():
                progress = f"\r{self.what}: {len(results)} of {len(arguments)}"
                print(progress, end="\033[K", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r", end="\033[K", file=sys.stderr)
        return results
