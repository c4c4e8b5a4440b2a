"""Twelve simulated weeks through the real stages, and the pages that tell of them.

    python -m sandbox.weeks --output report

Each stage runs on a clock that is set to its week, one of the last twelve. Of these one
has mistyped rows, one is late, one has a busier warehouse, one is rolled back, and one
is delivered in minutes instead of hours.
"""

import os
import secrets
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from pandas import DataFrame
from time_machine import travel

from pipeline import report, train_model
from pipeline.aws import KEYS_VARIABLE
from pipeline.logs import configure_logger
from pipeline.models.__main__ import main as manage_models
from pipeline.orders import DATASETS_FOLDER, HOURS_TO_DISPATCH
from pipeline.pages import find_friday
from pipeline.records import ALERT_URLS, REPORT_URLS
from sandbox.orders import ORDERS_PLACED_SCALE, deliver_week, make_week
from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server

BUCKET = "time-to-dispatch"
THRESHOLDS = 0.8, 0.9
ORDERS = 1000
UNTIL_THE_RUN = timedelta(minutes=45)
UNTIL_THE_ROLLBACK = timedelta(days=3, hours=-14)


class Happening(NamedTuple):
    """What is special about a week.

    Attributes:
        late_by: How much later than on Friday 23:00 UTC it was delivered.
    """

    told: str
    busyness: float = 1.0
    late_by: timedelta = timedelta()
    mistyped_rows: int = 0
    hours_times: float = 1.0
    is_rolled_back: bool = False


GOOD = Happening("a good week")
WEEKS = [
    GOOD,
    GOOD,
    Happening("five rows are mistyped", mistyped_rows=5),
    GOOD,
    GOOD,
    Happening("the delivery is late", late_by=timedelta(days=1, hours=16)),
    GOOD,
    Happening("the warehouse is busier", busyness=2.0),
    Happening("the model is rolled back on Monday", is_rolled_back=True),
    GOOD,
    GOOD,
    Happening("the hours are minutes", hours_times=60.0),
]


def make_orders(happening: Happening, seed: int) -> DataFrame:
    """Make the orders of a week."""
    scale = happening.busyness * ORDERS_PLACED_SCALE
    week = make_week(ORDERS, seed, orders_placed_scale=scale)
    week[HOURS_TO_DISPATCH] *= happening.hours_times
    # Evenly over the week; a decimal point too far to the right.
    mistyped = week.index[7 :: ORDERS // 5][: happening.mistyped_rows]
    week.loc[mistyped, HOURS_TO_DISPATCH] *= 10
    return week


def run_week(
    bucket: str,
    friday: datetime,
    happening: Happening,
    orders: DataFrame,
    grid: dict[str, Any],
) -> str:
    """Deliver a week, train on it, and perhaps go back, each at its time.

    Args:
        friday: When the delivery is due.
        grid: What training searches.

    Returns:
        Why it was refused; "" if it was not.

    Raises:
        RuntimeError: S3 could not be used.
    """
    refused = ""
    delivered = friday + happening.late_by
    with travel(delivered + UNTIL_THE_RUN):
        deliver_week(orders, delivered, bucket, DATASETS_FOLDER)
        try:
            train_model.main(bucket, *THRESHOLDS, grid)
        except train_model.REFUSALS as refusal:
            refused = str(refusal)
    if happening.is_rolled_back:
        with travel(friday + UNTIL_THE_ROLLBACK):
            manage_models([bucket, "rollback"])
    return refused


def run_weeks(bucket: str, now: datetime, grid: dict[str, Any]) -> Iterator[str]:
    """Run the weeks that ended on the last Fridays, one by one.

    Args:
        now: In UTC.
        grid: What training searches.

    Yields:
        What is special about each week, and why it was refused.

    Raises:
        RuntimeError: S3 could not be used.
    """
    last = find_friday(now - UNTIL_THE_RUN)
    for seed, happening in enumerate(WEEKS):
        friday = last - timedelta(weeks=len(WEEKS) - 1 - seed)
        yield f"{friday:%Y-%m-%d}: {happening.told}"
        orders = make_orders(happening, seed)
        refused = run_week(bucket, friday, happening, orders, grid)
        if refused:
            yield refused


def main(folder: Path) -> None:
    """Run the weeks against an S3 server of their own, and write the pages.

    Raises:
        RuntimeError: Something could not be done.
    """
    # Nobody is to be told of weeks that are made up.
    for variable in (ALERT_URLS, REPORT_URLS):
        os.environ.pop(variable, None)
    os.environ[KEYS_VARIABLE] = secrets.token_hex(32)
    configure_logger()
    with run_s3_server() as settings:
        replace_aws_settings(settings)
        make_bucket(BUCKET)
        for told in run_weeks(BUCKET, datetime.now(UTC), train_model.HYPERPARAM_GRID):
            print(f"\n{told}", flush=True)
        print()
        report.main([BUCKET, "--output", str(folder)])


if __name__ == "__main__":
    parser = ArgumentParser(
        prog="python -m sandbox.weeks",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=Path,
        default=Path("report"),
        help="where the pages go (default: %(default)s)",
    )
    try:
        main(parser.parse_args().output)
    except RuntimeError as error:
        sys.exit(str(error))
