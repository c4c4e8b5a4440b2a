"""The honest range: calibrated on held-out orders, of this week and of earlier ones.

Split conformal prediction (Lei et al., Distribution-Free Predictive Inference for
Regression, 2018): nothing was fitted on these orders, so that the next one falls
between two of their errors as often as their ranks say, whatever the noise is like.
Errors are taken as multiples of a scale that may grow with the estimate, and never
shrinks.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.optimize import nnls
from scipy.stats import ks_2samp

from pipeline.estimator.knowledge import MOST_ERRORS, Errors, Knowledge
from pipeline.estimator.learning import Learnt
from pipeline.estimator.monotone_tree import MonotoneTreeRegressor
from pipeline.estimator.ranges import LEVELS, Pair, Ranges
from pipeline.estimator.training_data import FeatureAndLabels, preprocess
from pipeline.orders import ORDERS_PLACED, PRODUCT_CODE

Floats = NDArray[np.float64]

# With so many held-out orders a product has ranges of its own.
ENOUGH_ERRORS = 200
# Of one product, before its own week and in it: of fifteen weeks of 1,000 orders.
MOST_ERRORS_OF_PRODUCT = 600
# Where this week's errors are so unlikely to be like the earlier ones, those go.
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
    known: Knowledge | None,
    limits: dict[str, Pair],
) -> Calibrated:
    """Calibrate the ranges of a model.

    Args:
        data: Its held-out orders must be new to all that was learnt.
        orders: All orders of the week, for the limits.
        known: What was learnt on from, with the errors of earlier weeks.
        limits: By product, the fewest and most orders placed observed before.
    """
    scale = fit_scale(learnt.model, data)
    knowledge = add_errors(learnt, data, known or {})
    kept, new = (
        np.concatenate([np.empty(0), *(score(each, scale) for each in parts)])
        for parts in (
            [each.errors_kept for each in knowledge.values()],
            [each.errors for each in knowledge.values()],
        )
    )
    if len(kept) and len(new) and ks_2samp(kept, new).pvalue < SIGNIFICANCE:
        knowledge = {
            code: each._replace(errors_before=Errors())
            for code, each in knowledge.items()
        }
    scores = {
        code: score(each.errors_kept + each.errors, scale)
        for code, each in knowledge.items()
    }
    ranges = Ranges(
        scale,
        find_sides(np.concatenate([*scores.values()])),
        {
            code: find_sides(own)
            for code, own in scores.items()
            if len(own) >= ENOUGH_ERRORS
        },
        find_limits(orders, knowledge, limits),
    )
    return Calibrated(ranges, knowledge)


def fit_scale(model: MonotoneTreeRegressor, data: FeatureAndLabels) -> Pair:
    """Fit a line without falls to the absolute errors on the training rows."""
    estimates = model.predict(preprocess(data.X_train, model.product_numbers_))
    errors = np.abs(np.asarray(data.y_train, float) - estimates)
    columns = np.column_stack([np.ones(len(estimates)), estimates])
    (hours, per_hour), _ = nnls(columns, errors)
    return max(float(hours), LEAST_SCALE_HOURS), float(per_hour)


def add_errors(learnt: Learnt, data: FeatureAndLabels, known: Knowledge) -> Knowledge:
    """Add the errors on the held-out orders to what is known."""
    most = min(MOST_ERRORS_OF_PRODUCT, MOST_ERRORS // (2 * len(learnt.knowledge)))
    numbers = learnt.model.product_numbers_
    estimates = learnt.model.predict(preprocess(data.X_test, numbers))
    errors = (np.asarray(data.y_test, float) - estimates).round(HOURS_DIGITS)
    rows_of = data.X_test.groupby(PRODUCT_CODE).indices
    added = {}
    for code, each in learnt.knowledge.items():
        rows = rows_of.get(code, np.empty(0, int))
        now = Errors(
            estimates[rows].round(HOURS_DIGITS).tolist(), errors[rows].tolist()
        )
        before = Errors()
        if code in known:
            before = known[code].errors_kept + known[code].errors
        added[code] = each._replace(
            errors_before=before.newest(most), errors=now.newest(most)
        )
    return added


def score(errors: Errors, scale: Pair) -> Floats:
    """Errors in multiples of the scale."""
    usual = scale[0] + scale[1] * np.array(errors.estimates)
    scores: Floats = np.array(errors.errors) / usual
    return scores


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
