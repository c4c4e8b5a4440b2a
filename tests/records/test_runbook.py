"""The commands of the runbook and the operators' week that need no cluster: they run.

Those of kubectl, and of deploy.release, need one: that they are commands at all is
tested with the manifests, and with docs/deploy.md.
"""

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import aws
from sandbox.orders import make_week
from tests.programs import run_here

pytestmark = [pytest.mark.once, pytest.mark.process]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("runbook.md", "operate.md")]
NOW = datetime.now(UTC)


def commands() -> list[str]:
    """Those of the pipeline, from its module on."""
    text = "".join(page.read_text() for page in PAGES)
    found = re.findall(r"\.venv/bin/python -m (pipeline\.[^`'\n]+)", text)
    return sorted({each.strip() for each in found})


def deliver(bucket: str, seed: int, days_ago: int) -> str:
    location = aws.put_csv_dataset_to_s3(
        make_week(600, seed=seed),
        "time_to_dispatch",
        NOW - timedelta(days=days_ago),
        bucket,
        "datasets",
    )
    return location.removeprefix(f"{bucket}/")


def test_each_command_of_the_pipeline_runs(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(bucket, 1, 8)
    assert run_here("pipeline.train_model", bucket, "0.5", "0.6").returncode == 0
    key = deliver(bucket, 2, 1)
    assert run_here("pipeline.train_model", bucket, "0.5", "0.6").returncode == 0
    file = tmp_path / "week.csv"
    make_week(600, seed=3).to_csv(file, index=False)
    monkeypatch.chdir(tmp_path)
    assert len(commands()) > 7
    for command in commands():
        module, *arguments = shlex.split(command)
        known = {"time-to-dispatch": bucket, "FILE": str(file), "KEY": key}
        process = run_here(module, *[known.get(each, each) for each in arguments])
        assert process.returncode == 0, (command, process.stdout, process.stderr)
        assert process.stdout, command
