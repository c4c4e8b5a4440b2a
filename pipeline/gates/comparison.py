"""Whether one model is worse than another by more than chance."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

CONFIDENCE_LEVEL = 0.99
# Three minutes: no customer notices.
TOLERATED_LOSS_HOURS = 0.05
# Models of good weeks differ: of 120 that were compared, the worst had an eighth more
# error than the one before. A loss of this share of the champion's error is not luck;
# it must be seen, or nothing is.
LARGE_LOSS = 0.25


class Comparison(NamedTuple):
    """How much larger a challenger's absolute errors are than a champion's.

    Attributes:
        loss: Mean difference of the absolute errors, hours; negative where the
            challenger is better.
        lower, upper: Confidence interval of the loss, hours.
        rows: Held-out orders on which both were scored.
        champion_error: Mean absolute error of the champion on them, hours.
    """

    loss: float
    lower: float
    upper: float
    rows: int
    champion_error: float

    @property
    def is_worse(self) -> bool:
        """Whether the loss is large, and more than is tolerated by more than chance."""
        is_large = self.loss >= LARGE_LOSS * self.champion_error
        return is_large and self.lower > TOLERATED_LOSS_HOURS

    @property
    def shows_enough(self) -> bool:
        """Whether a loss of a quarter would have been seen, or is ruled out."""
        margin = (self.upper - self.lower) / 2
        return (
            margin <= LARGE_LOSS * self.champion_error
            or self.upper <= TOLERATED_LOSS_HOURS
        )

    def __str__(self) -> str:
        return (
            f"{self.loss:+.3f} hours of mean absolute error, {CONFIDENCE_LEVEL:.0%} "
            f"interval {self.lower:+.3f} to {self.upper:+.3f}, on {self.rows} orders"
        )


def compare_errors(
    observed: ArrayLike, champion: ArrayLike, challenger: ArrayLike
) -> Comparison:
    """Compare the absolute errors of two models on the same orders, pair by pair.

    The interval is Student's for the mean of paired differences, which needs no
    normal errors for the ten and more orders that are held out; of fewer than two
    orders it is infinite.

    Args:
        observed: Hours to dispatch, shape (orders,).
        champion: Its predictions of them.
        challenger: Its predictions of them.
    """
    hours = np.asarray(observed, float)
    errors = np.abs(np.asarray(champion, float) - hours)
    differences = np.abs(np.asarray(challenger, float) - hours) - errors
    rows = len(differences)
    if rows < 2:
        return Comparison(0.0, -np.inf, np.inf, rows, 0.0)
    loss = float(differences.mean())
    quantile = t.ppf((1 + CONFIDENCE_LEVEL) / 2, rows - 1)
    margin = float(quantile * differences.std(ddof=1) / np.sqrt(rows))
    return Comparison(loss, loss - margin, loss + margin, rows, float(errors.mean()))
