"""Threads on all cores, and a line of progress on a terminal."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from joblib import cpu_count

__all__ = ["Workers"]

Result = TypeVar("Result")


class Workers(ThreadPoolExecutor):
    """Threads on all cores: scikit-learn and NumPy let go of Python as they work."""

    def __init__(self) -> None:
        super().__init__(cpu_count())

    def apply(
        self,
        what: str,
        function: Callable[..., Result],
        arguments: Sequence[tuple[Any, ...]],
    ) -> list[Result]:
        """Apply a function to each tuple of arguments, and show how far it is."""
        results = []
        for result in self.map(lambda each: function(*each), arguments):
            results.append(result)
            if sys.stderr.isatty():
                progress = f"\r{what}: {len(results)} of {len(arguments)}"
                print(progress, end="\033[K", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r", end="\033[K", file=sys.stderr)
        return results
