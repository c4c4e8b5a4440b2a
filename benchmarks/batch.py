"""How fast files of requests are answered, and in how much memory.

Usage: python -m benchmarks.batch [--rows 1000000] [--formats csv,csv.gz,parquet]

Each run is a process on one core, with an S3 server as another process. Counted are
rows by second of its processor, beyond what a file of one row takes, and its memory at
its peak: medians of three turns, after a run of each program that counts for nothing,
since whatever is imported first is compiled. The baseline (`baseline_batch.py`) reads
all rows with pandas and asks the curve and the range of each; it is run with a million
rows at most.
"""

import os
import subprocess
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv
from pyarrow.parquet import ParquetWriter

from benchmarks.services import BUCKET, SERVICE_CORE, trained_model
from benchmarks.table import Row, print_rows
from pipeline import aws
from sandbox.orders import HOURS_PER_ORDER, ORDERS_PLACED_SCALE

ROWS = 1_000_000
FORMATS = ("csv", "parquet")
TURNS = 3
ROWS_AT_ONCE = 100_000
POLL_SECONDS = 0.01

OURS = ("pipeline.batch", BUCKET, "estimate")
BASELINE = ("benchmarks.baseline_batch", BUCKET)


class Run(NamedTuple):
    """What the answer to a file took.

    Attributes:
        seconds: From the start of the process to its end.
        processor_seconds: Of all its threads.
        memory: Resident at its peak, bytes.
    """

    seconds: float
    processor_seconds: float
    memory: float


class Measurement(NamedTuple):
    """What files of one format took.

    Attributes:
        one_row: What a file of one row takes.
    """

    file_format: str
    rows: int
    ours: Run
    one_row: Run
    baseline_rows: int
    baseline: Run
    baseline_one_row: Run

    @property
    def rate(self) -> float:
        """Rows by second of the processor."""
        return find_rate(self.rows, self.ours, self.one_row)

    @property
    def baseline_rate(self) -> float:
        return find_rate(self.baseline_rows, self.baseline, self.baseline_one_row)


def find_rate(rows: int, run: Run, one_row: Run) -> float:
    return (rows - 1) / (run.processor_seconds - one_row.processor_seconds)


def make_requests(rows: int) -> Iterator[pa.RecordBatch]:
    """Make orders to be estimated, as the sandbox's weeks have them."""
    random = np.random.default_rng(1)
    codes = pa.array([*HOURS_PER_ORDER])
    for start in range(0, rows, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, rows - start)
        placed = np.abs(random.normal(0, ORDERS_PLACED_SCALE, size)).round()
        yield pa.record_batch(
            {
                "order": pa.array(range(start, start + size)),
                "product_code": codes.take(
                    pa.array(random.integers(0, len(codes), size))
                ),
                "orders_placed": placed.astype(int),
            }
        )


def put_requests(rows: int, file_format: str, at: datetime) -> None:
    """Put a file of requests, in pieces."""
    name = aws.make_timestamped_filename("requests", at, file_format)
    with aws.MultipartUpload(BUCKET, f"requests/{name}", name) as upload:
        file: Any = upload
        writer: Any = None
        for batch in make_requests(rows):
            if writer is None and file_format == "parquet":
                writer = ParquetWriter(file, batch.schema)
            elif writer is None:
                if file_format == "csv.gz":
                    file = pa.CompressedOutputStream(pa.PythonFile(file, "w"), "gzip")
                options = csv.WriteOptions(quoting_style="none", quoting_header="none")
                writer = csv.CSVWriter(file, batch.schema, write_options=options)
            writer.write_batch(batch)
        writer.close()
        if file_format == "csv.gz":
            file.close()
        assert upload.publish()


def run(module: str, *arguments: str) -> Run:
    """Run a program on one core.

    Raises:
        RuntimeError: It failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "--cpu-list", SERVICE_CORE]
        + [sys.executable, "-m", module, *arguments],
        stdout=subprocess.DEVNULL,
    )
    memory = 0
    ended = 0
    while not ended:
        memory = max(memory, read_peak(process.pid))
        time.sleep(POLL_SECONDS)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{module} failed.")
    seconds = time.perf_counter() - started
    return Run(seconds, used.ru_utime + used.ru_stime, memory)


def read_peak(process_id: int) -> int:
    """Peak of a process' resident memory on Linux, in bytes; 0 if it has ended."""
    with open(f"/proc/{process_id}/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def measure(rows: int = ROWS, formats: tuple[str, ...] = FORMATS) -> list[Measurement]:
    """Answer files of each format, ours and the baseline in turn."""
    with trained_model():
        # The newest is answered.
        yesterday = datetime.now(UTC) - timedelta(days=1)
        moments = (yesterday + timedelta(seconds=passed) for passed in count())
        return [measure_format(each, rows, moments) for each in formats]


def measure_format(
    file_format: str, rows: int, moments: Iterator[datetime]
) -> Measurement:
    baseline_rows = min(rows, ROWS)

    def answer(asked: int, program: tuple[str, ...]) -> Run:
        put_requests(asked, file_format, next(moments))
        return run(*program)

    for program in (OURS, BASELINE):
        answer(1, program)
    turns = [
        (
            answer(1, OURS),
            answer(rows, OURS),
            answer(1, BASELINE),
            answer(baseline_rows, BASELINE),
        )
        for _ in range(TURNS)
    ]
    one_row, ours, baseline_one_row, baseline = map(
        find_median, zip(*turns, strict=True)
    )
    return Measurement(
        file_format, rows, ours, one_row, baseline_rows, baseline, baseline_one_row
    )


def find_median(runs: Iterable[Run]) -> Run:
    return Run(*map(median, zip(*runs, strict=True)))


def describe(measurements: list[Measurement]) -> list[Row]:
    rows = []
    for each in measurements:
        of_file = f"of a {each.file_format} of {each.rows:,} rows"
        rows += [
            Row(
                f"estimates a second of a core, {of_file}",
                f"{each.rate:,.0f}",
                f"{each.baseline_rate:,.0f}",
                f"{each.rate / each.baseline_rate:.0f} times",
            ),
            Row(
                f"memory at its peak, {of_file}",
                f"{each.ours.memory / 2**20:.0f} MiB",
                f"{each.baseline.memory / 2**20:.0f} MiB"
                + f", of {each.baseline_rows:,}" * (each.baseline_rows < each.rows),
                f"{each.ours.memory / each.baseline.memory:.0%}",
            ),
        ]
    return rows


def main() -> None:
    parser = ArgumentParser(
        prog="python -m benchmarks.batch",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--formats", default=",".join(FORMATS))
    chosen = parser.parse_args()
    measurements = measure(chosen.rows, tuple(chosen.formats.split(",")))
    print_rows(describe(measurements))
    for each in measurements:
        print(f"{each.file_format}: {each.ours}, one row: {each.one_row}")


if __name__ == "__main__":
    main()
