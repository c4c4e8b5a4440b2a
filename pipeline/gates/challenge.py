"""What a new model must prove against the one in service."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from pipeline.estimator import Champion
from pipeline.gates.comparison import Comparison, compare_errors
from pipeline.gates.training_rows import TRAINING_ROWS, find_unseen
from pipeline.orders import LABEL

# Where this share or less of the held-out orders is new to the champion, a delivery
# brings nothing new. Of an unknown week all are, of its own one, shuffled, a fifth.
LITTLE_NEW = 0.5


class Verdict(Enum):
    """What a challenge showed."""

    PASSED = "passed"
    WORSE = "worse"
    TOO_FEW_ORDERS = "too few orders"
    NOTHING_NEW = "nothing new"


class Challenge(NamedTuple):
    """How a challenger did against the champion.

    Attributes:
        held_out: Orders that were held out, of products that the champion knows.
        sentence: What it showed, for the log.
    """

    outcome: Verdict
    comparison: Comparison
    held_out: int
    sentence: str


def challenge_champion(
    champion: Champion,
    held_out: DataFrame,
    estimate: Callable[[DataFrame], NDArray[np.float64]],
    source: str,
) -> Challenge:
    """Score champion and challenger on the orders that neither was trained on.

    Args:
        source: Where the delivery lies, for the sentence.
        held_out: Orders that the challenger was not trained on.
        estimate: What the challenger answers for orders, hours.
    """
    estimates = champion.estimate(held_out)
    known = np.isfinite(estimates)
    metadata = champion.model.metadata or {}
    fresh = known & find_unseen(held_out, metadata.get(TRAINING_ROWS))
    rows = held_out[fresh]
    comparison = compare_errors(rows[LABEL], estimates[fresh], estimate(rows))
    outcome = judge(comparison, int(known.sum()))
    return Challenge(
        outcome,
        comparison,
        int(known.sum()),
        tell(outcome, comparison, champion, source),
    )


def judge(comparison: Comparison, held_out: int) -> Verdict:
    """Decide what a comparison shows; what it cannot show to be good does not pass.

    Args:
        held_out: How many orders were held out; the comparison is on those among them
            that are new to the champion.
    """
    if comparison.is_worse:
        return Verdict.WORSE
    if comparison.shows_enough:
        return Verdict.PASSED
    if comparison.rows <= LITTLE_NEW * held_out:
        return Verdict.NOTHING_NEW
    return Verdict.TOO_FEW_ORDERS


def tell(
    outcome: Verdict, comparison: Comparison, champion: Champion, source: str
) -> str:
    """What a challenge showed, in one sentence."""
    match outcome:
        case Verdict.PASSED:
            return f"Compared with the champion: {comparison}."
        case Verdict.WORSE:
            return (
                f"The new model is worse than the one in service ({champion.model}) by "
                f"more than chance: {comparison}; it was not persisted: look at "
                f"{source}."
            )
        case Verdict.TOO_FEW_ORDERS:
            return (
                "There are too few orders to judge by whether the new model is worse "
                f"than the one in service ({champion.model}): {comparison}, and a loss "
                f"of a quarter must be seen; it was not persisted: {source} is to hold "
                "the whole week."
            )
        case Verdict.NOTHING_NEW:
            return (
                "Nothing new has arrived: the model in service was trained on most of "
                f"the orders of {source}, and {comparison.rows} of those held out are "
                "new to it. It stays, and nothing was persisted."
            )
