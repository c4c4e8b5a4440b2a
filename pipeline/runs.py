"""The runs of training in a bucket: what came of each, one whole, two compared.

Refused and failed runs stand here too. Nothing is changed.
"""

import json
import os
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from pipeline.logs import Parser, printable
from pipeline.orders import RUNS_FOLDER
from pipeline.records import Outcome, RunRecord, StoredRecord, read_records

WIDTH = 80
LAST = 20
STYLES = {
    Outcome.PUBLISHED: "green",
    Outcome.REFUSED: "bold red",
    Outcome.FAILED: "bold red",
    Outcome.NOTHING_NEW: "yellow",
    Outcome.DRY_RUN: "dim",
}
TIME = "%Y-%m-%d %H:%M:%S"


class Measure(NamedTuple):
    """A number of a run that is compared with that of another.

    Attributes:
        name: With its unit.
        value: None if the run has none.
        digits: Behind the decimal point.
    """

    name: str
    value: float | None
    digits: int

    def __str__(self) -> str:
        return "-" if self.value is None else f"{self.value:,.{self.digits}f}"

    def change_from(self, before: "Measure") -> str:
        """An arrow and by how much; "" where there is nothing to compare."""
        if self.value is None or before.value is None:
            return ""
        change = round(self.value - before.value, self.digits)
        arrow = "=" if not change else "↑" if change > 0 else "↓"
        return arrow + (f"{abs(change):,.{self.digits}f}" if change else "")


def measure(record: RunRecord) -> list[Measure]:
    """The numbers of a run."""
    answer, tree = record.metrics.answer, record.metrics.tree
    week = record.metrics.projection
    champion, delivery = record.model_in_service, record.delivery
    large = [each for each in record.drift or [] if each.is_large]
    peak = record.memory_peak_bytes
    return [
        Measure("r-squared", answer.r_squared if answer else None, 3),
        Measure(
            "mean absolute error (hours)",
            answer.mean_absolute_error if answer else None,
            3,
        ),
        Measure("rows", delivery.rows if delivery else None, 0),
        Measure("rows set aside", len(delivery.set_aside) if delivery else None, 0),
        Measure(
            "r-squared, cross-validated", record.metrics.cross_validated_r_squared, 3
        ),
        Measure("r-squared of the tree alone", tree.r_squared if tree else None, 3),
        Measure("r-squared of this week alone", week.r_squared if week else None, 3),
        Measure(
            "mean absolute error of this week alone",
            week.mean_absolute_error if week else None,
            3,
        ),
        Measure(
            "error of the model in service (hours)",
            champion.error_on_delivery if champion else None,
            3,
        ),
        Measure(
            "its error at birth (hours)",
            champion.error_at_birth if champion else None,
            3,
        ),
        Measure(
            "distributions with large drift",
            None if record.drift is None else len(large),
            0,
        ),
        Measure("warnings", len(record.warnings), 0),
        Measure("seconds", sum(record.seconds.values()), 1),
        Measure("memory peak (MB)", None if peak is None else peak / 1e6, 0),
    ]


def list_runs(found: list[StoredRecord], chosen: Namespace) -> Iterator[RenderableType]:
    """A line for each run, and what was wrong with it below."""
    yield Text(
        f"{'run (UTC)':<20}{'outcome':<13}{'r-squared':<14}{'MAE (hours)':<14}"
        f"{'rows':>8}{'warnings':>10}".rstrip(),
        "bold",
    )
    good = [each.record for each in found if each.record and each.record.is_good]
    for each in found[: chosen.last]:
        time, record = each.timestamp.strftime(TIME), each.record
        if record is None:
            yield Text(f"{time:<20}not to be believed", "bold red")
            yield indent(each.refusal)
            continue
        now = measure(record)
        older = [other for other in good if other.started < record.started]
        before = measure(older[0]) if older else now
        scores = [
            f"{value} {value.change_from(old) if older else ''}"
            for value, old in zip(now[:2], before[:2], strict=True)
        ]
        rows = str(now[2])
        warnings = str(len(record.warnings) or "-")
        line = Text(f"{time:<20}")
        line.append(f"{record.outcome.value:<13}", STYLES[record.outcome])
        line.append(f"{scores[0]:<14}{scores[1]:<14}{rows:>8}{warnings:>10}")
        line.rstrip()
        yield line
        if record.reason:
            yield indent(record.reason)


def show_run(found: list[StoredRecord], chosen: Namespace) -> Iterator[RenderableType]:
    """All that is known of one run."""
    each = choose(found, chosen.run) if chosen.run else found[0]
    record = each.record
    yield heading(each)
    if record is None:
        yield fold(each.refusal)
        return
    if record.reason:
        yield fold(record.reason)
    for line in tell_origin(record):
        yield fold(line)
    older = [other for other in found if other.timestamp < each.timestamp]
    before = next((other.record for other in older if other.record), None)
    now, then = measure(record), measure(before or record)
    for value, old in zip(now, then, strict=True):
        if value.value is not None:
            change = value.change_from(old) if before else ""
            yield Text(f"{value.name:<40}{value!s:>10}  {change}".rstrip())
    for title, lines in tell_lists(record):
        if lines:
            yield Text(title, "bold")
            yield from map(indent, lines)


def tell_origin(record: RunRecord) -> Iterator[str]:
    """Where it came from and what it made, a line each."""
    thresholds = record.thresholds
    yield f"thresholds: r-squared {thresholds.error:g}, warning {thresholds.warning:g}"
    if record.delivery is not None:
        delivery = record.delivery
        yield f"delivery: {delivery.key}"
        yield f"  SHA-256 {delivery.hash or 'unknown'}"
        orders = [f"{code} {n}" for code, n in delivery.orders_by_product.items()]
        yield f"  orders: {shorten(orders) or 'unknown'}"
    if record.model is not None:
        yield f"model: {record.model.key or 'not published'}"
    if record.model_in_service is not None:
        champion = record.model_in_service
        yield f"in service before: model of {champion.delivery_key}"
    if record.comparison is not None:
        compared = record.comparison
        interval = [
            "unknown" if end is None else f"{end:+.3f}"
            for end in (compared.lower, compared.upper)
        ]
        yield (
            f"compared with it: {compared.loss:+.3f} hours of error, {interval[0]} to "
            f"{interval[1]}, on {compared.rows} orders: {compared.outcome}"
        )
    versions = [f"{name} {version}" for name, version in record.versions.items()]
    yield f"commit: {record.commit}; {', '.join(versions)}"
    if record.message:
        yield f"message: {record.message}"


def tell_lists(record: RunRecord) -> Iterator[tuple[str, list[str]]]:
    """What there may be several of, with a title each."""
    yield "warnings", record.warnings
    rows = record.delivery.set_aside if record.delivery else []
    counted = record.delivery.counted if record.delivery else ""
    yield (
        "rows set aside",
        [
            f"{counted} {row.line}: {row.product_code} at {row.orders_placed:g} orders "
            f"took {row.hours:g} hours, expected about {row.expected:.1f}"
            for row in rows
        ],
    )
    yield (
        "drift",
        [
            f"{each.product_code} {each.column}: KS={each.statistic:.3f}, range "
            f"{each.delivered_range[0]:g} to {each.delivered_range[1]:g} (was "
            f"{each.reference_range[0]:g} to {each.reference_range[1]:g})"
            for each in record.drift or []
            if each.is_large
        ],
    )
    steps = [f"{step} {seconds:.1f}" for step, seconds in record.seconds.items()]
    yield "seconds by step", [", ".join(steps)] if steps else []


def compare_runs(
    found: list[StoredRecord], chosen: Namespace
) -> Iterator[RenderableType]:
    """Two runs side by side, and by how much the second differs.

    Raises:
        RuntimeError: One of them is not there, or not to be believed.
    """
    runs = [choose(found, name) for name in (chosen.first, chosen.second)]
    records = []
    for each in runs:
        if each.record is None:
            raise RuntimeError(each.refusal)
        records.append(each.record)
    for letter, each in zip("AB", runs, strict=True):
        yield Text(f"{letter}: ").append(heading(each))
    yield Text(f"{'':<40}{'A':>12}{'B':>12}  B to A", "bold")
    for first, second in zip(*map(measure, records), strict=True):
        if first.value is not None or second.value is not None:
            change = second.change_from(first)
            line = f"{first.name:<40}{first!s:>12}{second!s:>12}  {change}"
            yield Text(line.rstrip())


def heading(each: StoredRecord) -> Text:
    """Which run it is, and what came of it."""
    outcome = each.record.outcome if each.record else None
    told = outcome.value if outcome else "not to be believed"
    style = STYLES[outcome] if outcome else "bold red"
    return Text(f"{each.name}  ").append(told, style)


def indent(text: str) -> Padding:
    return Padding(fold(text), (0, 0, 0, 2), expand=False)


def fold(text: str) -> Text:
    """One paragraph; what a record holds may be anyone's words."""
    return Text(printable(text), overflow="fold")


def shorten(values: list[str], most: int = 10) -> str:
    more = len(values) - most
    return ", ".join(values[:most]) + (f" and {more} more" if more > 0 else "")


def choose(found: list[StoredRecord], name: str) -> StoredRecord:
    """Find a run by its file name, its key, or how its time begins.

    Raises:
        RuntimeError: There is none, or there are several.
    """
    chosen = [
        each
        for each in found
        if name in (each.name, each.key)
        or each.timestamp.isoformat().startswith(name.replace(" ", "T"))
    ]
    if len(chosen) == 1:
        return chosen[0]
    several = f"There are {len(chosen)} runs" if chosen else "There is no run"
    raise RuntimeError(f"{several} {name!r}; choose one that list shows.")


def as_json(found: list[StoredRecord], chosen: Namespace) -> Any:
    """For programs: each record as it is stored, its key, and why it is refused."""
    if chosen.command == "list":
        return [describe(each) for each in found[: chosen.last]]
    if chosen.command == "show":
        return describe(choose(found, chosen.run) if chosen.run else found[0])
    return [describe(choose(found, name)) for name in (chosen.first, chosen.second)]


def describe(each: StoredRecord) -> dict[str, Any]:
    record = each.record.model_dump(mode="json") if each.record else None
    return {"key": each.key, "refusal": each.refusal, "record": record}


COMMANDS = {
    "list": (list_runs, "a line for each run, the newest first"),
    "show": (show_run, "all that is known of one run, by default of the newest"),
    "compare": (compare_runs, "two runs side by side"),
}


def parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser(prog="python -m pipeline.runs", description=__doc__)
    parser.add_argument("bucket", metavar="BUCKET")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, explanation) in COMMANDS.items():
        command = commands.add_parser(name, help=explanation, description=explanation)
        command.add_argument("--json", action="store_true", help="for programs")
    named = "file name, key, or how its time begins"
    commands.choices["list"].add_argument(
        "--last", metavar="N", type=number, default=LAST, help="by default %(default)s"
    )
    commands.choices["show"].add_argument("run", metavar="RUN", nargs="?", help=named)
    for name in ("first", "second"):
        metavar = "A" if name == "first" else "B"
        commands.choices["compare"].add_argument(name, metavar=metavar, help=named)
    return parser.parse_args(arguments)


def number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no number of runs")
    return int(text)


def main(arguments: Sequence[str]) -> None:
    """Run one command.

    Raises:
        RuntimeError: It could not be done.
        ValueError: The signing key is too short, or empty.
    """
    chosen = parse(arguments)
    # One more, for the differences of the last.
    last = chosen.last + LAST if chosen.command == "list" else None
    found = read_records(chosen.bucket, last)
    if not found:
        raise RuntimeError(
            f"There is no record of a run in s3://{chosen.bucket}/{RUNS_FOLDER}/; each "
            "python -m pipeline.train_model leaves one."
        )
    if chosen.json:
        print(json.dumps(as_json(found, chosen), indent=2))
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    run, _ = COMMANDS[chosen.command]
    for line in run(found, chosen):
        console.print(line)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
    except BrokenPipeError:
        # Whoever read has seen enough; let the interpreter's own flush fail in silence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
