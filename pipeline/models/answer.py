"""What a command on models comes to."""

from collections.abc import Iterable
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What a command comes to.

    Attributes:
        for_programs: In plain types.
        lines: The same for people.
    """

    for_programs: Any
    lines: Iterable[str]
    exit_code: int = 0
