"""Generated weeks of orders, which look like the real ones.

Deliver one: python -m sandbox.orders --rows 1000 --seed 7 --to s3://BUCKET/datasets/
"""

import re
import sys
from argparse import ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
from pandas import DataFrame

from pipeline import aws
from pipeline.logs import Parser
from pipeline.orders import HOURS_TO_DISPATCH, ORDERS_PLACED, PRODUCT_CODE

FILENAME_PREFIX = "time_to_dispatch"

# Measured on a real week.
ORDERS_PLACED_SCALE = 92.0
SLOPES = np.linspace(0.075, 0.175, 5)
NOISE_HOURS = 1.0

GOLDEN_RATIO = (1 + 5**0.5) / 2


def make_products(count: int) -> dict[str, float]:
    """Make products: the five of the real week, and others like them.

    A product is the same whichever others there are, and the order of their codes says
    nothing of their slopes.

    Returns:
        Hours for each order already placed, by product code.
    """
    others = GOLDEN_RATIO * np.arange(count) % 1
    slopes = SLOPES[0] + (SLOPES[-1] - SLOPES[0]) * others
    slopes[: len(SLOPES)] = SLOPES[:count]
    codes = [f"SKU{number:03}" for number in range(1, count + 1)]
    return dict(zip(codes, slopes.tolist(), strict=True))


HOURS_PER_ORDER = make_products(len(SLOPES))

MAX_ROWS = 10_000_000
MAX_PRODUCTS = 100_000
MAX_SEED = 2**32 - 1


def make_week(
    rows: int,
    seed: int,
    *,
    hours_per_order: Mapping[str, float] = HOURS_PER_ORDER,
    equal_shares: bool = False,
    orders_placed_scale: float = ORDERS_PLACED_SCALE,
    slowdown: float = 1.0,
    noise_hours: float = NOISE_HOURS,
) -> DataFrame:
    """Make a week of orders.

    Every product is equally likely. The hours grow linearly with the orders already
    placed, for each product with its own slope and with normal noise.

    Args:
        rows: How many orders.
        seed: The same seed makes the same week.
        hours_per_order: The slope of each product, by its code.
        equal_shares: Each product gets as many orders as any other, give or take one.
        orders_placed_scale: Their root mean square: how busy the week is (orders).
        slowdown: Factor on all slopes, of a warehouse that works slower or faster.
        noise_hours: Standard deviation of the noise (hours).

    Returns:
        The columns hours_to_dispatch (hours), orders_placed (orders), product_code.
    """
    random = np.random.default_rng(seed)
    if equal_shares:
        product = random.permutation(np.arange(rows) % len(hours_per_order))
    else:
        product = random.integers(len(hours_per_order), size=rows)
    orders_placed = np.abs(random.normal(0, orders_placed_scale, rows)).round()
    noise = random.normal(0, noise_hours, rows)
    slopes = np.array(list(hours_per_order.values())) * slowdown
    return DataFrame(
        {
            HOURS_TO_DISPATCH: np.maximum(0, slopes[product] * orders_placed + noise),
            ORDERS_PLACED: orders_placed,
            PRODUCT_CODE: np.array(list(hours_per_order))[product],
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
    parser.add_argument(
        "--products",
        type=whole_number(1, MAX_PRODUCTS),
        default=len(HOURS_PER_ORDER),
        help="how many there are",
    )
    parser.add_argument("--to", type=s3_folder, required=True, help="S3 folder")
    parser.add_argument(
        "--at",
        type=timestamp,
        default=datetime.now(UTC),
        help="time of the delivery, in UTC if it names no time zone (default: now)",
    )
    chosen = parser.parse_args(arguments)
    products = make_products(chosen.products)
    week = make_week(chosen.rows, chosen.seed, hours_per_order=products)
    address = deliver_week(week, chosen.at, *chosen.to)
    print(f"Delivered {chosen.rows} orders to {address}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except RuntimeError as error:
        sys.exit(str(error))
