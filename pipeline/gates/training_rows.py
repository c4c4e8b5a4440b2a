"""Which orders a model was trained on: kept with it, as fingerprints of its rows.

To compare two models on orders that one of them was trained on tells which was trained
on them, not which is better.
"""

from base64 import b64decode, b64encode

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from pandas.util import hash_array, hash_pandas_object

from pipeline.orders import LABEL, ORDERS_PLACED, PRODUCT_CODE

# Where a model's metadata holds them.
TRAINING_ROWS = "training_rows"
# Four bytes: of 100,000 other rows, two have the fingerprint of one that is held.
FINGERPRINT = np.dtype("<u4")
# More would make the model larger than any that is loaded.
MOST_ROWS = 1_500_000
# How far above what chance makes the share of known rows must be.
CHANCE_FACTOR = 1.5
CHANCE_DEVIATIONS = 6.0


def take_fingerprints(orders: DataFrame) -> NDArray[np.uint32]:
    """Hash each row; equal rows have equal fingerprints.

    Args:
        orders: Columns product_code, orders_placed and hours_to_dispatch.
    """
    codes = hash_array(orders[PRODUCT_CODE].to_numpy(dtype=object))
    numbers = orders[[ORDERS_PLACED, LABEL]].to_numpy(dtype=float) + 0.0
    columns = DataFrame(numbers).assign(code=codes)
    hashes = hash_pandas_object(columns, index=False).to_numpy()
    return (hashes >> np.uint64(32)).astype(FINGERPRINT)


def write_training_rows(orders: DataFrame) -> str | None:
    """The fingerprints of the rows that a model was trained on, as text; None of more
    than `MOST_ROWS`."""
    if len(orders) > MOST_ROWS:
        return None
    return b64encode(np.unique(take_fingerprints(orders)).tobytes()).decode()


def find_unseen(orders: DataFrame, training_rows: str | None) -> NDArray[np.bool_]:
    """Find the orders that a model was not trained on.

    Where hours are rounded, orders are alike by chance: as often as they would be with
    one more order placed. No more than so many of known ones are new.

    Args:
        orders: Some rows of a checked delivery.
        training_rows: What `write_training_rows` wrote; None if it is not known, as of
            older models and very large weeks: all rows count as unseen.

    Returns:
        For each row whether it is unseen.
    """
    if training_rows is None:
        return np.ones(len(orders), dtype=bool)
    known = np.frombuffer(b64decode(training_rows), FINGERPRINT)
    # Times that are too short to be told apart end at 0.
    seen = np.isin(take_fingerprints(orders), known) & (orders[LABEL] > 0).to_numpy()
    moved = orders.assign(**{ORDERS_PLACED: orders[ORDERS_PLACED] + 1})
    by_chance = float(np.isin(take_fingerprints(moved), known).sum())
    if seen.sum() <= CHANCE_FACTOR * by_chance + CHANCE_DEVIATIONS * by_chance**0.5:
        return np.ones(len(orders), dtype=bool)
    return ~seen
