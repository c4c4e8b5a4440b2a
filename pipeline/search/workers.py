"""The workers of a search here, and a line of progress on a terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self, TypeVar

from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

__all__ = ["Workers", "show_progress"]

Result = TypeVar("Result")


class Workers(ExitStack):
    """Whatever `joblib.parallel_config` names; if nothing, threads on all cores, since
    scikit-learn and NumPy let go of Python as they work."""

    def __init__(self) -> None:
        super().__init__()
        _, jobs = get_active_backend()
        self._parallel = Parallel(jobs or -1, prefer="threads", return_as="generator")

    def __enter__(self) -> Self:
        self.enter_context(self._parallel)
        return self

    def apply(
        self,
        what: str,
        function: Callable[..., Result],
        arguments: Sequence[tuple[Any, ...]],
    ) -> list[Result]:
        """Apply a function to each tuple of arguments, and show how far it is."""
        tasks = (delayed(function)(*each) for each in arguments)
        return [*show_progress(what, len(arguments), self._parallel(tasks))]


def show_progress(
    what: str, total: int, results: Iterable[Result]
) -> Iterator[Result]:
    """Hand results on, and show on a terminal how many have come."""
    shown = sys.stderr.isatty()
    for number, result in enumerate(results, 1):
        if shown:
            progress = f"\r{what}: {number} of {total}"
            print(progress, end="\033[K", file=sys.stderr)
        yield result
    if shown:
        print("\r", end="\033[K", file=sys.stderr)
