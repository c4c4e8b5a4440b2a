"""What learning on costs the stage, and 52 weeks through both stages as processes.

Usage: python -m benchmarks.learning_stage [--weeks 52] [--seed 80000] [--turns 7]
       [--products 5000]

First table: the processor time and peak memory of the training stage as a process, with
learning on and calibrating, and without, in turns on the same delivery and the same
model in service; the median of the turns. Second: the processor time of learning on
with thousands of products, and what is carried in the model. Third: the weeks of a
steady world, each trained on and then served by a process, beside what
`benchmarks.learning` says of the same weeks: the distance of the answers to the truth,
and how many fresh orders fall into the range of 90 %.
"""

import json
import os
import pickle
import subprocess
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from statistics import median
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from benchmarks.learning import OURS, WORLDS, Truth, make_orders, measure_coverage, run
from benchmarks.services import BUCKET, HEADERS, run_service
from benchmarks.services import OURS as SERVICE
from pipeline import aws
from pipeline.estimator import (
    DEFAULT_LEVEL as LEVEL,
    Knowledge,
    calibrate,
    learn_on,
    prepare_data,
    read_champion,
    read_ranges,
)
from pipeline.orders import ORDERS_PLACED, PRODUCT_CODE
from pipeline.records import read_records
from pipeline.train_model import train_model
from sandbox.orders import deliver_week, make_products, make_week
from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server

ROWS = 1000
ROWS_PER_PRODUCT = 20
ONE_TREE = {"random_state": [42], "max_depth": [12], "min_samples_leaf": [5]}
THRESHOLDS = "0.8", "0.9"
WITH = ["-m", "pipeline.train_model", BUCKET, *THRESHOLDS, "--dry-run"]
# The stage as it would be: neither module is imported, and the projection answers.
WITHOUT = f"""
import sys
from types import ModuleType, SimpleNamespace
import numpy as np

learning, calibration = (
    ModuleType("pipeline.estimator." + name) for name in ("learning", "calibration")
)
ranges = SimpleNamespace(describe=dict)
learning.learn_on = lambda model, *week: SimpleNamespace(model=model, doubted=[])
calibration.calibrate = lambda *week: (ranges, {{}})
for module in (learning, calibration):
    sys.modules[module.__name__] = module
from pipeline import train_model

train_model.summarize_knowledge = lambda knowledge: ""
train_model.main(
    {BUCKET!r}, {", ".join(THRESHOLDS)}, train_model.HYPERPARAM_GRID, dry_run=True
)
"""


class Cost(NamedTuple):
    """What a run of the stage took.

    Attributes:
        seconds: Of the processor.
        memory: At its peak, bytes.
    """

    seconds: float
    memory: float


def run_stage(arguments: list[str]) -> Cost:
    """Run the stage as a process.

    Raises:
        RuntimeError: It failed.
    """
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"The stage failed: {arguments}.")
    [newest] = read_records(BUCKET, 1)
    assert newest.record is not None and newest.record.memory_peak_bytes is not None
    return Cost(used.ru_utime + used.ru_stime, newest.record.memory_peak_bytes)


def deliver(orders: DataFrame, weeks_ago: float) -> None:
    at = datetime.now(UTC) - timedelta(weeks=weeks_ago)
    deliver_week(orders, at, BUCKET, "datasets")


def train() -> Cost:
    return run_stage(WITH[:-1])


def print_costs(turns: int) -> None:
    """What learning on adds to the stage, in turns with the stage without it."""
    for week in (2, 1):
        deliver(make_week(ROWS, seed=week), weeks_ago=week)
        train()
    deliver(make_week(ROWS, seed=0), weeks_ago=0)
    pairs = [(run_stage(["-c", WITHOUT]), run_stage(WITH)) for _ in range(turns)]
    print("\n| the stage | without | with | more |\n|---|---|---|---|")
    for what, unit, taken in (
        ("processor time", "s", [(one.seconds, other.seconds) for one, other in pairs]),
        (
            *("peak memory", "MiB"),
            [(one.memory / 2**20, other.memory / 2**20) for one, other in pairs],
        ),
    ):
        without, having = (median(column) for column in zip(*taken, strict=True))
        more = median(other / one - 1 for one, other in taken)
        print(f"| {what} | {without:.2f} {unit} | {having:.2f} {unit} | {more:+.1%} |")


def print_products(count: int) -> None:
    """What thousands of products take, week by week: one tree of each is fitted."""
    products, rows = make_products(count), count * ROWS_PER_PRODUCT
    known: Knowledge | None = None
    limits: dict[str, tuple[float, float]] = {}
    print(
        f"\n| {count:,} products, {ROWS_PER_PRODUCT} orders of each | learning on "
        "| calibrating | carried in the model |\n|---|---|---|---|"
    )
    for week in range(1, 4):
        orders = make_week(rows, week, hours_per_order=products, equal_shares=True)
        data = prepare_data(orders)
        projection, _ = train_model(data, ONE_TREE)
        started = time.process_time()
        is_new = np.ones(len(data.X_train), dtype=bool)
        learnt = learn_on(projection, data, is_new, known)
        joined = time.process_time()
        ranges, known = calibrate(learnt, data, orders, limits)
        ended = time.process_time()
        limits = ranges.limits
        carried = pickle.dumps({code: each.describe() for code, each in known.items()})
        print(
            f"| week {week} | {joined - started:.1f} s | {ended - joined:.1f} s "
            f"| {len(carried) / 2**20:.1f} MiB |",
            flush=True,
        )


def print_weeks(weeks: int, seed: int) -> None:
    """Each week through both stages, beside what the benchmark says of it."""
    world = WORLDS["steady"]
    expected = run(world, ROWS, weeks, seed, others=False)
    columns = "| week | the service, hours from the truth | the benchmark "
    print(f"\n{columns}| within {LEVEL:.0%} | the benchmark |\n|---|---|---|---|---|")
    far = []
    for week, outcome in enumerate(expected, start=1):
        deliver(make_orders(world, week, ROWS, seed), weeks_ago=weeks - week)
        train()
        truth = Truth.of(world, week, seed)
        with run_service(SERVICE) as service:
            answers = ask(service.url, truth.places)
        squared = (answers - truth.hours) ** 2
        distance = float(np.average(squared, weights=truth.weights)) ** 0.5
        model = aws.get_latest_pkl_model_from_s3(BUCKET, "models")
        ranges = read_ranges(model)
        assert ranges is not None
        champion = read_champion(model)
        covered = measure_coverage(ranges, champion.estimate, truth.fresh)[LEVEL][0]
        said = outcome.scores[OURS][0]
        print(
            f"| {week} | {distance:.3f} | {said:.3f} | {covered:.1%} "
            f"| {outcome.coverage[LEVEL][0]:.1%} |",
            flush=True,
        )
        far.append(abs(distance - said))
    print(f"\nAt most {max(far):.3f} hours apart in {weeks} weeks.")


def ask(url: str, orders: DataFrame) -> NDArray[np.float64]:
    """Ask the service, order by order."""
    address = urlsplit(url)
    connection = HTTPConnection(address.netloc)
    hours = []
    for code, placed in zip(orders[PRODUCT_CODE], orders[ORDERS_PLACED], strict=True):
        body = json.dumps({"product_code": code, "orders_placed": placed})
        connection.request("POST", address.path, body, HEADERS)
        hours.append(json.load(connection.getresponse())["est_hours_to_dispatch"])
    connection.close()
    return np.array(hours)


if __name__ == "__main__":
    parser = ArgumentParser(
        prog="python -m benchmarks.learning_stage",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--seed", type=int, default=80_000)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--products", type=int, default=5000)
    chosen = parser.parse_args()
    parts: list[Callable[[], None]] = [
        lambda: print_costs(chosen.turns),
        lambda: print_products(chosen.products),
        lambda: print_weeks(chosen.weeks, chosen.seed),
    ]
    for part in parts:
        # Each in a bucket of its own.
        with run_s3_server() as settings:
            replace_aws_settings(settings)
            make_bucket(BUCKET)
            part()
