"""How the time and memory of the training stage grow with the rows of a delivery.

Usage: python -m benchmarks.growth [--most 1000000]

The stage runs as a process, from S3 to S3, on weeks of 1,000 rows, of ten times as many
and so on: generated ones, which look like the real week, as CSV and as Parquet; and, up
to a tenth of that, some of which no two rows are alike, the worst for the search. Time
by step and peak memory are those of the record of the run. From them follows what ten
million rows would take: seconds as rows ** exponent, memory as a line.
"""

import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from pandas import DataFrame

from benchmarks.table import Row
from pipeline.aws import put_csv_dataset_to_s3, put_parquet_dataset_to_s3
from pipeline.orders import DATASETS_FOLDER, HOURS_TO_DISPATCH, ORDERS_PLACED
from pipeline.records import read_records
from sandbox.orders import FILENAME_PREFIX, make_week
from sandbox.s3_server import make_bucket, replace_aws_settings, run_s3_server

FEWEST, MOST, PREDICTED = 1_000, 100_000, 10_000_000
# What starting takes hides how smaller weeks grow.
LEAST_FITTED = 10_000
SEED = 1


class Kind(NamedTuple):
    """A kind of delivery.

    Attributes:
        share: Of the most rows that are asked for, how many are tried.
    """

    name: str
    make: Callable[[int], DataFrame]
    put: Callable[[DataFrame, str, datetime, str, str], str]
    share: float


class Growth(NamedTuple):
    """What the stage took.

    Attributes:
        seconds: By step.
        memory: At its peak, bytes.
    """

    rows: int
    seconds: dict[str, float]
    memory: int

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def make_like_the_real(rows: int) -> DataFrame:
    return make_week(rows, SEED)


def make_unlike(rows: int) -> DataFrame:
    """A week of which no two rows have the same orders placed or hours."""
    random = np.random.default_rng(SEED)
    week = make_week(rows, SEED)
    apart = random.permutation(rows) / rows
    return week.assign(
        **{
            ORDERS_PLACED: week[ORDERS_PLACED] + apart.round(9),
            HOURS_TO_DISPATCH: week[HOURS_TO_DISPATCH] + 1e-6 * apart,
        }
    )


KINDS = (
    Kind("CSV", make_like_the_real, put_csv_dataset_to_s3, 1.0),
    Kind("Parquet", make_like_the_real, put_parquet_dataset_to_s3, 1.0),
    Kind("CSV, no two rows alike", make_unlike, put_csv_dataset_to_s3, 0.1),
)


def measure(kind: Kind, rows: int) -> Growth:
    """Train on one delivery.

    Raises:
        RuntimeError: The stage failed.
    """
    bucket = f"growth-{KINDS.index(kind)}-{rows}"
    make_bucket(bucket)
    at = datetime.now(UTC)
    kind.put(kind.make(rows), FILENAME_PREFIX, at, bucket, DATASETS_FOLDER)
    stage = subprocess.run(
        [sys.executable, "-m", "pipeline.train_model", bucket, "0.8", "0.9"],
        stdout=subprocess.PIPE,
        text=True,
    )
    if stage.returncode:
        raise RuntimeError(f"The stage failed: {stage.stdout.splitlines()[-1:]}.")
    [stored] = read_records(bucket)
    assert stored.record is not None and stored.record.memory_peak_bytes is not None
    return Growth(rows, stored.record.seconds, stored.record.memory_peak_bytes)


def measure_all(most: int) -> Iterator[tuple[Kind, list[Growth]]]:
    """Train on deliveries of each kind, the smaller ones first."""
    with run_s3_server() as settings:
        replace_aws_settings(settings)
        for kind in KINDS:
            measured = []
            rows = FEWEST
            while rows <= most * kind.share:
                measured.append(measure(kind, rows))
                rows *= 10
            yield kind, measured


def predict(measured: list[Growth]) -> tuple[float, float, float]:
    """Predict what `PREDICTED` rows take.

    Returns:
        Exponent, seconds and bytes.
    """
    fitted = [each for each in measured if each.rows >= LEAST_FITTED]
    rows = [each.rows for each in fitted]
    exponent, start = np.polyfit(np.log(rows), np.log([e.total for e in fitted]), 1)
    per_row, anyway = np.polyfit(rows, [each.memory for each in fitted], 1)
    seconds = np.exp(start + exponent * np.log(PREDICTED))
    return float(exponent), float(seconds), float(anyway + per_row * PREDICTED)


def describe(kind: Kind, measured: list[Growth]) -> list[Row]:
    rows = [
        Row(
            f"training on {each.rows:,} orders ({kind.name})",
            f"{each.total:.1f} s ({tell_steps(each)}), {each.memory / 2**20:.0f} MiB",
        )
        for each in measured
    ]
    if sum(each.rows >= LEAST_FITTED for each in measured) > 1:
        exponent, seconds, memory = predict(measured)
        told = f"{seconds / 60:.0f} minutes, {memory / 2**30:.1f} GiB"
        name = f"{PREDICTED:,} orders ({kind.name}), predicted"
        rows.append(Row(name, f"{told}: seconds as rows ** {exponent:.2f}"))
    return rows


def tell_steps(growth: Growth) -> str:
    return ", ".join(f"{step} {taken:.1f}" for step, taken in growth.seconds.items())


def main() -> None:
    parser = ArgumentParser(description="Measure how training grows with its rows.")
    parser.add_argument("--most", metavar="ROWS", type=int, default=MOST)
    for kind, measured in measure_all(parser.parse_args().most):
        for measure, ours, *_ in describe(kind, measured):
            print(f"| {measure} | {ours} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))
