"""Nothing wrong goes live, nothing good is held up: both counted, over generated weeks.

Usage: python -m benchmarks.gates [--weeks 300] [--tries 3] [--seed 1]

First table: good weeks in a row, each trained on after the other, of a world with
seasons and growth in which products join and leave and deliveries come late; nothing is
to be refused. Second table: after a good week, each fault in a week of its own. What is
published then is to be as near to the truth as a model of the good week: its distance
is compared with that of the model in service before.
"""

import logging
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, concat
from scipy.stats import norm

from pipeline import aws
from pipeline.estimator import read_curves
from pipeline.orders import DATASETS_FOLDER, MODELS_FOLDER
from pipeline.train_model import HYPERPARAM_GRID, main
from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server

THRESHOLDS = 0.8, 0.9
SLOPES = {f"SKU00{number + 1}": 0.075 + 0.025 * number for number in range(7)}
JOINS, LEAVES, LATE = 0.2, 0.5, 0.7
NOISE_HOURS = 1.0
# A published model may be this many times as far from the truth as the one before.
WRONG_DISTANCE = 1.5

Random = np.random.Generator
Fault = Callable[[DataFrame, DataFrame, Random], DataFrame]


class Attempt(NamedTuple):
    """What came of one delivery.

    Attributes:
        sentence: The last line of the log.
    """

    published: bool
    sentence: str
    seconds: float


def make_week(
    random: Random, rows: int, products: list[str], scale: float = 92.0
) -> DataFrame:
    """A week of orders, as the sandbox makes them."""
    code = random.choice(products, rows)
    placed = np.abs(random.normal(0, scale, rows)).round()
    slope = np.array([SLOPES[each] for each in code])
    hours = np.maximum(0, slope * placed + random.normal(0, NOISE_HOURS, rows))
    return DataFrame(
        {"hours_to_dispatch": hours, "orders_placed": placed, "product_code": code}
    )


def measure_distance(bucket: str, products: list[str]) -> float:
    """How far the model in service is from the truth, root mean square, hours."""
    model, _ = aws.get_newest_good_model_from_s3(bucket, MODELS_FOLDER, read_curves)
    curves = read_curves(model)
    placed = np.arange(0, 251, 5.0)
    weights = np.tile(np.exp(-((placed / 92) ** 2) / 2), len(products))
    far: list[NDArray[np.float64]] = []
    for code in products:
        expected = SLOPES[code] * placed
        # Of hours that are cut off at 0.
        truth = expected * norm.cdf(expected) + norm.pdf(expected)
        far.append(np.array([curves[code](each) for each in placed]) - truth)
    return float(np.sqrt(np.average(np.concatenate(far) ** 2, weights=weights)))


def attempt(bucket: str, week: DataFrame, at: datetime) -> Attempt:
    """Deliver a week and train on it."""
    aws.put_csv_dataset_to_s3(week, "time_to_dispatch", at, bucket, DATASETS_FOLDER)
    before = len(aws.list_artefacts_on_s3("pkl", bucket, MODELS_FOLDER))
    started = time.perf_counter()
    last = LastLine()
    log = logging.getLogger("pipeline")
    log.addHandler(last)
    try:
        main(bucket, *THRESHOLDS, HYPERPARAM_GRID)
    except (RuntimeError, ValueError) as error:
        last.line = str(error)
    finally:
        log.removeHandler(last)
    after = len(aws.list_artefacts_on_s3("pkl", bucket, MODELS_FOLDER))
    return Attempt(after > before, last.line, time.perf_counter() - started)


class LastLine(logging.Handler):
    """Keeps the last line of a log."""

    line = ""

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        # That there is a record says nothing of what came out.
        if not line.startswith("Recorded this run"):
            self.line = line


def scale_hours(factor: float, product: str | None = None) -> Fault:
    def spoil(week: DataFrame, before: DataFrame, random: Random) -> DataFrame:
        hit = week["product_code"].isin([product] if product else list(SLOPES))
        hours = week["hours_to_dispatch"]
        return week.assign(hours_to_dispatch=hours.where(~hit, hours * factor))

    return spoil


def mistype(count: int, factor: float, busiest: bool = True) -> Fault:
    def spoil(week: DataFrame, before: DataFrame, random: Random) -> DataFrame:
        slow = week[week["product_code"] == "SKU005"]
        rows = slow["orders_placed"].nlargest(count).index
        if not busiest:
            rows = slow.index[random.permutation(len(slow))[:count]]
        hours = week["hours_to_dispatch"].copy()
        hours[rows] *= factor
        return week.assign(hours_to_dispatch=hours)

    return spoil


def copy_noise(week: DataFrame, before: DataFrame, random: Random) -> DataFrame:
    few = week[:120]
    noise = np.abs(random.normal(0, 8, len(few)))
    noisy = few.assign(hours_to_dispatch=few["hours_to_dispatch"] + noise)
    return concat([noisy] * 10)


def mix_columns(week: DataFrame, before: DataFrame, random: Random) -> DataFrame:
    return week.rename(
        columns={
            "orders_placed": "hours_to_dispatch",
            "hours_to_dispatch": "orders_placed",
        }
    )


def mix_rows(week: DataFrame, before: DataFrame, random: Random) -> DataFrame:
    return week.assign(product_code=random.permutation(week["product_code"]))


def lower_some(week: DataFrame, before: DataFrame, random: Random) -> DataFrame:
    hit = random.random(len(week)) < 0.1
    codes = week["product_code"]
    return week.assign(product_code=codes.where(~hit, codes.str.lower()))


FAULTS: dict[str, Fault] = {
    "hours in minutes": scale_hours(60),
    "hours in days": scale_hours(1 / 24),
    "hours in seconds": scale_hours(3600),
    "one product x 10": scale_hours(10, "SKU003"),
    "one product / 10": scale_hours(0.1, "SKU004"),
    "one product in minutes": scale_hours(60, "SKU001"),
    "hours x 3": scale_hours(3),
    "hours x 1e160": scale_hours(1e160),
    "the two busiest rows x 100": mistype(2, 100),
    "one row x 10": mistype(1, 10, busiest=False),
    "five rows x 1000": mistype(5, 1000, busiest=False),
    "one row 1e200": mistype(1, 1e200),
    "twenty rows x 100": mistype(20, 100),
    "noise copied ten times": copy_noise,
    "the week twice": lambda week, before, random: concat([week, week]),
    "110 rows": lambda week, before, random: week[:110],
    "30 rows": lambda week, before, random: week[:30],
    "the last week sorted": lambda week, before, random: before.sort_values(
        "orders_placed"
    ),
    "the last week shuffled": lambda week, before, random: before.sample(
        frac=1, random_state=1
    ),
    "two of five products": lambda week, before, random: week[
        week["product_code"].isin(["SKU001", "SKU002"])
    ],
    "codes in lower case": lower_some,
    "columns mixed up": mix_columns,
    "products mixed up": mix_rows,
    "hours constant": lambda week, before, random: week.assign(hours_to_dispatch=8.0),
    "all hours missing": lambda week, before, random: week.assign(
        hours_to_dispatch=np.nan
    ),
}


def run_good_weeks(weeks: int, random: Random) -> list[Attempt]:
    """Train on good weeks in a row."""
    bucket = new_bucket()
    now = datetime.now(UTC).replace(microsecond=0)
    attempts = []
    for week in range(weeks):
        part = week / weeks
        products = list(SLOPES)[: 6 if part > JOINS else 5]
        if part > LEAVES:
            products.remove("SKU002")
        season = 1 + 0.3 * np.sin(2 * np.pi * week / 52)
        rows = int(1000 * (1 + part) * season)
        late = timedelta(hours=14 if abs(part - LATE) < 0.5 / weeks else 0)
        at = now - timedelta(weeks=weeks - week) + late
        data = make_week(random, rows, products, 92 * season)
        attempts.append(attempt(bucket, data, at))
        show_progress("Good weeks", week + 1, weeks)
    return attempts


def run_fault(fault: Fault, random: Random) -> tuple[Attempt, float]:
    """Train on a good week and then on a faulty one.

    Returns:
        What came of it, and how many times as far from the truth the model in service
        is afterwards as it was before.
    """
    bucket = new_bucket()
    now = datetime.now(UTC).replace(microsecond=0)
    products = list(SLOPES)[:5]
    before, week = (make_week(random, 1000, products) for _ in range(2))
    attempt(bucket, before, now - timedelta(days=7))
    distance = measure_distance(bucket, products)
    outcome = attempt(bucket, fault(week, before, random), now - timedelta(hours=1))
    return outcome, measure_distance(bucket, products) / distance


def new_bucket() -> str:
    name = f"gates-{uuid4()}"
    make_bucket(name)
    return name


def show_progress(what: str, done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {of}", end="\033[K", file=sys.stderr)


def print_good_weeks(attempts: list[Attempt]) -> None:
    refused = [each for each in attempts if not each.published]
    seconds = sorted(each.seconds for each in attempts)
    print("\n| good weeks in a row | published | refused | median seconds |")
    print("|---|---|---|---|")
    print(
        f"| {len(attempts)} | {len(attempts) - len(refused)} | {len(refused)} "
        f"| {seconds[len(seconds) // 2]:.1f} |"
    )
    for each in refused:
        print(f"\nRefused: {each.sentence}")


def print_faults(tries: int, random: Random) -> None:
    print("\n| fault | refused | published | farthest from the truth | wrong | why |")
    print("|---|---|---|---|---|---|")
    for name, fault in FAULTS.items():
        outcomes = [run_fault(fault, random) for _ in range(tries)]
        counts = Counter(attempt.published for attempt, _ in outcomes)
        published = [ratio for attempt, ratio in outcomes if attempt.published]
        wrong = sum(not ratio <= WRONG_DISTANCE for ratio in published)
        farthest = f"{max(published):.2f}" if published else "-"
        refused = [each.sentence for each, _ in outcomes if not each.published]
        why = (refused or ["-"])[0].partition("refused: ")
        print(
            f"| {name} | {counts[False]} | {counts[True]} | {farthest} | {wrong} "
            f"| {(why[2] or why[0])[:90].replace('|', '/')} |",
            flush=True,
        )


if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m benchmarks.gates", description=__doc__)
    parser.add_argument("--weeks", type=int, default=300)
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    # Of each run only the last line is told.
    logging.getLogger("pipeline").setLevel(logging.INFO)
    logging.getLogger("pipeline").propagate = False
    with run_s3_server() as settings:
        replace_aws_settings(settings)
        random = np.random.default_rng(chosen.seed)
        print_good_weeks(run_good_weeks(chosen.weeks, random))
        print_faults(chosen.tries, random)
