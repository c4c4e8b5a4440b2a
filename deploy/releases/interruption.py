"""How a signal ends what releases and tries: with one line, after it has tidied up."""

import signal
import sys
from typing import NoReturn

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt(*_: object) -> NoReturn:
    """Handle a signal.

    Raises:
        KeyboardInterrupt: Always.
    """
    # Else Python tells of each object that the signal has left half made.
    sys.unraisablehook = lambda _: None
    raise KeyboardInterrupt
