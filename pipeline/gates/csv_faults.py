"""What was likely meant where a column is missing, or where a number is none."""

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from pipeline.logs import show_values

LEAST_LIKENESS = 0.8
COMMA = re.compile(r"\s*([+-]?\d+),(\d+)\s*")


def find_missing_columns(columns: Sequence[str], expected: Collection[str]) -> str:
    """Tell which columns are missing, and what was likely meant by others.

    Args:
        columns: As delivered.

    Returns:
        Empty if none is missing.
    """
    others = {simplify(column): column for column in columns if column not in expected}
    faults = []
    for name in expected:
        if name in columns:
            continue
        likely = get_close_matches(simplify(name), others, 1, LEAST_LIKENESS)
        fault = f"column {name} is missing"
        if likely:
            fault += f", and '{show_values([others[likely[0]]])}' is likely meant by it"
        faults.append(fault)
    if not faults:
        return ""
    return f"{'; '.join(faults)}; the columns found are {show_values(columns)}"


def simplify(name: str) -> str:
    """A name without what spellings differ in."""
    return re.sub(r"[\W_]", "", name).casefold()


def tell_commas(values: Iterable[str]) -> str:
    """Tell what a number with a comma was likely to be.

    Args:
        values: Texts that are no numbers.

    Returns:
        For the first with a comma, such as "7,5 has a comma where 7.5 is meant"; empty
        if there is none.
    """
    for value in values:
        number = COMMA.fullmatch(value)
        if number is not None:
            whole, decimals = number.groups()
            meant = f"{whole}.{decimals}"
            # Three digits may be thousands as well.
            if len(decimals) == 3:
                meant += f" or {whole}{decimals}"
            return f"{value.strip()} has a comma where {meant} is meant"
    return ""
