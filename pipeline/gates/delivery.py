"""What a valid delivery is: checked at the door, before anything is learnt from it."""

from collections.abc import Collection

import numpy as np
import pandera.pandas as pandera
from pandas import DataFrame, RangeIndex, Series, to_numeric
from pandas.api.types import is_bool_dtype

from pipeline.gates.csv_faults import find_missing_columns, tell_commas
from pipeline.gates.product_codes import find_disguised
from pipeline.orders import (
    FEATURES,
    LABEL,
    MAX_CODE_LENGTH,
    MAX_ORDERS_PLACED,
    ORDERS_PLACED,
    PRODUCT_CODE,
    is_product_code,
)

REMEDY = "correct the file and deliver it again under a newer timestamp."
# So many values, codes or rows are named; the others are counted.
NAMED = 10

# Pandera's name of a failure that is not named in the schema below.
MISSING_VALUE = "not_nullable"
NOT_NUMERIC = "not numeric"


class DeliveryRefused(ValueError):
    """Nothing is learnt from a delivery, and why."""

    def __init__(self, source: str, fault: str, remedy: str = REMEDY) -> None:
        super().__init__(f"Delivery {source} refused: {fault}; {remedy}")


def numbers(values: Series) -> Series:
    """Read values as floats; NaN where they are no numbers."""
    if is_bool_dtype(values):
        return Series(np.nan, index=values.index)
    return to_numeric(values, errors="coerce").astype(float)


def are_codes(values: Series) -> Series:
    """Whether values can stand as product codes in logs, requests and answers."""
    return values.astype(str).map(is_product_code)


NUMERIC = pandera.Check(lambda values: numbers(values).notna(), error=NOT_NUMERIC)
FINITE = pandera.Check(lambda values: ~np.isinf(numbers(values)), error="not finite")
POSITIVE = pandera.Check(lambda values: ~(numbers(values) < 0), error="negative")
PLAUSIBLE = pandera.Check(
    lambda values: ~(numbers(values).replace(np.inf, 0) > MAX_ORDERS_PLACED),
    error=f"above {MAX_ORDERS_PLACED:.0f}",
)
CODE = pandera.Check(
    are_codes, error=f"no code of 1 to {MAX_CODE_LENGTH} printable characters"
)

DELIVERY = pandera.DataFrameSchema(
    {
        LABEL: pandera.Column(None, [NUMERIC, FINITE, POSITIVE]),
        ORDERS_PLACED: pandera.Column(None, [NUMERIC, FINITE, POSITIVE, PLAUSIBLE]),
        PRODUCT_CODE: pandera.Column(None, CODE),
    },
    strict="filter",
)


def name_of_lines(orders: DataFrame) -> str:
    """What the index of a delivery counts: the lines of a file, or rows."""
    return str(orders.index.name or "line")


def check_delivery(
    data: DataFrame, source: str, known: Collection[str] = ()
) -> DataFrame:
    """Check a delivery and choose its columns by name.

    Args:
        data: The rows as delivered; other columns and any column order are fine. The
            index holds their lines in the file, or counts from 0; its name is "row" if
            the file has no lines.
        source: Where it lies, for the refusal.
        known: Product codes of the model in service.

    Returns:
        The same rows with the columns orders_placed (orders), product_code and
        hours_to_dispatch (hours), the numbers as floats; the index holds the lines.

    Raises:
        DeliveryRefused: Says in one sentence what is wrong, with columns and lines.
    """
    if isinstance(data.index, RangeIndex) and data.index.start == 0:
        # The header is line 1.
        data = data.set_axis(data.index + 2)
    twice = data.columns[data.columns.duplicated()]
    if len(twice):
        raise DeliveryRefused(source, f"it has two columns {twice[0]}")
    missing = find_missing_columns([*map(str, data.columns)], [*FEATURES, LABEL])
    if missing:
        raise DeliveryRefused(source, missing)
    try:
        checked = DELIVERY.validate(data, lazy=True)
    except pandera.errors.SchemaErrors as error:
        faults = describe_faults(error.failure_cases, name_of_lines(data))
        raise DeliveryRefused(source, faults) from error
    if checked.empty:
        raise DeliveryRefused(source, "it has no rows")
    orders = checked[[*FEATURES, LABEL]].assign(
        **{column: numbers(checked[column]) for column in (ORDERS_PLACED, LABEL)},
        **{PRODUCT_CODE: checked[PRODUCT_CODE].astype(str)},
    )
    refuse_disguised_codes(orders, source, known)
    return orders


def refuse_disguised_codes(
    orders: DataFrame, source: str, known: Collection[str]
) -> None:
    """Refuse codes that are likely meant to be another one.

    Raises:
        DeliveryRefused: Names the first line of each, and the likely meaning.
    """
    codes = orders[PRODUCT_CODE]
    counts = {str(code): count for code, count in codes.value_counts().items()}
    disguised = find_disguised(counts, known)
    if disguised:
        meanings = [
            f"{show(ascii(code)[1:-1])} in {name_of_lines(orders)} "
            f"{codes.index[codes == code][0]} is "
            f"likely meant to be {other}"
            for code, other in sorted(disguised.items())[:NAMED]
        ]
        raise DeliveryRefused(
            source, f"column {PRODUCT_CODE}: {', '.join(meanings)}"
        )


def show(value: str) -> str:
    """A value as delivered, fit for a log: in one line, and not of any length."""
    printable = "".join(char if char.isprintable() else "?" for char in value)
    return printable if len(printable) <= 40 else f"{printable[:40]}..."


def describe_faults(failure_cases: DataFrame, counted: str) -> str:
    """Tell pandera's failure cases column by column, with the first line of each.

    Args:
        counted: What the index counts.
    """
    faults = []
    by_column = failure_cases.groupby(["column", "check"], sort=False)
    for (column, check), cases in by_column:
        fault = "missing" if check == MISSING_VALUE else check
        line = int(cases["index"].min())
        rows = f"{len(cases)} {'row is' if len(cases) == 1 else 'rows are'} {fault}"
        examples = cases["failure_case"].dropna().astype(str).unique()
        shown = ", ".join(map(show, sorted(examples)[:NAMED]))
        listed = f" ({shown})" if shown else ""
        commas = tell_commas(sorted(examples)) if check == NOT_NUMERIC else ""
        meant = f": {commas}" if commas else ""
        faults.append(
            f"column {column}: {rows}{listed}, the first in {counted} {line}{meant}"
        )
    return "; ".join(faults)
