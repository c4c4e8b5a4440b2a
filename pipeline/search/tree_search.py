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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from joblib import cpu_count
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.model_selection import ParameterGrid, check_cv
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.validation import check_is_fitted, validate_data

from pipeline.search.shared_trees import Fold, Group, SharedTree, find_ties

__all__ = ["DecisionTreeSearchCV"]

Floats = NDArray[np.float64]
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
            Fold(features[train], labels[train], features[test], labels[test])
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


def _group_candidates(
    candidates: list[Parameters],
) -> tuple[list[Group], list[int]]:
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
        groups.append(Group(parameters, depths, splits, which, rows, columns))
    return groups, separate


class _Search:
    """The search over candidates and folds.

    Attributes:
        scores: r2, of shape (candidates, folds).
        exact: Whether each is scikit-learn's own, up to rounding.
        n_fits: Number of trees grown.
    """

    def __init__(self, candidates: list[Parameters], folds: list[Fold]) -> None:
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

    def _fit_and_score(self, index: int, fold: Fold) -> float:
        tree = _make_tree(self.candidates[index])
        return fold.score(tree.fit(fold.train_features, fold.train_labels))

    def _grow_shared_trees(self) -> None:
        """Grow one tree for each group on each fold, and read all scores off it."""
        with _Part("Grown for all candidates", self.pool) as part:
            pairs = [(group, fold) for group in self.groups for fold in self.folds]
            trees = part.map(SharedTree, pairs)
            part.fits = len(pairs)
            step = len(self.folds)
            self.trees = [trees[i : i + step] for i in range(0, len(trees), step)]
            kinds: dict[bool, list[int]] = {}
            for g, group in enumerate(self.groups):
                kinds.setdefault(group.criterion["absolute"], []).append(g)
            part.map(
                lambda kind, f: find_ties(
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
