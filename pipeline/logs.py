"""One log format for both stages, and how each begins and ends in it."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import Formatter, LogRecord
from pathlib import Path
from typing import Any

FORMAT = "%(asctime)s - %(levelname)s - %(module)s.%(funcName)s - %(message)s"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
HANDLER_NAME = "pipeline"


class OneLineFormatter(Formatter):
    """Keeps each message in its line: what it repeats may be anyone's words."""

    def formatMessage(self, record: LogRecord) -> str:
        return printable(super().formatMessage(record).rstrip())


def printable(text: str) -> str:
    """Escape what would not stand as such in one line of a log."""
    return "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text
    )


def configure_logger() -> logging.Logger:
    """Send the pipeline's log, and what libraries warn of, to stdout, in UTC.

    Calling it again changes nothing: each line is printed once.
    """
    root = logging.getLogger()
    if HANDLER_NAME not in [handler.name for handler in root.handlers]:
        formatter = OneLineFormatter(FORMAT, TIME_FORMAT)
        formatter.converter = time.gmtime
        handler = logging.StreamHandler(sys.stdout)
        handler.name = HANDLER_NAME
        handler.setFormatter(formatter)
        root.addHandler(handler)
        logging.captureWarnings(True)
    logger = logging.getLogger("pipeline")
    logger.setLevel(logging.INFO)
    return logger


@contextmanager
def ending_with_errors(activity: str) -> Iterator[None]:
    """Run a stage: what it raises is the last line of its log, and its exit code is 1.

    Args:
        activity: What the stage does, for that line.
    """
    log = configure_logger()
    try:
        yield
    except Exception as error:
        log.error(f"Error encountered when {activity} - {error}")
        sys.exit(1)


def read_arguments(
    usage: str | None, arguments: Sequence[str], *thresholds: str
) -> tuple[Any, ...]:
    """Read what a stage is started with: the bucket, and then its thresholds.

    Args:
        usage: Printed where they are invalid.
        arguments: Those of the command line, without the program.
        thresholds: What each is called; all are above 0 and at most 1.

    Returns:
        The bucket, a str, and each threshold, a float.

    Raises:
        SystemExit: They are not these: an ERROR in the log, and the exit code is 1.
    """
    try:
        bucket, *numbers = arguments[0], *map(float, arguments[1:])
        if bucket and len(numbers) == len(thresholds):
            if all(0 < number <= 1 for number in numbers):
                return bucket, *numbers
    except (IndexError, ValueError):
        pass
    expected = " ".join(["S3_BUCKET", *thresholds])
    limits = ", each threshold above 0 and at most 1" if thresholds else ""
    logging.getLogger("pipeline").error(
        f"Invalid arguments passed to {Path(sys.argv[0]).name}: expected "
        f"{expected}{limits}.",
        stacklevel=2,
    )
    print(usage)
    sys.exit(1)
