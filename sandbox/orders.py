"""Generated weeks of orders, which look like the real ones.

Deliver one: python -m sandbox.orders --rows 1000 --seed 7 --to s3://BUCKET/datasets/
"""

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NoReturn

import numpy as np
from pandas import DataFrame

from pipeline import aws
from pipeline.orders import (
    HOURS_TO_DISPATCH,
    ORDERS_PLACED,
    PRODUCT_CODE,
)

FILENAME_PREFIX = "time_to_dispatch"

PRODUCT_CODE_MAP = {f"SKU00{number + 1}": number for number in range(5)}

# Measured on a real week.
ORDERS_PLACED_SCALE = 92.0
HOURS_PER_ORDER = np.linspace(0.075, 0.175, len(PRODUCT_CODE_MAP))
NOISE_HOURS = 1.0

MAX_ROWS = 10_000_000
MAX_SEED = 2**32 - 1


def make_week(rows: int, seed: int) -> DataFrame:
    """Make a week of orders.

    Every product is equally likely. The hours grow linearly with the orders already
    placed, for each product with its own slope and with normal noise.

    Args:
        rows: How many orders.
        seed: The same seed makes the same week.

    Returns:
        The columns hours_to_dispatch (hours), orders_placed (orders), product_code.
    """
    random = np.random.default_rng(seed)
    product = random.integers(len(PRODUCT_CODE_MAP), size=rows)
    orders_placed = np.abs(random.normal(0, ORDERS_PLACED_SCALE, rows)).round()
    noise = random.normal(0, NOISE_HOURS, rows)
    hours = np.maximum(0, HOURS_PER_ORDER[product] * orders_placed + noise)
    return DataFrame(
        {
            HOURS_TO_DISPATCH: hours,
            ORDERS_PLACED: orders_placed,
            PRODUCT_CODE: np.array(list(PRODUCT_CODE_MAP))[product],
        }
    )


def deliver_week(week: DataFrame, at: datetime, bucket: str, folder: str) -> str:
    """Deliver a week to S3 as the data engineers do.

    Args:
        at: When; becomes the timestamp in the object's name, in UTC.

    Returns:
        The address, s3://bucket/folder/filename.

    Raises:
        RuntimeError: S3 could not be written to, or has that week already.
    """
    location = aws.put_csv_dataset_to_s3(week, FILENAME_PREFIX, at, bucket, folder)
    return f"s3://{location}"


class Parser(ArgumentParser):
    """Ends with one sentence and 1, as the stages do, where argparse has its 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"Invalid arguments: {message}; see {self.prog} --help.\n")


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    def read(argument: str) -> int:
        try:
            number = int(argument)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise ArgumentTypeError(
                f"{argument!r} is not a whole number from {lowest} to {highest}"
            )
        return number

    return read


def s3_folder(argument: str) -> tuple[str, str]:
    address = re.fullmatch(r"s3://([^/]+)/?(.*)", argument)
    if address is None:
        raise ArgumentTypeError(f"{argument!r} is not like s3://BUCKET/FOLDER/")
    return address[1], address[2]


def timestamp(argument: str) -> datetime:
    try:
        return datetime.fromisoformat(argument)
    except ValueError as error:
        raise ArgumentTypeError(
            f"{argument!r} is not a time like 2021-07-02T23:00:00"
        ) from error


def main(arguments: list[str]) -> None:
    """Make one week and deliver it.

    Raises:
        RuntimeError: It could not be delivered.
        SystemExit: The arguments are invalid.
    """
    parser = Parser(
        prog="python -m sandbox.orders",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rows", type=whole_number(1, MAX_ROWS), default=1000, help="orders"
    )
    parser.add_argument(
        "--seed", type=whole_number(0, MAX_SEED), default=1, help="of the week"
    )
    parser.add_argument("--to", type=s3_folder, required=True, help="S3 folder")
    parser.add_argument(
        "--at",
        type=timestamp,
        default=datetime.now(UTC),
        help="time of the delivery, in UTC if it names no time zone (default: now)",
    )
    chosen = parser.parse_args(arguments)
    week = make_week(chosen.rows, chosen.seed)
    address = deliver_week(week, chosen.at, *chosen.to)
    print(f"Delivered {chosen.rows} orders to {address}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except RuntimeError as error:
        sys.exit(str(error))
