"""What a valid delivery is: checked at the door, before anything is learnt from it."""

import numpy as np
import pandera.pandas as pandera
from pandas import DataFrame, Series, to_numeric
from pandas.api.types import is_bool_dtype

from pipeline.orders import (
    FEATURES,
    LABEL,
    MAX_ORDERS_PLACED,
    ORDERS_PLACED,
    PRODUCT_CODE,
    PRODUCT_CODE_MAP,
)

# Of ten orders two are held out, and eight leave one or more in each of five folds.
MIN_ORDERS_PER_PRODUCT = 10

REMEDY = "correct the file and deliver it again under a newer timestamp."

# Pandera's names of failures that are not named in the schema below.
MISSING_VALUE = "not_nullable"
MISSING_COLUMN = "column_in_dataframe"


def numbers(values: Series) -> Series:
    """Read values as floats; NaN where they are no numbers."""
    if is_bool_dtype(values):
        return Series(np.nan, index=values.index)
    return to_numeric(values, errors="coerce").astype(float)


NUMERIC = pandera.Check(lambda values: numbers(values).notna(), error="not numeric")
FINITE = pandera.Check(lambda values: ~np.isinf(numbers(values)), error="not finite")
POSITIVE = pandera.Check(lambda values: ~(numbers(values) < 0), error="negative")
PLAUSIBLE = pandera.Check(
    lambda values: ~(numbers(values).replace(np.inf, 0) > MAX_ORDERS_PLACED),
    error=f"above {MAX_ORDERS_PLACED:.0f}",
)
KNOWN = pandera.Check.isin(PRODUCT_CODE_MAP, error="unknown")

DELIVERY = pandera.DataFrameSchema(
    {
        LABEL: pandera.Column(None, [NUMERIC, FINITE, POSITIVE]),
        ORDERS_PLACED: pandera.Column(None, [NUMERIC, FINITE, POSITIVE, PLAUSIBLE]),
        PRODUCT_CODE: pandera.Column(None, KNOWN),
    },
    strict="filter",
)


def check_delivery(data: DataFrame, source: str) -> DataFrame:
    """Check a delivery and choose its columns by name.

    Args:
        data: The rows as delivered; other columns and any column order are fine.
        source: Where it lies, for the refusal.

    Returns:
        The same rows with the columns orders_placed (orders), product_code and
        hours_to_dispatch (hours), the numbers as floats.

    Raises:
        ValueError: Says in one sentence what is wrong, with columns and rows.
    """
    try:
        checked = DELIVERY.validate(data, lazy=True)
    except pandera.errors.SchemaErrors as error:
        faults = describe_faults(error.failure_cases)
        raise ValueError(f"Delivery {source} refused: {faults}; {REMEDY}") from error
    if checked.empty:
        raise ValueError(f"Delivery {source} refused: it has no rows; {REMEDY}")

    counts = checked[PRODUCT_CODE].value_counts()
    scarce = [
        f"{code} has {counts.get(code, 0)}"
        for code in PRODUCT_CODE_MAP
        if counts.get(code, 0) < MIN_ORDERS_PER_PRODUCT
    ]
    if scarce:
        raise ValueError(
            f"Delivery {source} refused: column {PRODUCT_CODE}: too few rows to split "
            f"and cross-validate, {', '.join(scarce)} and each product needs at least "
            f"{MIN_ORDERS_PER_PRODUCT}; deliver the whole week again under a newer "
            "timestamp."
        )
    return checked[[*FEATURES, LABEL]].assign(
        **{column: numbers(checked[column]) for column in (ORDERS_PLACED, LABEL)}
    )


def show(value: str) -> str:
    """A value as delivered, fit for a log: in one line, and not of any length."""
    printable = "".join(char if char.isprintable() else "?" for char in value)
    return printable if len(printable) <= 40 else f"{printable[:40]}..."


def describe_faults(failure_cases: DataFrame) -> str:
    """Tell pandera's failure cases column by column.

    Rows are named by their line in the file, the header being line 1.
    """
    absent = failure_cases.loc[failure_cases["check"] == MISSING_COLUMN, "failure_case"]
    faults = [f"column {column} is missing" for column in absent]
    present = failure_cases[failure_cases["check"] != MISSING_COLUMN]
    for (column, check), cases in present.groupby(["column", "check"], sort=False):
        fault = "missing" if check == MISSING_VALUE else check
        line = int(cases["index"].min()) + 2
        rows = f"{len(cases)} {'row is' if len(cases) == 1 else 'rows are'} {fault}"
        examples = cases["failure_case"].dropna().astype(str).unique()
        shown = ", ".join(map(show, sorted(examples)[:10]))
        listed = f" ({shown})" if shown else ""
        faults.append(f"column {column}: {rows}{listed}, the first in line {line}")
    return "; ".join(faults)
