"""Whether one model is worse than another by more than chance."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

CONFIDENCE_LEVEL = 0.99
# Three minutes: no customer notices, and no good week is refused for it.
TOLERATED_LOSS_HOURS = 0.05


class Comparison(NamedTuple):
    """How much larger a challenger's absolute errors are than a champion's.

    Attributes:
        loss: Mean difference of the absolute errors, hours; negative where the
            challenger is better.
        lower, upper: Confidence interval of the loss, hours.
        rows: Held-out orders on which both were scored.
    """

    loss: float
    lower: float
    upper: float
    rows: int

    @property
    def is_worse(self) -> bool:
        """Whether the loss exceeds what is tolerated, by more than chance."""
        return self.lower > TOLERATED_LOSS_HOURS

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
    normal errors for the ten and more orders that are held out.

    Args:
        observed: Hours to dispatch, shape (orders,).
        champion: Its predictions of them.
        challenger: Its predictions of them.
    """
    hours = np.asarray(observed, float)
    differences = np.abs(challenger - hours) - np.abs(champion - hours)
    rows, loss = len(differences), float(differences.mean())
    quantile = t.ppf((1 + CONFIDENCE_LEVEL) / 2, rows - 1)
    margin = float(quantile * differences.std(ddof=1) / np.sqrt(rows))
    return Comparison(loss, loss - margin, loss + margin, rows)
