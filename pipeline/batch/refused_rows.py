"""Why orders of a request are refused, row by row, in the words of the service."""

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from heapq import merge
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.batch.checked_rows import NUMBER, SPACES
from pipeline.batch.csv_lines import make_lines
from pipeline.batch.request_files import Piece
from pipeline.orders import ORDERS_PLACED, PRODUCT_CODE

# As values of Python, which take ten times the memory.
ROWS_AT_ONCE = 4096
MOST_RECALLED = 4096

Refusal = tuple[int, str, tuple[Any, ...]]


class RefusedRows:
    """The rows that are refused, as CSV: number of the row, reason, and its fields.

    Attributes:
        count: Of those told so far.
        first: The first one; "" if there is none.
    """

    def __init__(self, columns: list[str], codes: Collection[str]) -> None:
        """Begin to tell.

        Args:
            columns: Of the request.
            codes: Of the products that are known.
        """
        self.count = 0
        self.first = ""
        self._columns = columns
        self._codes = codes
        self._order_model: Any = None
        # Often it is one product that is unknown, in many rows.
        self._recall_reason = lru_cache(MOST_RECALLED)(self._find_reason)

    def tell(self, piece: Piece, is_refused: NDArray[np.bool_]) -> Iterator[bytes]:
        """Make lines of CSV of the rows that are refused, with those that are uneven.

        Args:
            is_refused: Which rows are, of those that could be split.
        """
        if not (piece.uneven or is_refused.any()):
            return
        if not self.count:
            yield make_lines([["row", "reason", *self._columns]])
        uneven = ((each.number, each.fault, ()) for each in piece.uneven)
        refusals = merge(uneven, self._judge(piece, is_refused))
        while some := [*islice(refusals, ROWS_AT_ONCE)]:
            if not self.count:
                self.first = f"row {some[0][0]:,}: {some[0][1]}"
            self.count += len(some)
            yield make_lines([number, reason, *row] for number, reason, row in some)

    def _judge(self, piece: Piece, is_refused: NDArray[np.bool_]) -> Iterator[Refusal]:
        numbers = piece.number_rows()[is_refused].tolist()
        refused = piece.rows.filter(pa.array(is_refused))
        for start in range(0, len(numbers), ROWS_AT_ONCE):
            rows = refused.slice(start, ROWS_AT_ONCE)
            some = numbers[start : start + ROWS_AT_ONCE]
            codes, placed = (
                rows.column(name).to_pylist() for name in (PRODUCT_CODE, ORDERS_PLACED)
            )
            fields = zip(*(each.to_pylist() for each in rows.columns), strict=True)
            reasons = map(self._recall_reason, codes, placed)
            yield from zip(some, reasons, fields, strict=True)

    def _find_reason(self, code: str | None, orders_placed: Any) -> str:
        """Ask the model of the service's requests."""
        if self._order_model is None:
            # Takes half a second, which most files do not need.
            from pipeline.service import make_request_model

            self._order_model = make_request_model(self._codes)
        from pydantic import ValidationError

        order = {PRODUCT_CODE: code, ORDERS_PLACED: read_number(orders_placed)}
        present = {name: each for name, each in order.items() if each not in (None, "")}
        try:
            self._order_model.model_validate(present)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False)
            return "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in faults)
        raise AssertionError(f"{order} is good")


def read_number(value: Any) -> Any:
    """What a field of orders placed says: a number if it is one, else as it stands."""
    if isinstance(value, str):
        trimmed = value.strip(SPACES)
        return float(trimmed) if re.fullmatch(NUMBER, trimmed) else value
    return None if value is None else float(value)
