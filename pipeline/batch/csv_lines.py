"""Lines of CSV of a few rows: headers, and what is refused."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO


def make_lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Make lines of CSV in UTF-8."""
    lines = StringIO(newline="")
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.getvalue().encode()
