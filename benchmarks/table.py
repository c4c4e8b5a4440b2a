"""The table of all measurements, of which each benchmark makes and prints some rows."""

from collections.abc import Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """A row, in words.

    Attributes:
        ratio: Of ours to the baseline; both are "" where there is none.
    """

    measure: str
    ours: str
    baseline: str = ""
    ratio: str = ""


def print_rows(rows: Iterable[Row]) -> None:
    for row in rows:
        print("{}: {}, baseline {}, ratio {}".format(*row))
