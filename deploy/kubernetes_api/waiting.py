"""Waiting for what is to come true on a cluster."""

import time
from collections.abc import Callable
from typing import TypeVar

POLL_SECONDS = 2

Result = TypeVar("Result")


class NotYetError(RuntimeError):
    """What is waited for has not come yet: asked again, it may have."""


def wait_for(
    check: Callable[[], Result], seconds: float, pause_seconds: float | None = None
) -> Result:
    """Repeat a check for as long as it says "not yet"; returns what it returns.

    Args:
        seconds: After which it is not repeated any more.
        pause_seconds: Between two; by default POLL_SECONDS.

    Raises:
        NotYetError: It still says so after that time; with its last sentence.
        Exception: Whatever else the check raises, at once.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check()
        except NotYetError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS if pause_seconds is None else pause_seconds)
