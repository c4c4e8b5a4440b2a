"""How long the newest of many objects takes to find, and in how many requests.

Usage: python -m benchmarks.listing

The baseline is a bare paginated listing with boto3, which looks at no name. Both read
the same prepared answers (listing_server.py), in turn.
"""

import subprocess
import sys
import time
from statistics import median
from typing import Any, NamedTuple

from benchmarks.table import Row, print_rows
from pipeline import aws
from pipeline.aws import s3_client
from sandbox.processes import run_process
from sandbox.s3_server import make_settings, replace_aws_settings

OBJECTS = (1_000, 10_000, 100_000)
RUNS = 3


class Listing(NamedTuple):
    """Medians of finding the newest of so many objects, in seconds."""

    objects: int
    requests: int
    seconds: float
    baseline_seconds: float


def measure(objects: int) -> Listing:
    """List so many objects, with ours and with the baseline in turn."""
    with run_process(
        *(sys.executable, "-m", "benchmarks.listing_server", str(objects)),
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        replace_aws_settings(make_settings(port))
        requests: list[Any] = []
        s3_client().meta.events.register(
            "request-created.s3.ListObjectsV2", lambda **_: requests.append(1)
        )
        ours, baseline = [], []
        for _ in range(RUNS):
            requests.clear()
            started = time.perf_counter()
            newest = aws.find_latest_artefact_on_s3("csv", "b", "datasets")
            ours.append(time.perf_counter() - started)
            made = len(requests)

            started = time.perf_counter()
            pages = s3_client().get_paginator("list_objects_v2")
            listed = [
                item["Key"]
                for page in pages.paginate(Bucket="b", Prefix="datasets/")
                for item in page["Contents"]
            ]
            baseline.append(time.perf_counter() - started)
            assert newest.key == listed[-1]
    return Listing(objects, made, median(ours), median(baseline))


def describe(listings: list[Listing]) -> list[Row]:
    return [
        Row(
            f"newest of {listing.objects:,} objects, {listing.requests} requests",
            f"{listing.seconds:.2f} s",
            f"{listing.baseline_seconds:.2f} s",
            f"{listing.seconds / listing.baseline_seconds:.2f} times",
        )
        for listing in listings
    ]


if __name__ == "__main__":
    print_rows(describe([measure(objects) for objects in OBJECTS]))
