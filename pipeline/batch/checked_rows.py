"""Which orders of a request can be answered."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.orders import MAX_ORDERS_PLACED, ORDERS_PLACED, PRODUCT_CODE

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
SPACES = " \t"
NONE = -1


class Checked(NamedTuple):
    """Orders, each of shape (orders,).

    Attributes:
        products: Number of the product of each; -1 for one that is unknown.
        orders_placed: NaN where there is no number.
        is_good: Whether it can be answered.
    """

    products: NDArray[np.intp]
    orders_placed: NDArray[np.float64]
    is_good: NDArray[np.bool_]


def check_rows(rows: pa.RecordBatch, codes: pa.Array) -> Checked:
    """Find the product and the orders placed of each row.

    Args:
        codes: Of the products that are known, text.
    """
    asked = as_text(rows.column(PRODUCT_CODE))
    found = pc.index_in(asked, codes.cast(asked.type)).fill_null(NONE)
    products = found.to_numpy(zero_copy_only=False).astype(np.intp)
    placed = read_numbers(rows.column(ORDERS_PLACED))
    is_good = (products != NONE) & (placed >= 0) & (placed <= MAX_ORDERS_PLACED)
    return Checked(products, placed, is_good)


def read_numbers(column: pa.Array) -> NDArray[np.float64]:
    """Read numbers, NaN where there is none."""
    if is_text(column.type):
        column = as_text(column)
        try:
            numbers = column.cast(pa.float64())
        except pa.ArrowInvalid:
            trimmed = pc.utf8_trim(column, SPACES)
            is_number = pc.match_substring_regex(trimmed, NUMBER)
            numbers = pc.if_else(is_number, trimmed, None).cast(pa.float64())
    else:
        numbers = column.cast(pa.float64(), safe=False)
    placed: NDArray[np.float64] = numbers.fill_null(np.nan).to_numpy(
        zero_copy_only=False
    )
    return placed


def as_text(column: pa.Array) -> pa.Array:
    is_encoded = isinstance(column, pa.DictionaryArray)
    return column.dictionary_decode() if is_encoded else column


def is_text(found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))
