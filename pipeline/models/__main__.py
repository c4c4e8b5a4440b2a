"""The models in a bucket: look at them, verify, put one back, withdraw, sign anew.

Nothing is deleted: an earlier model is put back by adding it again, as the newest, and
a model is withdrawn, or signed anew, by adding an object beside it that says so.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline.models.changing import resign, rollback, withdraw
from pipeline.models.entries import read_entries
from pipeline.models.reading import list_models, show, verify

COMMANDS = {
    "list": (list_models, "a table of all models, the newest first"),
    "show": (show, "all that is known of one model, by default of the newest"),
    "verify": (verify, "check that models are unchanged, signed and loadable"),
    "rollback": (rollback, "put an earlier model back, by default the one before"),
    "withdraw": (withdraw, "let services pass over a model, for a reason that is kept"),
    "resign": (resign, "sign what verifies anew, with the first key for this bucket"),
}


def parse(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="python -m pipeline.models", description=__doc__)
    parser.add_argument("bucket", metavar="BUCKET")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, explanation) in COMMANDS.items():
        command = commands.add_parser(name, help=explanation, description=explanation)
        if name != "list":
            command.add_argument(
                "model", metavar="MODEL", nargs="?", help="file name or key"
            )
        if name == "withdraw":
            command.add_argument(
                "--commit",
                metavar="HASH",
                help="instead of MODEL: all that its code has made since TIME",
            )
            command.add_argument(
                "--since", metavar="TIME", type=read_time, help="in ISO 8601"
            )
            command.add_argument("--reason", metavar="TEXT", required=True)
        if name == "resign":
            command.add_argument(
                "--last", metavar="N", type=count, help="only the N newest"
            )
        command.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)
    if chosen.command == "withdraw":
        by_commit = bool(chosen.commit and chosen.since)
        if bool(chosen.model) == by_commit or bool(chosen.commit) != by_commit:
            parser.error("name what to withdraw: a MODEL, or --commit with --since")
    return chosen


def read_time(text: str) -> datetime:
    """Read a time, in UTC if it names no zone.

    Raises:
        ValueError: It is not in ISO 8601; argparse says so.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def count(text: str) -> int:
    """Read a number of models.

    Raises:
        ValueError: It is no whole number above 0; argparse says so.
    """
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code.

    Raises:
        RuntimeError: It could not be done.
        ValueError: The signing key is too short, or empty.
    """
    chosen = parse(arguments)
    run, _ = COMMANDS[chosen.command]
    answer = run(read_entries(chosen.bucket), chosen)
    if chosen.json:
        print(json.dumps(answer.for_programs, indent=2))
    else:
        for line in answer.lines:
            print(line)
    return answer.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
