"""The arguments of a stage, read before it imports what takes seconds.

A stage builds its parser right below its first imports, under `__main__`, and the slow
ones follow: help and mistakes are told at once.
"""

from argparse import ArgumentParser, ArgumentTypeError
from typing import NoReturn

from pipeline.logs import configure_logger


class StageParser(ArgumentParser):
    """Helps with a stage's docstring; a mistake is one ERROR, and exit code 1."""

    def __init__(self, stage: str, docstring: str | None) -> None:
        """Make the parser of pipeline/STAGE.py."""
        super().__init__(prog=f"python -m pipeline.{stage}", allow_abbrev=False)
        self.stage = stage
        self.docstring = docstring or ""

    def format_help(self) -> str:
        return self.docstring

    def error(self, message: str) -> NoReturn:
        configure_logger().error(
            f"Invalid arguments passed to {self.stage}.py: {message}; "
            f"see {self.prog} --help."
        )
        self.exit(1)


def bucket_name(argument: str) -> str:
    if not argument:
        raise ArgumentTypeError("it is empty")
    return argument
