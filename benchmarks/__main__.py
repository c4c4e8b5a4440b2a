"""Run all measurements and write them into benchmarks/results: a table and a plot.

Usage: python -m benchmarks
"""

import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import matplotlib

from benchmarks import (
    batch,
    cluster,
    growth,
    listing,
    publication,
    search,
    serve,
    start,
)
from benchmarks.services import BASELINE, CORES, OURS
from benchmarks.table import Row

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("scikit-learn", "numpy", "fastapi", "pydantic", "uvicorn", "boto3")
GROWTH_ROWS = (1_000, 10_000, 100_000)


def main() -> None:
    RESULTS.mkdir(exist_ok=True)
    speedups: dict[str, float] = {}
    rows: list[Row] = []

    say("Search ...")
    search.warm_up()
    measurements = [search.measure(count) for count in GROWTH_ROWS]
    rows += describe_search(measurements)
    speedups["search of 1,000 orders"] = measurements[0].ratio or 1.0

    say("Search on a cluster ...")
    rows += cluster.describe(*cluster.measure())

    say("Start ...")
    ours, baseline = start.measure()
    rows += start.describe(ours, baseline)
    speedups["start"] = baseline.seconds / ours.seconds
    speedups["memory"] = baseline.memory / ours.memory

    say("Serve ...")
    closed, fixed, costs = serve.measure()
    rows += serve.describe(closed, fixed, costs)
    quick, obvious = closed[OURS], closed[BASELINE]
    speedups["requests a second"] = quick.rate / obvious.rate
    speedups["p99 latency"] = obvious.p99 / quick.p99

    say("Batch ...")
    of_files = batch.measure()
    rows += batch.describe(of_files)
    speedups["estimates of a CSV"] = of_files[0].rate / of_files[0].baseline_rate

    say("Listing ...")
    rows += listing.describe([listing.measure(count) for count in listing.OBJECTS])

    say("Publication ...")
    rows += publication.describe(publication.measure())

    say("Growth ...")
    for kind, measured in growth.measure_all(growth.MOST):
        rows += growth.describe(kind, measured)

    (RESULTS / "results.md").write_text(make_page(rows))
    plot(speedups)
    say(f"Wrote results.md and results.png into {RESULTS.relative_to(Path.cwd())}.")


def describe_search(measurements: list[search.Measurement]) -> list[Row]:
    rows = []
    for measured in measurements:
        peak = f"{measured.seconds:.2f} s, {measured.peak_memory / 2**20:.0f} MiB"
        if measured.baseline_seconds is None:
            rows.append(Row(f"search of {measured.rows:,} orders", peak))
        else:
            agree = "the same" if measured.same_winner else "ANOTHER"
            rows.append(
                Row(
                    f"search of {measured.rows:,} orders, {agree} winner and score",
                    peak,
                    f"{measured.baseline_seconds:.1f} s",
                    f"{measured.ratio:.0f} times",
                )
            )
    return rows


def make_page(rows: list[Row]) -> str:
    """Lay out the table in Markdown, with machine and versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    table = [Row._fields, ("---",) * 4, *rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return (
        "# Measured\n\n"
        f"By `make bench` on {datetime.now(UTC):%Y-%m-%d}, {len(CORES)} cores of "
        f"{describe_processor()}, {platform.system()}, Python "
        f"{platform.python_version()}, {versions}.\n\n"
        f"{lines}\n\n"
        "Ours and the baseline ran in turn on the same machine; the ratios hold\n"
        "where the seconds do not. The baselines: GridSearchCV on one core; the\n"
        "service written in the obvious way (`baseline_service.py`), on one core as\n"
        "ours, with the load generator on another; files of requests read as a whole\n"
        "and answered row by row (`baseline_batch.py`), a second being one of the\n"
        "processor beyond what a file of one row takes; a paginated listing that\n"
        "looks at no name; a hash for each product in Redis, of hours that were not\n"
        "estimated.\n\n"
        "![How many times better than the baseline](results.png)\n"
    )


def describe_processor() -> str:
    found = re.search("model name\\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def plot(speedups: dict[str, float]) -> None:
    """Draw how many times better each measure is than its baseline."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3), layout="constrained")
    bars = axes.barh(list(speedups), list(speedups.values()), color="#2a6f97")
    axes.bar_label(bars, fmt="%.1f ×", padding=4)
    axes.set(xscale="log", xlabel="times better than the baseline (log scale)")
    axes.set_xlim(1, max(speedups.values()) * 2)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "results.png", dpi=120)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))
