"""The search against scikit-learn's GridSearchCV, on data full of ties too."""

import logging
import sys
from threading import get_ident
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config
from numpy.typing import NDArray
from pandas import DataFrame
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneOut, ShuffleSplit
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import check_estimator

from pipeline.search import DecisionTreeSearchCV
from pipeline.search.folds import Fold

Floats = NDArray[np.float64]
Data = tuple[Floats, Floats]

SMALL_GRID: dict[str, list[Any]] = {
    "random_state": [42],
    "criterion": ["squared_error", "absolute_error"],
    "max_depth": [2, 4, None],
    "min_samples_split": [2, 5],
    "min_samples_leaf": [1, 3],
}
SMALLEST_GRID: dict[str, list[Any]] = {
    "random_state": [42],
    "max_depth": [2, None],
    "min_samples_leaf": [1, 3],
}
IN_EACH_GRID = pytest.mark.parametrize(
    "grid",
    [
        pytest.param(SMALLEST_GRID, id="smallest"),
        pytest.param(SMALL_GRID, id="small", marks=pytest.mark.thorough),
    ],
)

SAME_TREES: dict[str, list[Any]] = {"random_state": [42], "min_samples_leaf": [9]}


def make_week(rows: int, seed: int) -> Data:
    """Orders placed and product code against hours, of shapes (rows, 2) and (rows,)."""
    random = np.random.default_rng(seed)
    orders = np.rint(np.abs(random.normal(0, 92, rows)))
    product = random.integers(0, 5, rows)
    hours = orders * (0.075 + 0.025 * product) + random.normal(0, 1, rows)
    return np.column_stack([orders, product]).astype(float), hours.clip(0)


def make_tied_data(seed: int) -> Data:
    """Few rows with repeated values, so that many splits are equally good."""
    random = np.random.default_rng(seed)
    rows = int(random.integers(15, 90))
    columns = [
        random.integers(0, 3, rows),
        np.rint(np.abs(random.normal(0, 92, rows))),
        np.full(rows, 3),
        1e3 + random.integers(0, 5, rows) * 1e-4,
        random.normal(0, 1, rows),
    ]
    chosen = random.integers(0, len(columns), int(random.integers(1, 4)))
    X = np.column_stack([columns[index] for index in chosen]).astype(float)
    noise = random.normal(0, 1, rows)
    labels = [
        noise,
        np.rint(X[:, 0] * 0.1 + noise),
        np.round(noise, 1),
        np.full(rows, 0.1),
        random.integers(0, 2, rows) * 0.1 + 1e6,
        noise * 1e-8,
        (X[:, 0] * 0.1 + noise).clip(0),
    ]
    y = labels[random.integers(len(labels))].astype(float)
    if seed % 3 == 0:
        again = random.integers(0, rows, rows)
        X, y = X[again], y[again]
    return X, y


def make_grid(seed: int) -> dict[str, list[Any]]:
    """A random grid, its parameters in random order."""
    random = np.random.default_rng(seed)

    def some(*values: Any) -> list[Any]:
        size = int(random.integers(1, 4))
        return [values[index] for index in random.permutation(len(values))[:size]]

    grid = {
        "random_state": some(0, 42)[:1],
        "criterion": some("squared_error", "absolute_error"),
        "max_depth": some(1, 2, 3, 5, 8, None),
        "min_samples_split": some(2, 3, 5, 8, 11),
        "min_samples_leaf": some(1, 2, 3, 6),
    }
    return {name: grid[name] for name in random.permutation(list(grid))}


def assert_same_search(X: Any, y: Any, grid: Any, cv: Any = 5) -> None:
    theirs = GridSearchCV(DecisionTreeRegressor(), grid, scoring="r2", cv=cv).fit(X, y)
    ours = DecisionTreeSearchCV(grid, cv=cv).fit(X, y)

    assert ours.best_index_ == theirs.best_index_
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_score_ == pytest.approx(
        theirs.best_score_, abs=1e-12, rel=1e-15, nan_ok=True
    )
    assert np.array_equal(ours.predict(X), theirs.predict(X))

    exact = ours.cv_results_["exact_test_score"]
    assert exact[ours.best_index_]
    for column in ["mean_test_score", *(f"split{i}_test_score" for i in range(2))]:
        assert ours.cv_results_[column][exact] == pytest.approx(
            theirs.cv_results_[column][exact], abs=1e-6, rel=1e-9, nan_ok=True
        )


@pytest.mark.once
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "seed",
    [*range(3)]
    + [pytest.param(seed, marks=pytest.mark.thorough) for seed in range(3, 30)],
)
def test_winner_is_that_of_grid_search_on_data_full_of_ties(seed: int) -> None:
    assert_same_search(*make_tied_data(seed), make_grid(seed), cv=2 + seed % 4)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_winner_is_that_of_grid_search_on_a_week(seed: int) -> None:
    assert_same_search(*make_week(350, seed), SMALL_GRID)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_winner_is_that_of_grid_search_where_labels_are_rounded(seed: int) -> None:
    X, y = make_week(350, seed)
    assert_same_search(X, np.round(y), SMALL_GRID)


# Whoever compares gains without a tolerance finds another winner or score in each.
@pytest.mark.parametrize(
    "seed",
    [3, 96]
    + [pytest.param(seed, marks=pytest.mark.thorough) for seed in (222, 360, 421, 589)],
)
def test_winner_is_that_of_grid_search_where_rounding_breaks_ties(seed: int) -> None:
    random = np.random.default_rng(seed)
    X, y = random.integers(0, 3, (40, 3)), random.integers(0, 4, 40) * 0.1
    grid: dict[str, list[Any]] = {
        "random_state": [0],
        "max_depth": [1, 2, 3, 4, 6, None],
        "min_samples_leaf": [1, 2, 3, 4],
    }
    assert_same_search(X, y, grid, cv=2)


@pytest.mark.parametrize(
    "cv",
    [
        KFold(3, shuffle=True, random_state=1),
        ShuffleSplit(2, test_size=0.3, random_state=1),
        [(np.arange(50), np.arange(40, 80)), (np.arange(30, 80), np.arange(30))],
        None,
    ],
)
@IN_EACH_GRID
def test_takes_the_same_folds_as_grid_search(cv: Any, grid: Any) -> None:
    assert_same_search(*make_week(80, 0), grid, cv)


@IN_EACH_GRID
@pytest.mark.filterwarnings("ignore")
def test_scores_that_are_not_defined_rank_as_in_grid_search(grid: Any) -> None:
    assert_same_search(*make_week(12, 0), grid, LeaveOneOut())


def test_takes_a_list_of_grids_and_parameters_it_cannot_share() -> None:
    grid: list[dict[str, list[Any]]] = [
        {"max_depth": [3, 5], "min_samples_leaf": [2], "random_state": [0]},
        {"ccp_alpha": [0.0, 0.1], "random_state": [0]},
        {"min_samples_split": [0.1, 4], "criterion": ["poisson"], "random_state": [0]},
        {"splitter": ["random"], "random_state": [0, np.random.RandomState(3)]},
        {"max_features": [1], "max_leaf_nodes": [8, None], "random_state": [7]},
    ]
    X, y = make_week(100, 0)
    theirs = GridSearchCV(DecisionTreeRegressor(), grid, scoring="r2").fit(X, y)

    ours = DecisionTreeSearchCV(grid).fit(X, y)

    assert ours.best_index_ == theirs.best_index_
    assert ours.best_score_ == pytest.approx(theirs.best_score_, abs=1e-12)
    separate = slice(2, None)
    assert ours.cv_results_["mean_test_score"][separate] == pytest.approx(
        theirs.cv_results_["mean_test_score"][separate], abs=1e-12
    )
    for name, column in theirs.cv_results_.items():
        if name.startswith("param_"):
            assert ours.cv_results_[name].dtype == column.dtype
            assert ours.cv_results_[name].mask.tolist() == column.mask.tolist()


def test_results_are_those_of_grid_search_where_all_are_exact() -> None:
    X, y = make_week(100, 0)
    grid = SMALL_GRID | {"criterion": ["squared_error"], "min_samples_leaf": [10]}
    theirs = GridSearchCV(DecisionTreeRegressor(), grid, scoring="r2").fit(X, y)

    ours = DecisionTreeSearchCV(grid).fit(X, y)

    assert ours.cv_results_["exact_test_score"].all()
    for name, column in theirs.cv_results_.items():
        if name.endswith("_test_score") and not name.startswith("rank"):
            assert ours.cv_results_[name] == pytest.approx(column, abs=1e-12)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    assert ours.cv_results_["rank_test_score"].dtype == np.int32
    assert ours.n_splits_ == theirs.n_splits_


def test_most_candidates_share_their_trees() -> None:
    X, y = make_week(400, 0)
    grid = SMALL_GRID | {"max_depth": [*range(2, 11)], "min_samples_leaf": [2, 5, 10]}

    search = DecisionTreeSearchCV(grid).fit(X, y)

    assert search.n_fits_ < len(search.cv_results_["params"]) * search.n_splits_ / 4


def test_keeps_the_names_of_features() -> None:
    X, y = make_week(60, 0)
    data = DataFrame(X, columns=["orders_placed", "product_code"])

    search = DecisionTreeSearchCV(SMALL_GRID).fit(data, y)

    assert search.best_estimator_.feature_names_in_.tolist() == [*data.columns]
    assert search.score(data, y) == search.best_estimator_.score(data, y)


def test_without_refit_there_is_no_model() -> None:
    search = DecisionTreeSearchCV(SMALL_GRID, refit=False).fit(*make_week(60, 0))

    assert search.best_params_["random_state"] == 42
    assert not hasattr(search, "best_estimator_")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scoring": "neg_mean_squared_error"}, "scoring='neg_mean_squared_error'"),
        ({"param_grid": {"depth": [2]}}, "'depth' in param_grid is no parameter"),
        ({"param_grid": {"max_depth": [2, 0]}}, "'max_depth' parameter"),
        # Both values cut the same trees, so the second one would never be fitted.
        (
            {"param_grid": SAME_TREES | {"min_samples_split": [4, 1]}},
            "'min_samples_split' parameter",
        ),
        ({"param_grid": [{"min_samples_leaf": [0]}]}, "'min_samples_leaf' parameter"),
    ],
)
def test_refuses_by_name_what_it_cannot_do(
    arguments: dict[str, Any], message: str
) -> None:
    search = DecisionTreeSearchCV(**{"param_grid": SMALL_GRID} | arguments)

    with pytest.raises(ValueError, match=message):
        search.fit(*make_week(60, 0))


def test_logs_one_line_for_each_part(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pipeline"):
        DecisionTreeSearchCV(SMALL_GRID).fit(*make_week(60, 0))

    assert [message.split(":")[0] for message in caplog.messages] == [
        "Grown for all candidates",
        "Fitted because they could win",
    ]
    named = {f"{record.module}.{record.funcName}" for record in caplog.records}
    assert named == {"decision_tree_search.fit"}


@pytest.mark.once
@pytest.mark.process
def test_workers_may_be_other_processes() -> None:
    X, y = make_week(200, 3)
    # One whose winner has to be fitted, and one whose candidate shares no work.
    for grid in (make_grid(4), {"max_features": [1], "random_state": [0]}):
        here = DecisionTreeSearchCV(grid).fit(X, y)
        with parallel_config("loky", n_jobs=2):
            there = DecisionTreeSearchCV(grid).fit(X, y)
        assert there.best_params_ == here.best_params_
        assert there.n_fits_ == here.n_fits_
        for name in ("mean_test_score", "exact_test_score", "rank_test_score"):
            assert np.array_equal(there.cv_results_[name], here.cv_results_[name])


def test_it_takes_as_many_workers_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_work: set[int] = set()
    fit = Fold.fit

    def fit_and_tell(fold: Fold, tree: DecisionTreeRegressor) -> DecisionTreeRegressor:
        at_work.add(get_ident())
        return fit(fold, tree)

    monkeypatch.setattr(Fold, "fit", fit_and_tell)
    with parallel_config(n_jobs=1):
        DecisionTreeSearchCV(SMALL_GRID).fit(*make_week(60, 0))
    assert at_work == {get_ident()}


def test_shows_progress_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = DecisionTreeSearchCV(SMALL_GRID)
    search.fit(*make_week(60, 0))
    assert capsys.readouterr().err == ""

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    search.fit(*make_week(60, 0))
    assert "Grown for all candidates: 10 of 10" in capsys.readouterr().err


@pytest.mark.thorough
def test_passes_the_checks_of_scikit_learn() -> None:
    search = DecisionTreeSearchCV({"max_depth": [1, None], "random_state": [0]}, cv=2)

    checks = check_estimator(search, on_skip=None)

    left_out = {c["check_name"] for c in checks if c["status"] != "passed"}
    # Runs only where SCIPY_ARRAY_API is set.
    assert left_out <= {"check_array_api_input"}
