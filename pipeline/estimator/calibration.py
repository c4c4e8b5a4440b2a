"""The honest range: calibrated on this week's orders, and on those of earlier weeks.

Split conformal prediction (Lei et al., Distribution-Free Predictive Inference for
Regression, 2018), of held-out orders, and of each fold of the training rows by what is
fitted on the others (Vovk, Cross-conformal predictors, 2015): nothing was fitted on an
order that its error is taken of, so that the next one falls between two of these errors
as often as their ranks say, whatever the noise is like. Errors are taken as multiples
of a scale that may grow with the estimate, and never shrinks.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.optimize import nnls
from scipy.stats import ks_2samp

from pipeline.estimator.knowledge import MOST_ERRORS, Errors, Knowledge
from pipeline.estimator.learning import Learnt
from pipeline.estimator.ranges import LEVELS, Pair, Ranges
from pipeline.estimator.training_data import FeatureAndLabels, preprocess
from pipeline.orders import ORDERS_PLACED, PRODUCT_CODE

Floats = NDArray[np.float64]

# With so many errors, a product whose errors are unlike those of others has ranges of
# its own.
ENOUGH_ERRORS = 200
# Of one product, before its own week and in it: of ten weeks of 1,000 orders.
MOST_ERRORS_OF_PRODUCT = 2000
# So unlikely is it that errors are as unlike by chance.
SIGNIFICANCE = 0.01
# Estimates that were never wrong may be, all the same.
LEAST_SCALE_HOURS = 1e-3
HOURS_DIGITS = 3


class Calibrated(NamedTuple):
    """The ranges of a model, and its knowledge with the errors that they are from."""

    ranges: Ranges
    knowledge: Knowledge


def calibrate(
    learnt: Learnt,
    data: FeatureAndLabels,
    orders: DataFrame,
    limits: dict[str, Pair],
) -> Calibrated:
    """Calibrate the ranges of a model.

    Args:
        data: Its held-out orders must be new to all that was learnt.
        orders: All orders of the week, for the limits.
        limits: By product, the fewest and most orders placed observed before.
    """
    knowledge = add_errors(learnt, data)
    new = {code: each.errors for code, each in knowledge.items()}
    kept = {code: each.errors_kept for code, each in knowledge.items()}
    scale = fit_scale(new)
    if are_unlike(join(score(kept, scale)), join(score(new, scale))):
        knowledge = {
            code: each._replace(errors_before=Errors())
            for code, each in knowledge.items()
        }
    errors = {code: each.errors_kept + each.errors for code, each in knowledge.items()}
    scale = fit_scale(errors)
    scores = score(errors, scale)
    own = {code: each for code, each in scores.items() if stands_out(code, scores)}
    common = {code: each for code, each in scores.items() if code not in own}
    ranges = Ranges(
        scale,
        find_sides(join(common or scores)),
        {code: find_sides(each) for code, each in own.items()},
        find_limits(orders, knowledge, limits),
    )
    return Calibrated(ranges, knowledge)


def add_errors(learnt: Learnt, data: FeatureAndLabels) -> Knowledge:
    """Add the errors of the week to what is known."""
    most = min(MOST_ERRORS_OF_PRODUCT, MOST_ERRORS // (2 * len(learnt.knowledge)))
    features = preprocess(data.X_test, learnt.model.product_numbers_)
    is_judged = np.isfinite(learnt.out_of_fold)
    codes, hours, estimates = (
        np.concatenate([np.asarray(train)[is_judged], np.asarray(test)])
        for train, test in (
            (data.X_train[PRODUCT_CODE], data.X_test[PRODUCT_CODE]),
            (data.y_train, data.y_test),
            (learnt.out_of_fold, learnt.model.predict(features)),
        )
    )
    table = DataFrame({"estimate": estimates, "error": hours - estimates})
    errors_of = {
        str(code): Errors(rows["estimate"].tolist(), rows["error"].tolist())
        for code, rows in table.round(HOURS_DIGITS).groupby(codes)
    }
    return {
        code: each._replace(
            errors_before=each.errors_before.newest(most),
            errors=errors_of.get(code, Errors()).newest(most),
        )
        for code, each in learnt.knowledge.items()
    }


def fit_scale(errors: dict[str, Errors]) -> Pair:
    """Fit a line without falls to absolute errors, by estimate."""
    estimates = np.array([each for part in errors.values() for each in part.estimates])
    absolute = np.abs([each for part in errors.values() for each in part.errors])
    columns = np.column_stack([np.ones(len(estimates)), estimates])
    weights = np.ones(len(estimates))
    # Twice, since what is large varies more.
    for _ in range(2):
        (hours, per_hour), _ = nnls(columns * weights[:, None], absolute * weights)
        weights = 1 / np.maximum(hours + per_hour * estimates, LEAST_SCALE_HOURS)
    return max(float(hours), LEAST_SCALE_HOURS), float(per_hour)


def are_unlike(one: Floats, other: Floats) -> bool:
    """Whether two sets of errors differ by more than chance (Kolmogorov-Smirnov)."""
    if not len(one) or not len(other):
        return False
    return bool(ks_2samp(one, other).pvalue < SIGNIFICANCE)


def stands_out(code: str, scores: dict[str, Floats]) -> bool:
    """Whether a product has enough errors, and they are unlike those of all others."""
    if len(scores[code]) < ENOUGH_ERRORS:
        return False
    others = {other: each for other, each in scores.items() if other != code}
    return are_unlike(scores[code], join(others))


def score(errors: dict[str, Errors], scale: Pair) -> dict[str, Floats]:
    """Errors in multiples of the scale, by product code."""
    return {
        code: np.array(each.errors) / (scale[0] + scale[1] * np.array(each.estimates))
        for code, each in errors.items()
    }


def join(scores: dict[str, Floats]) -> Floats:
    return np.concatenate([np.empty(0), *scores.values()])


def find_sides(scores: Floats) -> dict[float, Pair]:
    """How far a range must reach below and above, by level.

    Of n orders and one more, each is as likely as any other to be the k-th.
    """
    ordered, sides = np.sort(scores), {}
    for level in LEVELS:
        rank = int((len(ordered) + 1) * (1 - level) / 2 + 1e-9)
        if rank:
            low, high = float(ordered[rank - 1]), float(ordered[-rank])
            sides[level] = (min(low, 0.0), max(high, 0.0))
    return sides


def find_limits(
    orders: DataFrame, knowledge: Knowledge, limits: dict[str, Pair]
) -> dict[str, Pair]:
    """The fewest and most orders placed of each product that its estimates are from."""
    observed = orders.groupby(PRODUCT_CODE)[ORDERS_PLACED].agg(["min", "max"])
    found = {
        str(code): (float(low), float(high))
        for code, low, high in observed.itertuples()
    }
    for code, (low, high) in limits.items():
        if code not in found:
            found[code] = low, high
        elif code in knowledge and knowledge[code].share:
            found[code] = min(low, found[code][0]), max(high, found[code][1])
    return found
