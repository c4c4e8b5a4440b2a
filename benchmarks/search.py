"""How fast the hyperparameter search is: ours against scikit-learn's GridSearchCV.

Usage: python -m benchmarks.search [--rows N [N ...]]

Both search the whole grid of the training stage on the training split of the same
generated weeks, in the same run: GridSearchCV as the training stage would call it, on
one core, ours on the cores it is given. Above BASELINE_MAX_ROWS rows only ours runs.
For several sizes it prints how time grows: seconds are proportional to
rows ** exponent between one size and the next. Give sizes in ascending order, since
the peak memory is that of the process so far.
"""

import math
import resource
import time
from argparse import ArgumentParser
from typing import NamedTuple

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeRegressor

from pipeline.estimator import FOLDS
from pipeline.train_model import HYPERPARAM_GRID, prepare_data, preprocess
from pipeline.search import DecisionTreeSearchCV
from sandbox.orders import make_week

ROWS = 1_000
SEED = 1
BASELINE_MAX_ROWS = 5_000


class Measurement(NamedTuple):
    """One search by ours, and by GridSearchCV where it ran.

    Attributes:
        rows: Orders in the week; the searches see its training split.
        peak_memory: Of the process so far, in bytes.
        fits: Trees that ours grew.
        same_winner: Whether winner and score are the same, the score to 1e-12.
    """

    rows: int
    cores: int
    seconds: float
    peak_memory: int
    fits: int
    baseline_seconds: float | None
    same_winner: bool | None

    @property
    def ratio(self) -> float | None:
        if self.baseline_seconds is None:
            return None
        return self.baseline_seconds / self.seconds


def split_week(rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The features and labels of the training split of a generated week."""
    data = prepare_data(make_week(rows, SEED))
    return preprocess(data.X_train), np.asarray(data.y_train, float)


def measure(rows: int) -> Measurement:
    """Search the training split of a generated week."""
    X, y = split_week(rows)
    ours = DecisionTreeSearchCV(HYPERPARAM_GRID, cv=FOLDS)
    start = time.perf_counter()
    ours.fit(X, y)
    seconds = time.perf_counter() - start
    peak_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    baseline_seconds, same_winner = None, None
    if rows <= BASELINE_MAX_ROWS:
        baseline = GridSearchCV(
            DecisionTreeRegressor(), HYPERPARAM_GRID, scoring="r2", cv=FOLDS
        )
        start = time.perf_counter()
        baseline.fit(X, y)
        baseline_seconds = time.perf_counter() - start
        same_winner = (
            ours.best_params_ == baseline.best_params_
            and abs(ours.best_score_ - baseline.best_score_) <= 1e-12
        )
    return Measurement(
        rows,
        cpu_count(),
        seconds,
        peak_memory,
        ours.n_fits_,
        baseline_seconds,
        same_winner,
    )


def warm_up() -> None:
    """Search once: the first search pays for imports that are done on first use."""
    DecisionTreeSearchCV({"random_state": [0]}).fit(np.eye(20), np.arange(20.0))


def describe(measurement: Measurement, last: Measurement | None = None) -> str:
    """Put a measurement into a line; with the exponent since the last, smaller one."""
    parts = [
        f"{measurement.rows:,} rows on {measurement.cores} cores: "
        f"{measurement.seconds:.2f} s, {measurement.fits} trees, "
        f"peak memory {measurement.peak_memory / 2**20:.0f} MiB"
    ]
    if measurement.ratio is not None:
        agree = "the same" if measurement.same_winner else "ANOTHER"
        parts.append(
            f"GridSearchCV on one core: {measurement.baseline_seconds:.2f} s, "
            f"{measurement.ratio:.0f} times as long, {agree} winner and score"
        )
    if last is not None:
        exponent = math.log(measurement.seconds / last.seconds) / math.log(
            measurement.rows / last.rows
        )
        parts.append(f"exponent since {last.rows:,} rows: {exponent:.2f}")
    return "; ".join(parts)


def main() -> None:
    parser = ArgumentParser(description="Measure the search against GridSearchCV.")
    parser.add_argument("--rows", type=int, nargs="+", default=[ROWS])
    warm_up()
    last = None
    for rows in parser.parse_args().rows:
        measurement = measure(rows)
        print(describe(measurement, last), flush=True)
        last = measurement


if __name__ == "__main__":
    main()
