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
import time
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin
from sklearn.model_selection import check_cv
from sklearn.utils.validation import check_is_fitted, validate_data

from pipeline.search.arrays import Flags, Floats
from pipeline.search.branch_and_bound import BranchAndBound
from pipeline.search.candidates import Parameters, list_candidates, make_tree
from pipeline.search.cluster import ClusterWorkers
from pipeline.search.folds import Fold
from pipeline.search.shared_scores import Certainty
from pipeline.search.workers import Workers

__all__ = ["DecisionTreeSearchCV"]

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

    Its parts run on threads, on all cores, or on the workers that
    `joblib.parallel_config` names: other processes, or those of Ray or Spark, which
    need this package too; or on those of the Dask cluster that `cluster` names. Winner
    and scores are the same.

    Args:
        param_grid: As GridSearchCV takes it: names of parameters of
            DecisionTreeRegressor and the values to try, or a list of such mappings.
        cv: As GridSearchCV takes it: number of folds, splitter, or iterable of
            (train, test) indices; None means 5 folds.
        scoring: "r2", the only score whose parts add up over the nodes of a tree. It
            is named so that the call reads, and can be changed, like GridSearchCV's.
        refit: Whether to fit the best candidate on all rows.
        cluster: The address of a Dask scheduler, such as tcp://dask:8786. What its
            workers do not answer is done here, with a warning.

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
        cluster: str | None = None,
    ) -> None:
        self.param_grid = param_grid
        self.cv = cv
        self.scoring = scoring
        self.refit = refit
        self.cluster = cluster

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
        candidates = list_candidates(self.param_grid)
        features, labels = validate_data(self, X, y, dtype=np.float32, y_numeric=True)
        labels = labels.astype(np.float64)
        splitter = check_cv(self.cv, labels)
        folds = [
            Fold(features[train], labels[train], features[test], labels[test])
            for train, test in splitter.split(X, y)
        ]
        self.n_splits_ = len(folds)

        self.n_fits_ = 0
        here_or_there = (
            ClusterWorkers(self.cluster, len(labels)) if self.cluster else Workers()
        )
        with here_or_there as workers:
            search = BranchAndBound(candidates, folds, workers)
            for name, step in {
                "Fitted one by one": search.fit_separately,
                "Grown for all candidates": search.grow_shared_trees,
                "Fitted because they could win": search.fit_contenders,
            }.items():
                start = time.perf_counter()
                fits = step(name)
                self.n_fits_ += fits
                if fits:
                    seconds = time.perf_counter() - start
                    log.info(f"{name}: {fits} trees in {seconds:.1f} s.")

        self.cv_results_ = _format_results(
            candidates, search.scores, search.reach(Certainty.UNTIED)
        )
        self.best_index_ = int(self.cv_results_["rank_test_score"].argmin())
        self.best_score_ = self.cv_results_["mean_test_score"][self.best_index_]
        self.best_params_ = candidates[self.best_index_]
        if self.refit:
            self.best_estimator_ = make_tree(self.best_params_).fit(X, y)
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Predict with the refitted winner; X and the result as for fit."""
        check_is_fitted(self, "best_estimator_")
        validate_data(self, X, dtype=np.float32, reset=False)
        predictions: Floats = self.best_estimator_.predict(X)
        return predictions


def _format_results(
    candidates: list[Parameters], scores: Floats, exact: Flags
) -> dict[str, Any]:
    """Lay out scores as GridSearchCV's cv_results_.

    Args:
        scores: Of shape (candidates, folds).
        exact: Which candidates' scores are scikit-learn's own, up to rounding.
    """
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
    results["exact_test_score"] = exact
    return results
