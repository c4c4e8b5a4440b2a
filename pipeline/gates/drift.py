"""How far a delivery has moved from the one that the champion was trained on."""

from typing import NamedTuple

from pandas import DataFrame
from scipy.stats import ks_2samp

from pipeline.orders import LABEL, ORDERS_PLACED, PRODUCT_CODE

# A shift must be both too large and too unlikely to be chance: of a million orders even
# the smallest shift is significant, and of ten orders a large one may be chance.
LARGE_STATISTIC = 0.2
SIGNIFICANCE = 0.001
LARGE_RANGE_RATIO = 2.0
# So many are named in the log, and kept with a model.
NAMED, KEPT = 3, 100


class Drift(NamedTuple):
    """The shift of one column of one product.

    Attributes:
        statistic: Largest distance between the two distributions (Kolmogorov-Smirnov).
        p_value: How likely chance alone makes such a distance.
        reference_range, delivered_range: Smallest and largest value, orders or hours.
    """

    product_code: str
    column: str
    statistic: float
    p_value: float
    reference_range: tuple[float, float]
    delivered_range: tuple[float, float]

    @property
    def is_large(self) -> bool:
        return (
            self.statistic >= LARGE_STATISTIC and self.p_value < SIGNIFICANCE
        ) or self.delivered_range[1] > LARGE_RANGE_RATIO * self.reference_range[1]

    def __str__(self) -> str:
        (old_low, old_high), (low, high) = self.reference_range, self.delivered_range
        return (
            f"{self.product_code} {self.column}: range {low:g} to {high:g} "
            f"(was {old_low:g} to {old_high:g}), "
            f"KS={self.statistic:.3f} (p={self.p_value:.2g})"
        )


def measure_drift(reference: DataFrame, delivery: DataFrame) -> list[Drift]:
    """Compare two checked deliveries by product and column, with scipy's two-sample
    Kolmogorov-Smirnov test.

    Args:
        reference: What the champion was trained on.
        delivery: What has arrived.

    Returns:
        For each product that both have, the largest first.
    """
    new_products = dict(iter(delivery.groupby(PRODUCT_CODE)))
    found = []
    for code, old_orders in reference.groupby(PRODUCT_CODE):
        if code not in new_products:
            continue
        for column in (ORDERS_PLACED, LABEL):
            old, new = old_orders[column], new_products[code][column]
            test = ks_2samp(old, new, method="asymp")
            found.append(
                Drift(
                    str(code),
                    column,
                    float(test.statistic),
                    float(test.pvalue),
                    (float(old.min()), float(old.max())),
                    (float(new.min()), float(new.max())),
                )
            )
    return sorted(found, key=lambda drift: (-drift.is_large, -drift.statistic))


def summarize_drift(drifts: list[Drift]) -> str:
    """Tell in one line how far a delivery has moved; the largest first."""
    large = [drift for drift in drifts if drift.is_large]
    if not large:
        largest = f", the largest {drifts[0]}" if drifts else ""
        return f"Drift: none of {len(drifts)} distributions has moved far{largest}."
    named = "; ".join(map(str, large[:NAMED]))
    more = f"; and {len(large) - NAMED} more" if len(large) > NAMED else ""
    return f"Large drift in {len(large)} of {len(drifts)} distributions: {named}{more}."
