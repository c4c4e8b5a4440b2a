"""Learning on: this week's orders join those of earlier weeks, as far as these hold.

What answers is the isotonic regression, product by product, of mean hours in bins of
orders placed, over this week's training rows and what the model in service knows. How
much of that is kept is chosen by cross-validation on this week's training rows: so a
changed world is learnt at once, and a steady one ever better.
"""

from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from pipeline.estimator.features import ORDERS_FEATURE, PRODUCT_FEATURE
from pipeline.estimator.knowledge import (
    MOST_KNOTS,
    Knowledge,
    Known,
    Observations,
    forget_last_week,
)
from pipeline.estimator.monotone_tree import MonotoneTreeRegressor
from pipeline.estimator.order_table import Chosen, Floats, Numbers, OrderTable
from pipeline.estimator.piecewise_linear import PiecewiseLinear
from pipeline.estimator.training_data import (
    FeatureAndLabels,
    preprocess,
    split_into_folds,
)

# How much of what was known may be kept: from nothing to nearly all.
SHARES = (0.0, 0.5, 0.75, 0.9, 0.97)
# The same without last week, which may have been a bad one: where that makes the
# squared error so much less, which chance does not.
SHARE_WITHOUT_LAST = 0.97
CLEAR_GAIN = 0.04
# A product's own errors decide on its share, and the usual ones as if they were those
# of so many of its orders: where it has few, what holds for others holds for it.
BORROWED_ORDERS = 100
# Where the week has so many held-out orders, these are enough to be judged by, and
# nothing is fitted again for each fold.
ENOUGH_HELD_OUT = 2000
# Of a product that a week has too few orders of, so much weight is left.
SHARE_OF_MISSED = 0.9


class Learnt(NamedTuple):
    """What came of a week.

    Attributes:
        model: Answers with all that is known.
        knowledge: What the next week learns on from, by product code.
        doubted: Codes of products whose last week was not kept, but those before it.
        out_of_fold: For each training row what a model that is fitted without the
            row's fold estimates, hours; NaN for rows that are known already, and in a
            large first week.
    """

    model: MonotoneTreeRegressor
    knowledge: Knowledge
    doubted: list[str]
    out_of_fold: Floats


class Choice(NamedTuple):
    """What is kept of the past, by number of the product.

    Attributes:
        pasts: 0 for all that was known, 1 for what was known before last week.
        shares: How much of that is kept.
        out_of_fold: For each row of the week what is estimated so without its fold,
            hours; NaN for those that are not new.
    """

    pasts: Numbers
    shares: Floats
    out_of_fold: Floats

    def keep(self, tables: list[OrderTable]) -> OrderTable:
        """What is kept of the tables of both pasts."""
        return OrderTable.join(
            table.fade(np.where(self.pasts == past, self.shares, 0.0))
            for past, table in enumerate(tables)
        )


def learn_on(
    projection: MonotoneTreeRegressor,
    data: FeatureAndLabels,
    is_new: NDArray[np.bool_],
    known: Knowledge | None,
) -> Learnt:
    """Join what a week says with what is known.

    Args:
        projection: The week's tree, projected; it answers where nothing is known.
        is_new: For each training row whether it is none of those that are known.
        known: What the model in service knows; None to start afresh.
    """
    numbers, known = projection.product_numbers_, known or {}
    rows = read_rows(data, numbers)
    pasts = [known, forget_last_week(known)]
    tables = [tabulate_known(past, numbers) for past in pasts]
    if known:
        choice = choose_shares(tables, data, rows, is_new)
    else:
        nothing = np.zeros(len(numbers))
        out_of_fold = estimate_out_of_fold(projection, data)
        choice = Choice(nothing.astype(int), nothing, out_of_fold)
    # Where nothing is kept, nothing counts twice.
    week = rows.take(is_new | (choice.shares[rows.product] == 0)).tabulate()
    model = projection
    if known:
        curves = fit(choice.keep(tables), week, rows.spread)
        model = replace_curves(projection, curves)

    missed = {code: each for code, each in known.items() if code not in numbers}
    most = max(1, MOST_KNOTS // (2 * (len(numbers) + len(missed))))
    knowledge = {code: pass_on(each, most) for code, each in missed.items()}
    for code, number in numbers.items():
        past = int(choice.pasts[number])
        before = tables[past].observe(number, most)
        learnt = Known(Observations(), 0.0, 0, week.observe(number, most))
        if len(before):
            old = pasts[past][code]
            learnt = learnt._replace(
                before=before,
                share=float(choice.shares[number]),
                weeks_before=old.weeks,
                errors_before=old.errors_kept + old.errors,
            )
        knowledge[code] = learnt
    left = {code: each for code, each in knowledge.items() if each.orders}
    doubted = [code for code, number in numbers.items() if choice.pasts[number]]
    return Learnt(model, left, doubted, choice.out_of_fold)


class Rows(NamedTuple):
    """The training rows of a week, shape (orders,) each."""

    product: Numbers
    orders_placed: Floats
    hours: Floats

    @property
    def spread(self) -> float:
        """Between the quartiles of orders placed (orders)."""
        return float(np.subtract(*np.percentile(self.orders_placed, [75, 25])))

    def take(self, chosen: Chosen) -> "Rows":
        product, orders_placed = self.product[chosen], self.orders_placed[chosen]
        return Rows(product, orders_placed, self.hours[chosen])

    def tabulate(self) -> OrderTable:
        return OrderTable.from_rows(*self, np.ones(len(self.hours)))


def read_rows(data: FeatureAndLabels, numbers: dict[str, int]) -> Rows:
    features = preprocess(data.X_train, numbers)
    product = features[:, PRODUCT_FEATURE].astype(np.int64)
    hours = np.asarray(data.y_train, float)
    return Rows(product, features[:, ORDERS_FEATURE], hours)


def tabulate_known(known: Knowledge, numbers: dict[str, int]) -> OrderTable:
    """What is known of numbered products, as it weighs at the end of its week."""
    parts = [
        (number, share, part)
        for code, number in numbers.items()
        if code in known
        for share, part in (
            (known[code].share, known[code].before),
            (1.0, known[code].learnt),
        )
        if share
    ]
    lengths = [len(part) for _, _, part in parts]
    product = np.repeat(np.array([number for number, _, _ in parts], int), lengths)
    share = np.repeat(np.array([share for _, share, _ in parts], float), lengths)
    orders, hours, weights = (
        np.array([each for _, _, part in parts for each in getattr(part, name)], float)
        for name in ("orders_placed", "hours", "weights")
    )
    return OrderTable.from_rows(product, orders, hours, share * weights).fade(
        np.ones(len(numbers))
    )


def pass_on(known: Known, most: int) -> Known:
    """What is known of a product that the week has too few orders of: the same, which
    weighs less from now on."""
    before = tabulate_known({"": known}, {"": 0}).observe(0, most)
    errors = known.errors_kept + known.errors
    return Known(before, SHARE_OF_MISSED, known.weeks, Observations(), errors)


def choose_shares(
    tables: list[OrderTable],
    data: FeatureAndLabels,
    rows: Rows,
    is_new: NDArray[np.bool_],
) -> Choice:
    """Choose how much of each product's past is kept, by cross-validation.

    Args:
        tables: What was known, and what was known before last week.
    """
    products = int(rows.product.max()) + 1
    offered = [*((0, share) for share in SHARES), (1, SHARE_WITHOUT_LAST)]
    kept = [tables[past].fade(np.full(products, share)) for past, share in offered]
    estimates = np.full((len(offered), len(is_new)), np.nan)
    for learnt, held_out in split_into_folds(data):
        part = rows.take(learnt[is_new[learnt]]).tabulate()
        chosen = held_out[is_new[held_out]]
        judged = rows.take(chosen)
        for number, table in enumerate(kept):
            curves = fit(table, part, rows.spread)
            estimates[number, chosen] = curves.estimate(
                judged.product, judged.orders_placed
            )
    errors = np.nan_to_num(estimates - rows.hours)
    own = np.array([np.bincount(rows.product, each, products) for each in errors**2])
    means = own / np.bincount(rows.product, minlength=products)
    # A product that has changed alone decides nothing for others.
    usual = np.median(means, axis=1, keepdims=True)
    judged_by = own + BORROWED_ORDERS * usual
    judged_by[-1] /= 1 - CLEAR_GAIN
    best = np.argmin(judged_by, axis=0)
    pasts, shares = np.array(offered)[best].T
    out_of_fold = estimates[best[rows.product], np.arange(len(is_new))]
    return Choice(pasts.astype(np.int64), shares, out_of_fold)


def estimate_out_of_fold(
    projection: MonotoneTreeRegressor, data: FeatureAndLabels
) -> Floats:
    """What the same tree, projected, estimates for each row without its fold, hours."""
    features = preprocess(data.X_train, projection.product_numbers_)
    hours = np.asarray(data.y_train, float)
    estimates = np.full(len(hours), np.nan)
    if len(data.X_test) >= ENOUGH_HELD_OUT:
        return estimates
    for learnt, held_out in split_into_folds(data):
        fitted = clone(projection).fit(features[learnt], hours[learnt])
        estimates[held_out] = fitted.predict(features[held_out])
    return estimates


def fit(kept: OrderTable, week: OrderTable, spread: float) -> OrderTable:
    """The curves of all products.

    Args:
        spread: Between the quartiles of orders placed (orders).
    """
    joined = OrderTable.join([kept, week])
    per_product = joined.weights.sum() / (joined.product[-1] + 1)
    # Half of what Freedman and Diaconis take for a histogram (1981): a bin too many
    # costs little, for neighbours that fall are levelled.
    return joined.rise(max(1.0, spread / per_product ** (1 / 3)))


def replace_curves(
    model: MonotoneTreeRegressor, curves: OrderTable
) -> MonotoneTreeRegressor:
    """The same model with other curves."""
    replaced = copy(model)
    replaced.curves_ = {}
    for number in model.product_numbers_.values():
        found = curves.of(number)
        replaced.curves_[number] = PiecewiseLinear(
            found.orders_placed.tolist(), found.hours.tolist()
        )
    return replaced
