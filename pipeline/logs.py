"""One log format for the stages, and how each begins and ends in it."""

import logging
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from logging import Formatter, LogRecord
from typing import NoReturn

FORMAT = "%(asctime)s - %(levelname)s - %(module)s.%(funcName)s - %(message)s"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
HANDLER_NAME = "pipeline"

MOST_SHOWN = 10
LONGEST_SHOWN = 40

# More than a year.
MOST_HOURS = 10_000


class OneLineFormatter(Formatter):
    """Keeps each message in its line: what it repeats may be anyone's words."""

    def formatMessage(self, record: LogRecord) -> str:
        return printable(super().formatMessage(record).rstrip())


def printable(text: str) -> str:
    """Escape what would not stand as such in one line of a log."""
    return "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text
    )


def show_values(values: Sequence[str]) -> str:
    """The first of anyone's words, shortened, fit for one line of a log."""
    shown = [
        printable(value[:LONGEST_SHOWN]) + "..." * (len(value) > LONGEST_SHOWN)
        for value in values[:MOST_SHOWN]
    ]
    return ", ".join(shown + ["..."] * (len(values) > MOST_SHOWN))


def tell_count(count: int, noun: str) -> str:
    """A number and what there is of it: 1 week, 2 weeks."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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
def collecting_warnings() -> Iterator[list[str]]:
    """Collect what is logged as a WARNING or worse, for the time of a with block."""
    collected: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: LogRecord) -> None:
            collected.append(record.getMessage())

    collector = Collector(logging.WARNING)
    logger = logging.getLogger("pipeline")
    logger.addHandler(collector)
    try:
        yield collected
    finally:
        logger.removeHandler(collector)


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
        # In the name of the stage, beyond this function and the with block's machinery.
        log.error(f"Error encountered when {activity} - {error}", stacklevel=3)
        sys.exit(1)


def end_on_signals(activity: str, exit_code: int = 0) -> None:
    """Let SIGTERM, SIGINT and SIGHUP end a stage that has nothing to lose yet, or that
    undoes what it has begun: with a line in its log.

    Args:
        activity: What the stage is doing, for that line.
    """

    def end(number: int, frame: object) -> None:
        name = signal.Signals(number).name
        configure_logger().info(f"Stopped by {name} when {activity}.")
        sys.exit(exit_code)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)


class Parser(ArgumentParser):
    """Ends with one sentence and 1, as the stages do, where argparse has its 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"Invalid arguments: {message}; see {self.prog} --help.\n")


class StageParser(ArgumentParser):
    """Reads a bucket and thresholds, and helps with the stage's docstring.

    A mistake is one ERROR, and exit code 1.

    A stage builds it right below its first imports, under `__main__`, and those that
    take seconds follow: help and mistakes are told at once.
    """

    def __init__(self, module: str, docstring: str | None, **thresholds: str) -> None:
        """Make the parser of a stage.

        Args:
            module: Its name, such as pipeline.train_model.
            thresholds: What the docstring calls each of them, by name.
        """
        super().__init__(prog=f"python -m {module}", allow_abbrev=False)
        self.file = f"{module.rpartition('.')[2]}.py"
        self.docstring = docstring or ""
        self.add_argument("s3_bucket", metavar="S3_BUCKET", type=bucket_name)
        for name, metavar in thresholds.items():
            self.add_argument(name, metavar=metavar, type=threshold)

    def format_help(self) -> str:
        return self.docstring

    def error(self, message: str) -> NoReturn:
        configure_logger().error(
            f"Invalid arguments passed to {self.file}: {message}; "
            f"see {self.prog} --help."
        )
        print(self.docstring)
        self.exit(1)


def bucket_name(argument: str) -> str:
    if not argument:
        raise ArgumentTypeError("it is empty")
    return argument


def threshold(argument: str) -> float:
    return positive(argument, 1, "not")


def hours(argument: str) -> float:
    return positive(argument, MOST_HOURS, "no number of hours")


def positive(argument: str, most: int, fault: str) -> float:
    with suppress(ValueError):
        value = float(argument)
        if 0 < value <= most:
            return value
    raise ArgumentTypeError(f"{argument!r} is {fault} above 0 and at most {most:,}")
