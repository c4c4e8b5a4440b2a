"""May a delivery be learnt from? All that is asked of it before anything is trained."""

from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.stats import t

from pipeline.estimator import Champion
from pipeline.gates.comparison import CONFIDENCE_LEVEL
from pipeline.gates.copies import Copies, find_copies
from pipeline.gates.delivery import (
    NAMED,
    DeliveryRefused,
    check_delivery,
    name_of_lines,
)
from pipeline.gates.mistyped import Mistyped, are_too_many, find_mistyped
from pipeline.gates.shift import Shift, measure_shifts
from pipeline.orders import LABEL, PRODUCT_CODE

# Of ten orders two are held out, and eight leave one or more in each of five folds.
MIN_ORDERS_PER_PRODUCT = 10
# A week that misses products with more of the champion's orders is half a week.
MOST_MISSING = 0.5
# The model in service is told to be worse from this on.
WORSE_FACTOR = 1.25

# How many times the error that the model in service had at its birth is no noise.
MOST_IRREGULAR = 2.0

DELIVER_WHOLE = "deliver the whole week again under a newer timestamp."


class ServiceError(NamedTuple):
    """How far the model in service was from what then happened.

    Attributes:
        mean_absolute_error, lower: On the delivery, and the lower end of its confidence
            interval, hours.
        at_birth: On the orders held out when it was trained, hours; None if unknown.
        rows: Orders of the delivery whose product it knows.
    """

    mean_absolute_error: float
    lower: float
    at_birth: float | None
    rows: int

    @property
    def has_grown(self) -> bool:
        """Whether it is larger than at birth by more than chance, and by a quarter."""
        return (
            self.at_birth is not None
            and self.lower > self.at_birth
            and self.mean_absolute_error >= WORSE_FACTOR * self.at_birth
        )

    def __str__(self) -> str:
        birth = "unknown" if self.at_birth is None else f"{self.at_birth:.3f}"
        return (
            f"mean absolute error {self.mean_absolute_error:.3f} hours on the "
            f"{self.rows} orders of this delivery, {birth} at its birth"
        )


class Examined(NamedTuple):
    """A delivery that may be learnt from.

    Attributes:
        orders: The rows to learn from; the index holds their lines in the file.
        notes: What is worth a line of the log, and nothing to worry about.
        warnings: What was set aside or found odd, a sentence each.
        set_aside: Rows that nothing explains.
        kept: Products that the model in service knows and this week has too few of.
        shifts: Those that were accepted.
        slowdown: How many times as long as the model in service says its products took,
            in the median; at least 1.
        service_error: None without a model in service, or if it knows no product.
    """

    orders: DataFrame
    notes: list[str]
    warnings: list[str]
    set_aside: list[Mistyped]
    kept: list[str]
    copies: Copies
    shifts: list[Shift]
    slowdown: float
    service_error: ServiceError | None

    def is_mixed_up(self, mean_absolute_error: float) -> bool:
        """Whether a new model is so far from the orders held out of this delivery that
        their rows, products or columns must have been mixed up.

        Another world is as regular as the one before, only slower or faster.

        Args:
            mean_absolute_error: Of the new model, hours.
        """
        error = self.service_error
        if error is None or error.at_birth is None:
            return False
        most = MOST_IRREGULAR * error.at_birth * self.slowdown
        return not mean_absolute_error <= most

    def describe(self) -> dict[str, Any]:
        """What stands of it in the metadata of the model."""
        error = self.service_error
        return {
            "set_aside": [row._asdict() for row in self.set_aside[:NAMED]],
            "rows_set_aside": len(self.set_aside),
            "copies": self.copies.rows,
            "accepted_shifts": {each.product_code: each.factor for each in self.shifts},
            "service_error": error._asdict() if error else None,
        }


def examine_delivery(
    data: DataFrame, source: str, champion: Champion | None, accept_shift: bool = False
) -> Examined:
    """Check a delivery, and choose the rows to learn from.

    Args:
        data: As for `check_delivery`.
        source: Where it lies, for the refusal.
        champion: The model in service.
        accept_shift: Whether an operator says that the world did change.

    Raises:
        DeliveryRefused: Says in one sentence what is wrong.
    """
    orders = check_delivery(data, source, champion.curves if champion else ())
    counted = name_of_lines(orders)
    estimates = champion.estimate(orders) if champion else np.full(len(orders), np.nan)
    all_shifts = measure_shifts(orders, estimates)
    shifts = [each for each in all_shifts if each.is_large]
    if shifts and not accept_shift:
        fault = describe_shifts(shifts, counted)
        raise DeliveryRefused(source, fault, ACCEPT_OR_CORRECT)
    factors = {each.product_code: each.factor for each in shifts}
    accepted = estimates * orders[PRODUCT_CODE].map(factors).fillna(1.0).to_numpy()

    copies = find_copies(orders)
    if copies.are_too_many(len(orders)):
        raise DeliveryRefused(
            source,
            f"of its {len(orders)} rows {copies}",
            "deliver each order once, under a newer timestamp.",
        )
    mistyped = find_mistyped(orders, accepted, MIN_ORDERS_PER_PRODUCT)
    if are_too_many(len(mistyped), len(orders)):
        raise DeliveryRefused(
            source,
            f"column {LABEL}: {len(mistyped)} of {len(orders)} rows are far from what "
            f"others of their product say ({list_rows(mistyped, counted)})",
        )
    good = ~orders.index.isin([row.line for row in mistyped])
    orders, estimates = orders[good], estimates[good]

    warnings = []
    if shifts:
        warnings.append(f"Accepted a shift: {describe_shifts(shifts, counted)}.")
    if copies.rows and not copies.are_by_chance:
        warnings.append(f"Delivered twice: {copies}.")
    if mistyped:
        warnings.append(
            f"Set aside {len(mistyped)} of {len(good)} rows, which nothing explains: "
            f"{list_rows(mistyped, counted)}."
        )
    service_error = measure_service_error(champion, orders, estimates)
    if service_error and service_error.has_grown:
        warnings.append(
            "The estimates of last week were worse than its model promised: "
            f"{service_error}."
        )
    learnt, kept, about_products = sort_products(orders, source, champion)
    alike = [f"By chance, {copies}."] if copies.rows and copies.are_by_chance else []
    return Examined(
        orders[orders[PRODUCT_CODE].isin(learnt)],
        alike,
        warnings + about_products,
        mistyped,
        kept,
        copies,
        shifts,
        max(1.0, median([each.factor for each in all_shifts] or [1.0])),
        service_error,
    )


ACCEPT_OR_CORRECT = (
    "deliver it again in hours under a newer timestamp, or, if the world did change, "
    "train with --accept-shift and the delivery's key."
)


def describe_shifts(shifts: list[Shift], counted: str) -> str:
    """Name the products whose hours are far from the model in service."""
    named = "; ".join(map(str, shifts[:NAMED]))
    more = f"; and {len(shifts) - NAMED} more products" if len(shifts) > NAMED else ""
    return (
        f"column {LABEL}: far from what the model in service says of as many orders, "
        f"from {counted} {min(each.line for each in shifts)} on: {named}{more}"
    )


def list_rows(mistyped: list[Mistyped], counted: str) -> str:
    named = "; ".join(f"{counted} {each}" for each in mistyped[:NAMED])
    more = len(mistyped) - NAMED
    return named + (f"; and {more} more" if more > 0 else "")


def list_codes(codes: list[str]) -> str:
    """Name the first of some products, and count the others."""
    more = len(codes) - NAMED
    return ", ".join(codes[:NAMED]) + (f" and {more} more" if more > 0 else "")


def measure_service_error(
    champion: Champion | None, orders: DataFrame, estimates: NDArray[np.float64]
) -> ServiceError | None:
    """Score the model in service on a delivery; None if it knows none of its products.

    The interval is Student's for the mean, at `CONFIDENCE_LEVEL`.
    """
    errors = np.abs(estimates - orders[LABEL].to_numpy())
    errors = errors[np.isfinite(errors)]
    if champion is None or len(errors) < 2:
        return None
    quantile = t.ppf((1 + CONFIDENCE_LEVEL) / 2, len(errors) - 1)
    margin = quantile * errors.std(ddof=1) / np.sqrt(len(errors))
    mean = float(errors.mean())
    at_birth = (champion.model.metadata or {}).get("mean_absolute_error")
    return ServiceError(mean, mean - float(margin), at_birth, len(errors))


def sort_products(
    orders: DataFrame, source: str, champion: Champion | None
) -> tuple[list[str], list[str], list[str]]:
    """Decide which products are learnt, and which keep the estimates that they have.

    Returns:
        The codes that are learnt, those that are kept, and warnings.

    Raises:
        DeliveryRefused: There are too few orders, or half of the products are missing.
    """
    counts = orders[PRODUCT_CODE].value_counts()
    products = champion.products if champion else {}
    learnt = sorted(counts.index[counts >= MIN_ORDERS_PER_PRODUCT])
    if not learnt:
        raise DeliveryRefused(
            source,
            f"column {PRODUCT_CODE}: no product has {MIN_ORDERS_PER_PRODUCT} orders, "
            "the fewest to learn from",
            DELIVER_WHOLE,
        )
    kept = sorted(set(products) - set(learnt))
    weights = {code: product.orders or 1 for code, product in products.items()}
    missing = sum(weights[code] for code in kept)
    if missing > MOST_MISSING * sum(weights.values()):
        raise DeliveryRefused(
            source,
            f"column {PRODUCT_CODE}: too few rows of {list_codes(kept)}, which have "
            f"{missing / sum(weights.values()):.0%} of the orders of the model in "
            "service: it is half a week",
            DELIVER_WHOLE,
        )
    warnings = []
    new = [code for code in learnt if code not in products]
    if products and new:
        warnings.append(f"New products, learnt for the first time: {list_codes(new)}.")
    if kept:
        warnings.append(
            f"Too few orders of {list_codes(kept)}: the estimates of the model in "
            "service are kept."
        )
    rare = sorted(set(counts.index) - set(learnt) - set(products))
    if rare:
        warnings.append(
            f"Set aside {int(counts[rare].sum())} rows of {list_codes(rare)}: unknown "
            f"products with fewer than {MIN_ORDERS_PER_PRODUCT} orders each."
        )
    return learnt, kept, warnings
