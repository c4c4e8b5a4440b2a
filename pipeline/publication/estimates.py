"""Every estimate of a model that may be asked for, product by product."""

from math import isfinite

from pipeline import aws
from pipeline.estimator import Curve, most_orders_placed, read_ranges

# Of all products: 5,000 products of 1,000 orders are five million.
MOST_ESTIMATES = 50_000_000

# The fewest and the most orders placed that were observed of a product.
Observed = tuple[float, float]


def find_observed(model: aws.Model, curves: dict[str, Curve]) -> dict[str, Observed]:
    """Find between which numbers of orders placed each product was observed.

    Raises:
        RuntimeError: It is not known, or there would be too many estimates.
    """
    ranges = read_ranges(model)
    limits = ranges.limits if ranges else {}
    observed = {
        code: limits.get(code, (0.0, most_orders_placed(curve)))
        for code, curve in curves.items()
    }
    for code, (_, most) in observed.items():
        if not isfinite(most):
            raise RuntimeError(
                f"Model {model} does not say up to how many orders placed {code} was "
                "observed; train a new one with this release of the pipeline."
            )
    count = sum(int(most) + 1 for _, most in observed.values())
    if count > MOST_ESTIMATES:
        raise RuntimeError(
            f"Model {model} has {count:,} estimates up to what was observed, more than "
            f"the {MOST_ESTIMATES:,} that are published; look for mistyped orders "
            "placed in its delivery."
        )
    return observed


def make_estimates(model: aws.Model, curve: Curve, most: float) -> list[bytes]:
    """Make the estimates of a product for each whole number of orders placed, from 0.

    Args:
        most: The most orders placed that were observed.

    Returns:
        Hours with four decimals, as the service answers them.

    Raises:
        RuntimeError: One is not a number.
    """
    hours = [curve(placed) for placed in range(int(most) + 1)]
    if not all(map(isfinite, hours)):
        raise RuntimeError(f"Model {model} estimates hours that are no number.")
    return [b"%.4f" % each for each in hours]
