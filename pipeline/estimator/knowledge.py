"""What a model knows: the orders that stand behind it, of all weeks, the older fading.

It travels in the model's metadata, signed with the rest, and is all that the next
training learns on from. Nothing heavy is imported here.
"""

from collections import Counter
from dataclasses import dataclass, field
from math import isfinite
from operator import lt
from typing import Any, NamedTuple

from pipeline import aws
from pipeline.logs import tell_count
from pipeline.orders import (
    MAX_HOURS_TO_DISPATCH,
    MAX_ORDERS_PLACED,
    is_product_code,
)

# Where a model's metadata holds it, by product code.
KNOWLEDGE = "knowledge"
# In one model, of all products: one of 5,000 products stays within what is taken.
MOST_KNOTS = 100_000
MOST_ERRORS = 40_000
# More orders than are delivered in a thousand years.
MOST_WEIGHT = 1e10


@dataclass(frozen=True)
class Observations:
    """What orders of a product took, summed up: mean hours at numbers of orders placed.

    Attributes:
        orders_placed: Ascending without repetition.
        hours: Mean hours to dispatch there.
        weights: How many orders stand behind each mean; older ones count less than 1.

    Raises:
        ValueError: These are not such.
    """

    orders_placed: list[float] = field(default_factory=list)
    hours: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        columns = (self.orders_placed, self.hours, self.weights)
        bounds = (MAX_ORDERS_PLACED, MAX_HOURS_TO_DISPATCH, MOST_WEIGHT)
        if not (
            {*map(type, columns)} == {list}
            and len({*map(len, columns)}) == 1
            and {type(each) for column in columns for each in column} <= {float}
            and all(
                isfinite(each) and 0 <= each <= bound
                for column, bound in zip(columns, bounds, strict=True)
                for each in column
            )
            and all(map(lt, self.orders_placed, self.orders_placed[1:]))
            and all(each > 0 for each in self.weights)
        ):
            raise ValueError("what it knows of a product is not finite and ascending")

    def __len__(self) -> int:
        return len(self.orders_placed)


@dataclass(frozen=True)
class Errors:
    """How far estimates were from orders that they were not fitted on, the older first.

    Attributes:
        estimates: What was estimated in their week, hours.
        errors: How much longer they took, hours.

    Raises:
        ValueError: These are not such.
    """

    estimates: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        columns = (self.estimates, self.errors)
        numbers = [each for column in columns for each in column]
        if not (
            {*map(type, columns)} == {list}
            and len(self.estimates) == len(self.errors)
            and {*map(type, numbers)} <= {float}
            and all(abs(each) <= MAX_HOURS_TO_DISPATCH for each in numbers)
            and all(each >= 0 for each in self.estimates)
        ):
            raise ValueError("its errors are not finite, one per estimate")

    def __len__(self) -> int:
        return len(self.errors)

    def __add__(self, newer: "Errors") -> "Errors":
        estimates = self.estimates + newer.estimates
        return Errors(estimates, self.errors + newer.errors)

    def newest(self, count: int) -> "Errors":
        start = max(0, len(self) - count)
        return Errors(self.estimates[start:], self.errors[start:])


class Known(NamedTuple):
    """What is known of one product.

    Attributes:
        before: What was known before the model's own week.
        share: How much of that was kept, 0 to 1: it weighs so much less.
        weeks_before: How many weeks in a row stand behind it.
        learnt: What the model's own week says; empty if it had too few orders.
        errors_before: Of the orders of earlier weeks.
        errors: Of those of the model's own week.
    """

    before: Observations
    share: float
    weeks_before: int
    learnt: Observations
    errors_before: Errors = Errors()
    errors: Errors = Errors()

    @property
    def errors_kept(self) -> Errors:
        """The older ones, unless nothing is kept; those of a fresh start are larger
        than any later ones, and go as well."""
        return self.errors_before if self.share and self.weeks_before > 1 else Errors()

    @property
    def orders(self) -> float:
        """How many orders stand behind it; those of earlier weeks count less."""
        return self.share * sum(self.before.weights) + sum(self.learnt.weights)

    @property
    def weeks(self) -> int:
        """How many weeks in a row stand behind it."""
        return (self.weeks_before if self.share else 0) + (len(self.learnt) > 0)

    def describe(self) -> dict[str, Any]:
        """For the metadata, in plain types."""
        # Copies, for a model holds no object in two places.
        return {
            name: {column: [*values] for column, values in vars(part).items()}
            if isinstance(part, Observations | Errors)
            else part
            for name, part in self._asdict().items()
        }


Knowledge = dict[str, Known]


class KnowledgeRefused(ValueError):
    """What a model says that it knows could not be right, and why."""


def read_knowledge(model: aws.Model) -> Knowledge | None:
    """Read what a model knows, by product code.

    Returns:
        None for a model that does not say, as those of earlier releases.

    Raises:
        KnowledgeRefused: It could not be right.
    """
    records = (model.metadata or {}).get(KNOWLEDGE)
    if records is None:
        return None
    try:
        if not isinstance(records, dict) or not all(map(is_product_code, records)):
            raise ValueError("its products are not listed by their codes")
        known = {code: read_known(record) for code, record in records.items()}
    except (TypeError, ValueError) as error:
        raise KnowledgeRefused(str(error)) from error
    knots = sum(len(each.before) + len(each.learnt) for each in known.values())
    errors = sum(len(each.errors_before) + len(each.errors) for each in known.values())
    if knots > MOST_KNOTS or errors > MOST_ERRORS:
        raise KnowledgeRefused("it is more than any model knows")
    return known


def recall_knowledge(model: aws.Model) -> Knowledge | None:
    """What a model knows; None if it does not say, or could not be right."""
    try:
        return read_knowledge(model)
    except KnowledgeRefused:
        return None


def summarize_knowledge(known: Knowledge) -> str:
    """Say in a line how much stands behind the products of a model."""
    shares = Counter(each.share for each in known.values() if each.weeks_before)
    kept = ", ".join(
        f"{share:.0%} of what was known of {tell_count(count, 'product')}"
        for share, count in sorted(shares.items(), reverse=True)
    )
    orders = sum(each.orders for each in known.values())
    weeks = max(each.weeks for each in known.values())
    return (
        f"Kept {kept or 'nothing'}; the model knows "
        f"{tell_count(round(orders), 'order')} of up to {tell_count(weeks, 'week')}, "
        f"of {tell_count(len(known), 'product')}."
    )


def read_known(record: object) -> Known:
    """Read what is known of one product.

    Raises:
        TypeError, ValueError: It does not say.
    """
    match record:
        case {
            "before": dict(before),
            "share": float(share),
            "weeks_before": int(weeks),
            "learnt": dict(learnt),
            "errors_before": dict(errors_before),
            "errors": dict(errors),
        } if 0 <= share <= 1 and not isinstance(weeks, bool) and weeks >= 0:
            known = Known(
                Observations(**before),
                share,
                weeks,
                Observations(**learnt),
                Errors(**errors_before),
                Errors(**errors),
            )
            if known.orders > 0 and (weeks > 0) == (len(known.before) > 0):
                return known
    raise ValueError("it does not say how it knows a product")


def forget_last_week(known: Knowledge) -> Knowledge:
    """What was known before the model's own week: where that week is learnt again."""
    return {
        code: Known(
            each.before, 1.0, each.weeks_before, Observations(), each.errors_before
        )
        for code, each in known.items()
        if len(each.before)
    }
