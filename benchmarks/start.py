"""How fast the service starts, and how much memory it takes: ours against the baseline.

Usage: python -m benchmarks.start

Both load the same model from a local S3 server and run in turn, on the same core.
Printed are the medians of several runs and the ratios of ours to the baseline.
"""

from statistics import median
from typing import NamedTuple

from benchmarks.services import BASELINE, OURS, run_service, trained_model
from benchmarks.table import Row, print_rows

RUNS = 7


class Start(NamedTuple):
    """Medians of the starts of one service: to the first answer, and resident bytes."""

    seconds: float
    memory: float


def measure() -> tuple[Start, Start]:
    """Start ours and the baseline in turn; returns the medians of both."""
    runs: dict[str, list[Start]] = {OURS: [], BASELINE: []}
    with trained_model():
        for _ in range(RUNS):
            for module, starts in runs.items():
                with run_service(module) as service:
                    starts.append(Start(service.seconds, service.memory))
    ours, baseline = (
        Start(
            median(start.seconds for start in starts),
            median(start.memory for start in starts),
        )
        for starts in runs.values()
    )
    return ours, baseline


def describe(ours: Start, baseline: Start) -> list[Row]:
    return [
        Row(
            "process start to first answer",
            f"{ours.seconds:.2f} s",
            f"{baseline.seconds:.2f} s",
            f"{ours.seconds / baseline.seconds:.0%}",
        ),
        Row(
            "resident memory",
            f"{ours.memory / 2**20:.0f} MiB",
            f"{baseline.memory / 2**20:.0f} MiB",
            f"{ours.memory / baseline.memory:.0%}",
        ),
    ]


if __name__ == "__main__":
    print_rows(describe(*measure()))
