"""What the last runs came to, as Markdown for the page of a workflow's run on GitHub.

    python -m pipeline.runs BUCKET list --json | python -m deploy.run_summary

GitHub shows pictures of public addresses alone there, and draws what Mermaid describes.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

CHARTS = {
    "r_squared": "r-squared on held-out orders, by run",
    "mean_absolute_error": "mean absolute error on held-out orders (hours), by run",
}


def summarize(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Tell of runs, line by line.

    Args:
        runs: As `pipeline.runs list --json` prints them, the newest first.
    """
    newest = runs[0]
    record = newest["record"]
    outcome = record["outcome"] if record else "not to be believed"
    reason = record["reason"] if record else newest["refusal"]
    yield f"### {name_of(newest)}: {outcome}"
    yield ""
    warnings = record["warnings"] if record else []
    for said in [reason, *(f"Warning: {warning}" for warning in warnings)]:
        if said:
            # In one line, no words of others end the block.
            yield from ("```", " ".join(said.split()), "```", "")
    for measure, title in CHARTS.items():
        yield from draw(measure, title, runs)
    yield "The whole report is the artifact `index.html`, which a browser shows."


def draw(measure: str, title: str, runs: list[dict[str, Any]]) -> Iterator[str]:
    """Draw a measure of what answers, of those runs that have it."""
    measured = [
        # Twelve whole times would not stand side by side.
        (name_of(run)[len("2021-") : len("2021-07-02")], answer[measure])
        for run in reversed(runs)
        if run["record"] and (answer := run["record"]["metrics"]["answer"])
    ]
    if measured:
        days, values = zip(*measured, strict=True)
        yield "```mermaid"
        yield "xychart-beta"
        yield f'    title "{title}"'
        yield f"    x-axis {json.dumps(days)}"
        yield f"    line {json.dumps([round(value, 4) for value in values])}"
        yield from ("```", "")


def name_of(run: dict[str, Any]) -> str:
    """When a run began: what its record is named after."""
    stem = str(run["key"]).rpartition(".")[0]
    return stem[-len("2021-07-02T23:45:28") :].replace("T", " ")


if __name__ == "__main__":
    print("\n".join(summarize(json.load(sys.stdin))))
